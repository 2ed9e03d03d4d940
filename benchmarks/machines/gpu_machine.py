"""The agent on a real GPU: does it see it, does a training survive its machine, and what does being looked after cost.

    python benchmarks/machines/gpu_machine.py [--kills 5] [--seconds 20] [--pairs 3]

Run it on a machine with NVIDIA GPUs, PyTorch and cloudpickle; it needs no cloud and no driver: the agent is started and
asked as a driver would over SSH, its object store is a folder.

1. With as many GPUs promised as there are, the command runs; with one more, it does not, and the reason is told.
2. A training on the GPU is lost with all its processes (SIGKILL, the agent among them) at random moments and goes on as
   the next attempt: its last weights have to be those of an undisturbed run, bit for bit.
3. The training alone and under the agent, by turns: what watching, logging and copying checkpoints cost.

Exits with 1 unless all of that holds, with an overhead below 1%.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sky_core.remote.agent.job import Job
from sky_core.remote.bundle import agent

MOST_OVERHEAD = 0.01
TRAINING = """
import hashlib, os, sys, time
import torch
from sky_core.checkpoint import Checkpoints
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
torch.use_deterministic_algorithms(True)
steps, every, width = (int(word) for word in sys.argv[1:4])
torch.manual_seed(1)
model = torch.nn.Sequential(
    torch.nn.Linear(width, width), torch.nn.GELU(), torch.nn.Linear(width, width), torch.nn.GELU(),
    torch.nn.Linear(width, 10)).cuda()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
kept = Checkpoints(keep=2)
def batch(step):
    generator = torch.Generator("cuda").manual_seed(step)
    return torch.randn(1024, width, device="cuda", generator=generator), \\
        torch.randint(0, 10, (1024,), device="cuda", generator=generator)
at = 0
found = kept.load(default=None)
if found is not None:
    at, weights, moments = found
    model.load_state_dict({name: value.cuda() for name, value in weights.items()})
    optimizer.load_state_dict(moments)
print("from step", at, flush=True)
torch.cuda.synchronize()
began = time.monotonic()
for step in range(at, steps):
    images, labels = batch(step)
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
    if step % every == every - 1:
        cpu = {name: value.cpu() for name, value in model.state_dict().items()}
        kept.save((step + 1, cpu, optimizer.state_dict()))
torch.cuda.synchronize()
print("seconds", time.monotonic() - began)
digest = hashlib.sha256()
for value in model.state_dict().values():
    digest.update(value.cpu().numpy().tobytes())
print("weights", digest.hexdigest(), flush=True)
"""


class Bench:
    """An agent's home, with its object store beside it."""

    def __init__(self, folder: Path, size: tuple[int, int, int]) -> None:
        self.folder = folder
        self.env = {**os.environ, "HOME": str(folder / "home")}
        (folder / "home/.skyloom").mkdir(parents=True)
        name, content = agent()
        self.program = folder / "home/.skyloom" / name
        self.program.write_bytes(content)
        self.training = folder / "training.py"
        self.training.write_text(TRAINING)
        self.started: list[tuple[str, int]] = []
        self.command = f"exec {sys.executable} {self.training} {' '.join(map(str, size))}"

    def start(self, job: str, attempt: int = 1, **fields: Any) -> None:
        """Start an attempt as the driver does."""
        store = f"file://{self.folder}/bucket/{job}"
        about: dict[str, Any] = {
            "run": self.command,
            "halts": False,
            "checkpoint_url": f"{store}/{attempt}",
            "restore_urls": [f"{store}/{before}" for before in range(1, attempt + 1)],
            "checkpoint_interval_s": 1.0,
            "accelerator_tool": "nvidia-smi",
            **fields,
        }
        description = json.dumps(asdict(Job(job_id=job, attempt=attempt, cloud="ssh", **about)))
        self._ask("start", stdin=description.encode())
        self.started.append((job, attempt))

    def close(self) -> None:
        """End the agents, which would wait for their driver's last word."""
        for job, attempt in self.started:
            self.lose(job, attempt)

    def end(self, job: str, attempt: int = 1) -> tuple[dict[str, Any], str]:
        """The state and the log of an attempt, once it is over."""
        while True:
            head, _, log = self._ask("poll", job, str(attempt), "0").partition(b"\n")
            state = json.loads(head)
            if state["phase"] in ("done", "lost"):
                return state, log.decode()
            time.sleep(0.5)

    def until(self, job: str, printed: str) -> None:
        """Wait until the first attempt has printed that."""
        while printed.encode() not in self._ask("poll", job, "1", "0"):
            time.sleep(0.2)

    def lose(self, job: str, attempt: int = 1) -> None:
        """End every process of an attempt at once, as a machine that is gone does."""
        state = json.loads(self._ask("poll", job, str(attempt), "-1").partition(b"\n")[0])
        sessions = {state["pid"], *(state["session"] or [])[:1]}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                session = int((process / "stat").read_text().rpartition(")")[2].split()[3])
                if session in sessions:
                    os.kill(int(process.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue

    def alone(self) -> str:
        """The same command without an agent; what it printed."""
        folder = tempfile.mkdtemp(dir=self.folder)
        paths = os.pathsep.join([f"{self.program}/brought", os.environ.get("PYTHONPATH", "")])
        env = {**self.env, "SKY_CHECKPOINT_DIR": folder, "PYTHONPATH": paths}
        return subprocess.run(["sh", "-c", self.command], env=env, check=True, capture_output=True, text=True).stdout

    def _ask(self, *command: str, stdin: bytes = b"") -> bytes:
        call = [sys.executable, str(self.program), *command]
        return subprocess.run(call, input=stdin, env=self.env, check=True, stdout=subprocess.PIPE).stdout


def word(log: str, name: str) -> str:
    """What the training has printed under that name."""
    return next(line.split()[-1] for line in log.splitlines() if line.startswith(f"{name} "))


def shown(bench: Bench, gpus: int) -> bool:
    """Part 1."""
    bench.start("enough", run="echo i ran", gpus_per_node=gpus)
    enough, log = bench.end("enough")
    bench.start("short", run="echo i ran", gpus_per_node=gpus + 1, accelerator_patience_s=1.0)
    short, other = bench.end("short")
    print(f"shown: {gpus} promised: exit code {enough['exit_code']}; {gpus + 1} promised: {short['unfit']!r}")
    return enough["exit_code"] == 0 and "i ran" in log and bool(short["unfit"]) and "i ran" not in other


def resumed(bench: Bench, gpus: int, kills: int, undisturbed: str, seconds: float) -> bool:
    """Part 2."""
    right = 0
    for number in range(kills):
        job, after_s = f"lost-{number}", random.uniform(0.2, 0.9) * seconds
        bench.start(job, gpus_per_node=gpus)
        bench.until(job, "from step")
        time.sleep(after_s)
        bench.lose(job)
        bench.start(job, 2, gpus_per_node=gpus)
        state, log = bench.end(job, 2)
        same = word(log, "weights") == word(undisturbed, "weights")
        right += same
        went_on = f"went on at step {word(log, 'from')}, exit code {state['exit_code']}"
        print(f"lost {after_s:.1f} s into its steps, {went_on}, same weights: {same}")
    return right == kills


def overhead(bench: Bench, gpus: int, pairs: int) -> bool:
    """Part 3."""
    ratios = []
    for number in range(pairs):
        order = ("alone", "agent") if number % 2 else ("agent", "alone")
        took = {}
        for how in order:
            if how == "agent":
                bench.start(f"pair-{number}", gpus_per_node=gpus, checkpoint_interval_s=None)
                log = bench.end(f"pair-{number}")[1]
            else:
                log = bench.alone()
            took[how] = float(word(log, "seconds"))
        ratios.append(took["agent"] / took["alone"])
        print(f"pair {number}: alone {took['alone']:.2f} s, under the agent {took['agent']:.2f} s")
    cost = statistics.median(ratios) - 1
    print(f"overhead: {cost:+.2%} (median of {pairs} pairs)")
    return cost < MOST_OVERHEAD


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long one training takes")
    parser.add_argument("--pairs", type=int, default=3)
    chosen = parser.parse_args()
    import torch

    gpus = torch.cuda.device_count()
    if not gpus:
        print("PyTorch sees no GPU here")
        return 2
    print(f"{gpus} × {torch.cuda.get_device_name(0)}, PyTorch {torch.__version__}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory(prefix="gpu-machine-") as folder:
        trial = Bench(Path(folder) / "trial", (400, 10_000, 2048))
        steps = int(400 * chosen.seconds / float(word(trial.alone(), "seconds")))
        bench = Bench(Path(folder) / "bench", (steps, max(1, steps // 20), 2048))
        undisturbed = bench.alone()
        print(f"{steps} steps, a checkpoint every {max(1, steps // 20)}: {word(undisturbed, 'seconds')} s alone")
        try:
            held = [shown(bench, gpus), resumed(bench, gpus, chosen.kills, undisturbed, chosen.seconds)]
            held.append(overhead(bench, gpus, chosen.pairs))
        finally:
            bench.close()
    print(f"shown, resumed, overhead: {held}")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
