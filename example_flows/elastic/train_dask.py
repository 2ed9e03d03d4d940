"""Training on machines that come and go, by Dask: the weights are on rank 0, others work out gradients for them.

A step is always of the same shards, whoever computes them, and their sum is made in the same order: the weights are the
same, bit for bit, however many machines there were. What a machine that is lost had not handed in is computed again.
"""

from __future__ import annotations

import os
import time

import numpy as np
from distributed import Client

from sky_core.checkpoint import Checkpoints
from sky_core.progress import report

STEPS, SHARDS = int(os.environ.get("STEPS", "200")), int(os.environ.get("SHARDS", "60"))
SECONDS = float(os.environ.get("SECONDS", "0"))  # that a shard takes beside its few microseconds here
SIZE, RATE = 8, 0.1
TRUTH = np.arange(SIZE, dtype=float)


def gradient(weights: np.ndarray, step: int, shard: int) -> np.ndarray:
    """Of the squared error on data that is different in each step and shard."""
    time.sleep(SECONDS)
    rows = np.random.default_rng((step, shard)).normal(size=(64, SIZE))
    return rows.T @ (rows @ (weights - TRUTH)) / len(rows)


def main() -> None:
    """Train to the end, from where the last checkpoint is."""
    kept, client = Checkpoints(), Client()
    client.wait_for_workers(int(os.environ.get("WAIT_FOR", "1")))
    step, weights = kept.load(default=(0, np.zeros(SIZE)))
    print("from step", step, flush=True)
    while step < STEPS:
        parts = [client.submit(gradient, weights, step, shard, pure=False) for shard in range(SHARDS)]
        weights = weights - RATE * np.sum(client.gather(parts), axis=0) / SHARDS
        step += 1
        report(step, of=STEPS)
        kept.save((step, weights))  # large states are saved where kept.due()
    print("weights", weights.tobytes().hex(), flush=True)
    print("error", float(np.abs(weights - TRUTH).max()), flush=True)


if __name__ == "__main__":
    main()
