"""The vision pipeline as a Prefect flow: on more than one cloud, because that is cheapest.

    skyloom sandbox up
    SKYLOOM_PROFILE=sandbox python example_flows/vision_pipeline.py

Cleaning on CPUs, training on whatever of 4 A100s, an H100 or a TPU v5e is the best bargain, classification on an L4 or
Inferentia2. The hours are what somebody might tell who has run it before; the stages take seconds.
"""

import os
from pathlib import Path

from prefect import flow, task
from vision import stages

from sky_prefect import SkyTaskRunner, resources


@task
@resources(cpus="16+", memory="64+", hours=0.6, output_gb=1)
def process():
    return stages.process()


@task
@resources(
    accelerators=["A100:4", "H100", "tpu-v5litepod-8"],
    use_spot=True,
    hours={"A100:4": 3.9, "H100": 6.4, "tpu-v5litepod-8": 6.4},
    checkpoint="3m",
    output_gb=0.1,
    envs={"VISION_EPOCH_S": os.environ.get("VISION_EPOCH_S", "0")},
)
def train(images):
    return stages.train(images, Path(os.environ["SKY_CHECKPOINT_DIR"]))


@task
@resources(accelerators=["L4", "Inferentia2"], hours={"L4": 1.9, "Inferentia2": 1.1})
def infer(model, images):
    return stages.infer(model, images)


@flow(name="vision", task_runner=SkyTaskRunner(minimize="cost"))
def vision():
    images = process.submit()
    model = train.submit(images)
    return infer.submit(model, images).result()["accuracy"]


if __name__ == "__main__":
    print(f"accuracy on held-out digits: {vision():.3f}")
