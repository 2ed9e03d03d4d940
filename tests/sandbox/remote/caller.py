"""Sends a function to a machine of each cloud and prints what it says there, for Pythons of other minor versions."""

from __future__ import annotations

import sys

from sky_core import Artifact, Pipeline, Resources, Task
from sky_core.broker import Broker
from sky_core.broker.runner import PipelineRun
from sky_core.remote.functions import pack

REGIONS = {"aws": "us-east-1", "gcp": "us-central1", "azure": "eastus"}


def main() -> None:
    broker = Broker.open()

    def tell(cloud: str) -> str:  # nested, so that it travels whole
        print(f"{cloud} runs it on {sys.version_info[0]}.{sys.version_info[1]} for {version}")
        return cloud

    version = "{}.{}".format(*sys.version_info)
    pipeline = Pipeline(
        name="callers",
        tasks=tuple(
            Task(
                name=cloud,
                function=broker.store.put_payload(pack(tell, (cloud,))),
                outputs={"result": Artifact()},
                resources=Resources(cloud=cloud, region=region, cpus="2+"),
                hours=0.1,
            )
            for cloud, region in REGIONS.items()
        ),
    )
    run = PipelineRun(broker, f"on-{version}", pipeline, lambda *_: None, lambda name, line: print(line, flush=True))
    jobs = run.run()
    assert {job.state for job in jobs.values()} == {"succeeded"}, [job.result for job in jobs.values()]


if __name__ == "__main__":
    main()
