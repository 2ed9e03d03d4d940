"""Training on machines that come and go, by Ray Train's elastic workers with gloo: on CPUs.

Each time that a machine comes or goes, Ray Train makes the group of workers anew, as many as there are machines. The
state is with an actor on the machine of rank 0, which is a reliable one: a step counts once it is there, and a new
group begins with what is there. A step is always of the same shards, shared out among as many workers as there are.
"""

from __future__ import annotations

import os
import tempfile
import time

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sky_core.checkpoint import Checkpoints
from sky_core.progress import report

STEPS, SHARDS = int(os.environ.get("STEPS", "200")), int(os.environ.get("SHARDS", "12"))
SECONDS = float(os.environ.get("SECONDS", "0"))  # that a shard takes beside its few microseconds here
WORKERS = int(os.environ.get("WORKERS", "8"))  # at most
RESIZE_S = float(os.environ.get("RESIZE_S", "30"))  # between two looks at whether there are more machines
SIZE, RATE = 8, 0.1
TRUTH = torch.arange(SIZE, dtype=torch.float64)
KEEPER = "keeper"

State = tuple[int, torch.Tensor]  # steps done, weights


class Keeper:
    """Has the newest state, and the checkpoints."""

    def __init__(self) -> None:
        self._kept = Checkpoints()
        self._state: State = self._kept.load(default=(0, torch.zeros(SIZE, dtype=torch.float64)))

    def newest(self) -> State:
        """What to go on from."""
        return self._state

    def keep(self, state: State) -> None:
        """Take this for the newest, unless it comes late from a group that is no more."""
        if state[0] > self._state[0]:
            self._kept.save(state)  # large states are saved where self._kept.due()
            self._state = state
            report(state[0], of=STEPS)


def gradient(weights: torch.Tensor, step: int, shard: int) -> torch.Tensor:
    """Of the squared error on data that is different in each step and shard."""
    time.sleep(SECONDS)
    random = torch.Generator().manual_seed(step * SHARDS + shard)
    rows = torch.randn(64, SIZE, dtype=torch.float64, generator=random)
    return rows.T @ (rows @ (weights - TRUTH)) / len(rows)


def train() -> None:
    """What each worker runs, from the newest state to the end or the loss of one of them."""
    rank, world, keeper = dist.get_rank(), dist.get_world_size(), ray.get_actor(KEEPER)
    told = [ray.get(keeper.newest.remote()) if rank == 0 else None]
    dist.broadcast_object_list(told)
    step, weights = told[0]
    if rank == 0:
        print("from step", step, "on", world, flush=True)
    while step < STEPS:
        mine = [gradient(weights, step, shard) for shard in range(rank, SHARDS, world)]
        total = torch.stack([torch.zeros(SIZE, dtype=torch.float64), *mine]).sum(0)
        dist.all_reduce(total)
        weights = weights - RATE * total / SHARDS
        step += 1
        if rank == 0:
            ray.get(keeper.keep.remote((step, weights)))


def main() -> None:
    """Train to the end, from where the newest checkpoint is."""
    ray.init()
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper = ray.remote(Keeper).options(name=KEEPER, num_cpus=0, scheduling_strategy=here).remote()
    TorchTrainer(
        train,
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ray.train.ScalingConfig(num_workers=(1, WORKERS), elastic_resize_monitor_interval_s=RESIZE_S),
        run_config=ray.train.RunConfig(
            storage_path=tempfile.mkdtemp(),  # nothing is reported to Ray Train that it would keep there
            failure_config=ray.train.FailureConfig(max_failures=-1),
        ),
    ).fit()
    step, weights = ray.get(keeper.newest.remote())
    print("steps", step, "error", float((weights - TRUTH).abs().max()), flush=True)


if __name__ == "__main__":
    main()
