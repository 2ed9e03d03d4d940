"""The least that a job can be, on each cloud: what ``skyloom check --launch`` runs, and what is held of it.

Each image that jobs boot is tried by one task. Of a cloud, each reads from the bucket what the one before has written,
and writes on; what the last has written is read here. They are jobs like any, planned, launched and ended as all are.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sky_core.errors import CloudError, NoFeasibleOffering, TransferError
from sky_core.spec import OutputRef, Pipeline, Resources, Task

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.store import Job

ARCHS = ("x86_64", "arm64")
HOURS = 1 / 60  # of a task's own time
GONE_S = 600.0  # after which a machine that should be gone is told
ASK_S = 5.0  # between two looks for it
PROOF = "proof"
SCRIPT = """\
set -e
echo "$(uname -sm), $(. /etc/os-release && echo "$PRETTY_NAME"), $(python3 --version 2>&1 || echo 'no python3')"
"""
DEVICES = """\
if command -v nvidia-smi > /dev/null; then nvidia-smi -L
elif command -v neuron-ls > /dev/null; then neuron-ls
else ls /dev/accel* /dev/vfio/* /dev/kfd; fi
"""
READ = """\
test "$(cat "$SKY_INPUT_PROOF")" = {token} || { echo 'the bucket did not give what was written there'; exit 1; }
"""
WRITE = 'echo {token} > "$SKY_OUTPUT_PROOF"\n'


def trial(places: Mapping[str, str], accelerators: Sequence[str], token: str) -> list[Pipeline]:
    """One pipeline for each cloud, given the region that it is tried in; ``token`` is what goes through its bucket."""
    return [
        Pipeline(name="check", tasks=tuple(_tasks(cloud, region, accelerators, token)))
        for cloud, region in places.items()
    ]


def _tasks(cloud: str, region: str, accelerators: Sequence[str], token: str) -> Iterable[Task]:
    """They run one after the other, each with what the one before has written."""
    kinds = [(arch, Resources(cloud=cloud, region=region, arch=arch, cpus="2+", memory="2+")) for arch in ARCHS]
    kinds += [(one, Resources(cloud=cloud, region=region, accelerators=one)) for one in accelerators]
    before: str | None = None
    for kind, wanted in kinds:
        name = f"{cloud}-{kind}".replace(":", "-")
        look = DEVICES if wanted.accelerators else ""
        yield Task(
            name=name,
            run=SCRIPT + look + (READ if before else "").replace("{token}", token) + WRITE.replace("{token}", token),
            resources=wanted,
            inputs={PROOF: OutputRef(task=before, output=PROOF)} if before else {},
            outputs={PROOF: {"size_gb": 1e-6}},
            hours=HOURS,
        )
        before = name


def feasible(broker: Broker, pipeline: Pipeline) -> tuple[Pipeline | None, list[NoFeasibleOffering]]:
    """What is left of it without the tasks for which nothing is sold there; and why those were left out."""
    refused: list[NoFeasibleOffering] = []
    left = list(pipeline.tasks)
    while left:
        try:
            broker.preview(Pipeline(name=pipeline.name, tasks=tuple(left)), None)
        except NoFeasibleOffering as error:
            refused.append(error)
            left = _without(left, error.task)
        else:
            return Pipeline(name=pipeline.name, tasks=tuple(left)), refused
    return None, refused


def _without(tasks: Sequence[Task], name: str) -> list[Task]:
    """The others; whoever read from it reads from the one before it."""
    gone = next(task for task in tasks if task.name == name)
    heirs = {
        task.name: task.model_copy(update={"inputs": gone.inputs})
        for task in tasks
        if any(isinstance(one, OutputRef) and one.task == name for one in task.inputs.values())
    }
    return [heirs.get(task.name, task) for task in tasks if task.name != name]


def unread(broker: Broker, jobs: Iterable[Job], token: str) -> list[str]:
    """What cannot be read here of what these jobs have written to their buckets, a line each."""
    faults = []
    for job in jobs:
        if job.state != "succeeded":
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                uri = broker.outputs(job)[PROOF].uri
                assert uri is not None, "what was published has a place"
                brought = broker.bring(uri, Path(folder) / PROOF)
                file = brought if brought.is_file() else next(path for path in brought.rglob("*") if path.is_file())
                if file.read_text().strip() != token:
                    faults.append(f"{job.task}: its bucket does not give what was written there")
            except TransferError as error:
                faults.append(f"{job.task}: its bucket cannot be read from here: {error}")
    return faults


def still_there(broker: Broker, jobs: Iterable[Job]) -> list[str]:
    """What the clouds themselves still have of these jobs once all should be gone, a line each."""
    from sky_core.clouds.base import TAG_JOB
    from sky_core.driver.sweep import collect

    ids = {job.id for job in jobs}
    deadline = time.monotonic() + GONE_S
    while True:
        try:
            seen = collect(broker.settings, broker.store, terminate=False)
        except CloudError as error:
            return [f"nobody can say whether the machines are gone: {error}"]
        there = [one for one in (*seen.orphans, *seen.in_use, *seen.undriven) if one.tags.get(TAG_JOB) in ids]
        if not there or time.monotonic() > deadline:
            return [f"{one.cloud} {one.region} {one.id} ({one.instance_type}) is still there" for one in there] + [
                f"{place} could not be asked whether machines are gone: {why}"
                for place, why in seen.unreachable.items()
            ]
        time.sleep(ASK_S)
