"""Jobs on credentials that are lent and end long before they do, and what user code finds on its machine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from sky_core import Artifact, Resources, Task
from sky_core.remote.artifacts import fetch
from sky_sandbox import client
from sky_sandbox.aws.api import ACCESS_KEY, SECRET_KEY
from sky_sandbox.storage.gates import ACCOUNT_KEY
from tests.conftest import Sandbox, start_sandbox
from tests.sandbox.driving import home_of

LIFE_S = 30  # of what is lent; a job takes longer
CLOUDS = ("aws", "azure", "gcp")  # a signature of Azure's is for longer, whatever we say
PLACES = {
    "aws": {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small"},
    "gcp": {"cloud": "gcp", "region": "us-central1", "instance_type": "e2-standard-2"},
    "azure": {"cloud": "azure", "region": "eastus", "instance_type": "Standard_D2s_v3"},
}
CHECKPOINT = '[ -f "$SKY_CHECKPOINT_DIR/n" ] || echo kept > "$SKY_CHECKPOINT_DIR/n"'

LOOK = """
mkdir -p "$SKY_OUTPUT_SEEN"
cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\n' >"$SKY_OUTPUT_SEEN/processes"
find ~/.skyloom -type f -size -200k -not -name '*.pyz' -exec cat {} + 2>/dev/null >/tmp/files
mv /tmp/files "$SKY_OUTPUT_SEEN/files"
if [ -n "$AWS_EC2_METADATA_SERVICE_ENDPOINT" ]; then
  base=$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest
  token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$base/api/token")
  curl -sf -H "X-aws-ec2-metadata-token: $token" "$base/user-data" >"$SKY_OUTPUT_SEEN/metadata"
fi
"""


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Clouds that lend for a short time only."""
    running = start_sandbox(tmp_path_factory.mktemp("hasty"), login_s=LIFE_S)
    yield running
    client.down(running.home)


def task(cloud: str, run: str, **fields: object) -> Task:
    outputs = {"seen": Artifact()}
    return Task.model_validate({"name": f"on-{cloud}", "run": run, "hours": 1, "outputs": outputs, "checkpoint": "3m",
                                "resources": Resources(cloud=cloud, cpus="2", use_spot=False), **fields})  # fmt: skip


def test_jobs_outlive_what_they_are_lent_and_find_nothing_of_ours(hasty: Sandbox, tmp_path: Path) -> None:
    end = "echo done >$SKY_OUTPUT_SEEN/end; cp $SKY_CHECKPOINT_DIR/n $SKY_OUTPUT_SEEN/"
    run = f"{CHECKPOINT}; {LOOK} sleep {1.5 * LIFE_S:.0f}; {end}"
    with home_of(hasty, tmp_path / "home", "poll_s = 1\n") as home:
        jobs = [home.submit(task(cloud, run), f"run-{cloud}") for cloud in CLOUDS]
        for job in home.drive(*jobs):
            assert job.state == "succeeded", home.store.events(job.id)[-3:]
            cloud = job.task.removeprefix("on-")
            options = {scheme: home.driving.clouds[cloud].storage_options() for scheme in ("s3", "abfs", "gs")}
            url = job.result["outputs"]["seen"]["uri"]
            seen = fetch(url, tmp_path / cloud, options)
            assert (seen / "end").read_text() == "done\n", "published after what was lent first had ended"
            assert (seen / "n").read_text() == "kept\n"
            found = "".join(file.read_text(errors="replace") for file in seen.iterdir())
            for own in (ACCESS_KEY, SECRET_KEY, ACCOUNT_KEY, "Bearer sandbox"):
                assert own not in found, f"{own} on a machine of {cloud}"
            assert "SKY_JOB_ID" in found, "it did look"


@pytest.mark.parametrize("pair", [*combinations(PLACES, 2)], ids="-".join)
def test_a_checkpointed_job_goes_on_in_another_cloud_without_further_secrets(
    hasty: Sandbox, tmp_path: Path, pair: tuple[str, str]
) -> None:
    there = "mkdir -p $SKY_OUTPUT_SEEN; cp $SKY_CHECKPOINT_DIR/n $SKY_OUTPUT_SEEN/"
    run = f'if [ -f "$SKY_CHECKPOINT_DIR/n" ]; then {there}; else {CHECKPOINT}; sleep 600; fi'
    hasty.control.reset()
    with home_of(hasty, tmp_path / "home") as home:
        wanted = Resources.model_validate({"any_of": [PLACES[cloud] for cloud in pair], "use_spot": False})
        moving = task("any", run, resources=wanted, checkpoint="1m")
        job = home.submit(moving)

        home.drive(job, stop=lambda: home.store.job(job.id).memory.get("checkpoint"))
        first = home.store.clusters(job_id=job.id)[-1]
        hasty.control.capacity(first.region, "*", "on-demand", 0)
        hasty.control.capacity(first.region, "*", "spot", 0)
        for machine in hasty.control.machines(live=True):
            hasty.control.kill(machine["id"])
        [over] = home.drive(job)
        assert over.state == "succeeded", home.store.events(job.id)[-3:]
        last = home.store.clusters(job_id=job.id)[-1]
        assert {first.cloud, last.cloud} == set(pair)
