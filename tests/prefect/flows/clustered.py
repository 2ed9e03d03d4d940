"""A flow whose tasks run in a cluster of Skyloom's, by the task runner of the engine that its first argument names.

With "async" as its second the block is an async one; with "long" the tasks take until somebody ends them.
"""

import asyncio
import os
import sys
import time

from prefect import flow, task

import sky_prefect

WANTED = {"num_nodes": 2, "cloud": "aws", "instance_type": "t3.small", "environment": None}


@task
def square(number, seconds):
    time.sleep(seconds)
    return os.environ["SKY_NODE_RANK"], number * number


@flow(log_prints=True)
def squares(seconds):
    found = square.map(range(8), seconds).result()
    print("sum", sum(value for _, value in found), "ranks", sorted({rank for rank, _ in found}))


def runner(engine, address):
    if engine == "dask":
        from prefect_dask import DaskTaskRunner

        return DaskTaskRunner(address=address)
    from prefect_ray import RayTaskRunner

    return RayTaskRunner(address=address)


async def in_an_async_block(engine):
    async with sky_prefect.cluster(**engine, **WANTED) as cluster:
        await asyncio.to_thread(
            squares.with_options(task_runner=runner(engine["engine"]["name"], cluster.address)), 0.2
        )


def main(name, how=""):
    engine = {"engine": {"name": name, **({"threads": 1} if name == "dask" else {"num_cpus": 2})}}
    if how == "async":
        asyncio.run(in_an_async_block(engine))
        return
    with sky_prefect.cluster(**engine, **WANTED) as cluster:
        print("UP", flush=True)
        squares.with_options(task_runner=runner(name, cluster.address))(600 if how == "long" else 0.2)


if __name__ == "__main__":
    main(*sys.argv[1:])
