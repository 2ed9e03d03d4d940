"""Machines that have not run when their end is ordered are on no bill where that is what costs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sky_core.clouds.base import Instance
from sky_core.driver.stages.reaching import none_has_run
from sky_core.driver.step import Step
from sky_core.errors import CapacityError, Throttled
from sky_core.store import Cluster

TPU = Cluster(
    token="sky-1", job_id="job-1", attempt=1, state="launched", cloud="gcp", region="r", zone="r-a",
    instance_type="TPU-VM", use_spot=True, num_nodes=1, price=1.0, host_key="", intended_at=0.0, launched_at=0.0,
    instance_ids=("r-a/tpu-queue/sky-1",), accelerator="tpu-v3-8",
)  # fmt: skip


def machine(**fields: Any) -> Instance:
    known = {"id": "r-a/tpu-queue/sky-1", "cloud": "gcp", "region": "r", "zone": "r-a", "instance_type": "TPU-VM"}
    return Instance(**{**known, "use_spot": True, "state": "pending", **fields})


def asked(cluster: Cluster, machines: Any, started: bool = False) -> bool:
    def describe(ids: Any) -> Any:
        if isinstance(machines, Exception):
            raise machines
        return machines

    cloud = SimpleNamespace(describe=describe, settle_s=0.0)
    driving = SimpleNamespace(
        clouds={cluster.cloud: cloud},
        hearing=SimpleNamespace(heard=lambda: None),
        store=SimpleNamespace(now=lambda: 1000.0),
    )
    job, memory = SimpleNamespace(id="job-1"), SimpleNamespace(started=started)
    step = SimpleNamespace(cluster=cluster, memory=memory, job=job, driving=driving)
    return none_has_run(cast(Step, step), cluster)


@pytest.mark.parametrize(
    ("machines", "none_has"),
    [
        ([machine(queued=True)], True),
        ([machine()], True),  # on its way
        ([machine(), machine(state="running")], False),
        ([machine(state="stopping", failed=CapacityError("none", scope="zone"))], True),
        ([machine(state="stopping", failed=CapacityError("none", scope="zone"), preempted=True)], False),
        ([machine(state="gone")], False),
        ([], False),
        (Throttled("not now"), False),
    ],
)
def test_it_is_what_the_cloud_says(machines: Any, none_has: bool) -> None:
    assert asked(TPU, machines) is none_has


def test_where_it_is_known_or_costs_all_the_same_nobody_is_asked() -> None:
    waits = [machine()]
    assert not asked(TPU, waits, started=True)
    assert not asked(replace(TPU, launched_as="sky-0"), waits)
    assert not asked(replace(TPU, cloud="azure", instance_type="Standard_D2s_v5"), waits), (
        "it costs from its creation on"
    )
