"""The vision pipeline's three stages on scikit-learn's digits: clean and split, train epoch by epoch, classify.

Plain functions of arrays for use from Python, and a command line for use from a shell task:
``python stages.py process | train | infer`` reads and writes where the ``SKY_*`` variables say.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from pathlib import Path

import numpy as np

EPOCHS = int(os.environ.get("VISION_EPOCHS", "12"))
# Where accelerators are only emulated: how long an epoch takes on the one that was planned.
EPOCH_S = float(os.environ.get("VISION_EPOCH_S", "0"))
SHIFTS = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)]  # pixels


def process() -> dict[str, np.ndarray]:
    """Clean and split the images: pixels scaled to 0..1, one digit in five held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pixels = digits.data.astype(np.float32) / 16.0
    usable = np.isfinite(pixels).all(axis=1) & (pixels.max(axis=1) > 0)
    x, held_out_x, y, held_out_y = train_test_split(
        pixels[usable], digits.target[usable], test_size=0.2, random_state=0, stratify=digits.target[usable]
    )
    print(f"{len(x)} images to train on, {len(held_out_x)} held out", flush=True)
    return {"x": x, "y": y, "held_out_x": held_out_x, "held_out_y": held_out_y}


def augment(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every image nine times, shifted by up to one pixel: real work, and a better classifier."""
    images = x.reshape(-1, 8, 8)
    shifted = [np.roll(images, shift, axis=(1, 2)).reshape(len(x), 64) for shift in SHIFTS]
    return np.concatenate(shifted), np.tile(y, len(SHIFTS))


def train(images: dict[str, np.ndarray], checkpoints: Path, epochs: int = EPOCHS) -> dict[str, object]:
    """Train a multi-layer perceptron, resuming from the newest checkpoint; one checkpoint after each epoch.

    Told that the machine will be taken back (SIGTERM), it finishes the epoch, keeps its checkpoint and leaves.
    """
    begun = time.monotonic()  # what a slow computer takes to import the rest is made up for by the epochs
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    leaving: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: leaving.append(number))
    print("no accelerator found, training on the CPU", flush=True)
    x, y = augment(images["x"], images["y"])
    model, done = load(checkpoints)
    resumed_from = done
    if model is None:
        model = MLPClassifier(hidden_layer_sizes=(512, 256), learning_rate_init=1e-3, batch_size=64, random_state=0)
    else:
        print(f"resuming from epoch {done}", flush=True)
    for number, epoch in enumerate(range(done + 1, epochs + 1), start=1):
        order = np.random.default_rng(epoch).permutation(len(x))
        with threadpool_limits(1):  # threads that wait for busy cores would slow each other down many times over
            model.partial_fit(x[order], y[order], classes=np.arange(10))
        time.sleep(max(0.0, begun + number * EPOCH_S - time.monotonic()))
        save(checkpoints, model, epoch)
        print(f"epoch {epoch} of {epochs}: loss {model.loss_:.4f}", flush=True)
        if leaving:
            print(f"told to leave: checkpoint of epoch {epoch} is kept", flush=True)
            sys.exit(128 + leaving[0])
    return {"model": model, "epochs": epochs, "resumed_from_epoch": resumed_from or None}


def infer(trained: dict[str, object], images: dict[str, np.ndarray]) -> dict[str, object]:
    """Classify the held-out images."""
    predictions = trained["model"].predict(images["held_out_x"])  # type: ignore[attr-defined]
    accuracy = float((predictions == images["held_out_y"]).mean())
    print(f"accuracy {accuracy:.4f}", flush=True)
    return {"predictions": predictions.tolist(), "accuracy": accuracy}


def save(folder: Path, model: object, epoch: int) -> None:
    """Replace the checkpoint at once: a reader finds the old one or the new one, never half of one."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "checkpoint.new"
    new.write_bytes(pickle.dumps({"model": model, "epoch": epoch}))
    new.replace(folder / "checkpoint.pkl")


def load(folder: Path) -> tuple[object | None, int]:
    """The newest checkpoint's model and epoch, or (None, 0)."""
    path = folder / "checkpoint.pkl"
    if not path.exists():
        return None, 0
    state = pickle.loads(path.read_bytes())
    return state["model"], state["epoch"]


def main(stage: str) -> None:
    """One stage as a shell task: files in, files out."""
    if stage == "process":
        np.savez(_out("images"), **process())
    elif stage == "train":
        trained = train(dict(np.load(_in("images"))), Path(os.environ["SKY_CHECKPOINT_DIR"]))
        _out("model").write_bytes(pickle.dumps(trained))
    elif stage == "infer":
        found = infer(pickle.loads(_in("model").read_bytes()), dict(np.load(_in("images"))))
        _out("predictions").write_text(json.dumps(found))
    else:
        sys.exit(f"no stage {stage!r}: process, train or infer")


def _in(name: str) -> Path:
    """The one file of an input folder."""
    folder = Path(os.environ[f"SKY_INPUT_{name.upper()}"])
    return next(path for path in sorted(folder.iterdir()) if path.is_file())


def _out(name: str) -> Path:
    """A file in an output folder; ``.npz`` for arrays."""
    folder = Path(os.environ[f"SKY_OUTPUT_{name.upper()}"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder / {"images": "images.npz", "model": "model.pkl", "predictions": "predictions.json"}[name]


if __name__ == "__main__":
    main(sys.argv[1])
