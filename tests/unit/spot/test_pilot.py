"""The checkpoint of a led job is where it was written, not where a machine was launched."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from sky_core.catalog import Catalog
from sky_core.driver.lead.berths import Berth
from sky_core.driver.lead.pilot import to_be_moved
from sky_core.driver.step import Step
from sky_core.job.memory import Saved
from sky_core.store import Cluster

KEPT = Saved(generation=3, location="aws/us-east-1", gb=2000.0, hours=0.1)
BERTHS = {
    "aws/us-east-1a": Berth(("aws", "us-east-1", "us-east-1a"), None, None, 0.0),
    "aws/eu-west-1a": Berth(("aws", "eu-west-1", "eu-west-1a"), None, None, 0.0),
}
THERE = cast(Cluster, SimpleNamespace(cloud="aws", region="eu-west-1"))


def hours(*, running_since: float | None, here: Cluster | None, bucket: str | None = None) -> dict[str, float]:
    """Of a move to each zone, for a job whose checkpoint was written in us-east-1."""
    clouds = {"aws": SimpleNamespace(bucket=bucket, bucket_region="us-east-1")}
    settings = SimpleNamespace(clouds=clouds)
    memory = SimpleNamespace(checkpoint=KEPT, running_since=running_since)
    step: Any = SimpleNamespace(memory=memory, driving=SimpleNamespace(settings=settings))
    catalog = Catalog.load()
    kept = to_be_moved(cast(Step, step), here)
    return {zone: berth.moving(catalog, kept)[1] for zone, berth in BERTHS.items()}


def test_a_machine_that_is_starting_has_not_brought_the_checkpoint():
    starting = hours(running_since=None, here=THERE)
    assert starting == hours(running_since=None, here=None)
    assert starting["aws/eu-west-1a"] > 2 * starting["aws/us-east-1a"]


def test_a_running_job_leaves_its_checkpoint_where_it_runs():
    running = hours(running_since=1.0, here=THERE)
    assert running["aws/us-east-1a"] > 2 * running["aws/eu-west-1a"]


def test_a_bucket_far_away_is_read_from_at_every_start():
    running = hours(running_since=1.0, here=THERE, bucket="s3://ours")
    assert running["aws/eu-west-1a"] > 2 * running["aws/us-east-1a"]
