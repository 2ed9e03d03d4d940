"""Training on machines that come and go, by PyTorch's elastic launcher with gloo: on CPUs.

Each time that a machine comes or goes, all processes are started again. They agree on the newest state that any of
them finds, which is that of the reliable machine: it alone writes checkpoints, after every step here. A step is always
of the same shards, shared out among as many processes as there are.
"""

from __future__ import annotations

import os
import time

import torch
import torch.distributed as dist

from sky_core.checkpoint import Checkpoints
from sky_core.progress import report

STEPS, SHARDS = int(os.environ.get("STEPS", "200")), int(os.environ.get("SHARDS", "12"))
SECONDS = float(os.environ.get("SECONDS", "0"))  # that a shard takes beside its few microseconds here
SIZE, RATE = 8, 0.1
TRUTH = torch.arange(SIZE, dtype=torch.float64)


def gradient(weights: torch.Tensor, step: int, shard: int) -> torch.Tensor:
    """Of the squared error on data that is different in each step and shard."""
    time.sleep(SECONDS)
    random = torch.Generator().manual_seed(step * SHARDS + shard)
    rows = torch.randn(64, SIZE, dtype=torch.float64, generator=random)
    return rows.T @ (rows @ (weights - TRUTH)) / len(rows)


def agreed(kept: Checkpoints) -> tuple[int, torch.Tensor]:
    """Step and weights of the newest state that any process has."""
    step, weights = kept.load(default=(0, torch.zeros(SIZE, dtype=torch.float64)))
    steps: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(steps, step)
    dist.broadcast(weights, src=steps.index(max(steps)))
    return max(steps), weights


def main() -> None:
    """Train to the end, from where the newest checkpoint is."""
    dist.init_process_group("gloo")
    rank, world, kept = dist.get_rank(), dist.get_world_size(), Checkpoints()
    reliable = os.environ.get("SKY_RELIABLE", "1") == "1"
    step, weights = agreed(kept)
    if reliable:
        print("from step", step, "on", world, flush=True)
    while step < STEPS:
        mine = [gradient(weights, step, shard) for shard in range(rank, SHARDS, world)]
        total = torch.stack([torch.zeros(SIZE, dtype=torch.float64), *mine]).sum(0)
        dist.all_reduce(total)
        weights = weights - RATE * total / SHARDS
        step += 1
        if reliable:
            kept.save((step, weights))
            report(step, of=STEPS)
    if reliable:
        print("error", float((weights - TRUTH).abs().max()), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
