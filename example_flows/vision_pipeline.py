"""The vision pipeline as a Prefect flow: three clouds, because that is cheapest.

    skyloom sandbox up
    SKYLOOM_PROFILE=sandbox python example_flows/vision_pipeline.py

The estimates are those of the NLP pipeline of Wu, *Sky Computing with Intercloud Brokers* (UCB/EECS-2024-48,
Table 4.3): confidential processing on Azure, training on 4 V100 or a TPU v3-8, classification on a T4 or Inferentia.
"""

import os
from pathlib import Path

from prefect import flow, task
from vision import stages

from sky_prefect import SkyTaskRunner, resources


@task
@resources(labels={"confidential": "sgx"}, cpus="8+", hours=0.6, output_gb=1)
def process():
    return stages.process()


@task
@resources(accelerators=["V100:4", "tpu-v3-8"], use_spot=True, hours={"V100:4": 8.4, "tpu-v3-8": 3.8}, checkpoint="3m",
           output_gb=0.1)  # fmt: skip
def train(images):
    return stages.train(images, Path(os.environ["SKY_CHECKPOINT_DIR"]))


@task
@resources(accelerators=["T4", "Inferentia"], hours={"T4": 1.5, "Inferentia": 1.4})
def infer(model, images):
    return stages.infer(model, images)


@flow(name="vision", task_runner=SkyTaskRunner(minimize="cost"))
def vision():
    images = process.submit()
    model = train.submit(images)
    return infer.submit(model, images).result()["accuracy"]


if __name__ == "__main__":
    print(f"accuracy on held-out digits: {vision():.3f}")
