"""Who waits in a cloud's queue is not kept out by what others were refused who did not wait as long."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sky_core import Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.errors import NoFeasibleOffering
from sky_core.facts import facts_of
from sky_core.planner.alternatives import queue_hours
from sky_core.planner.candidates import is_blocked
from sky_core.planner.plan import Block, Placement
from sky_core.planner.planning import Market, make_plan
from sky_core.store import Observation
from sky_core.tracker import Tracker

ZONE, TPU = "europe-west4-a", "tpu-v3-8"
GPU = {"accelerators": "L4", "instance_type": "g2-standard-4", "zone": "us-central1-a", "use_spot": False}
NAMES = ("cloud", "region", "zone", "instance_type", "accelerator", "reservation", "reason", "guessed", "waited")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load()


def seen(kind: Any = "capacity", **fields: Any) -> Observation:
    here = {"cloud": "gcp", "region": "europe-west4", "zone": ZONE, "instance_type": "TPU-VM", "accelerator": TPU}
    return Observation(**{"at": time.time(), "kind": kind, "market": "spot", **here, **fields})


def both(**fields: Any) -> list[Observation]:
    """The same seen in both markets."""
    return [seen(market=market, **fields) for market in ("spot", "on-demand")]


def blocks(*observed: Observation) -> list[Block]:
    tracker = Tracker(observed, time.time() + 1)
    found = [*tracker.blocked(600), *tracker.sold_out(600)]
    markets = {"spot": True, "on-demand": False, None: None}
    return [Block(**{name: getattr(it, name) for name in NAMES}, use_spot=markets[it.market]) for it in found]


def planned(catalog: Catalog, observed: list[Observation], **resources: Any) -> Placement:
    wanted = Resources(**{"accelerators": TPU, "zone": ZONE, "use_spot": True, **resources})
    one = Task(name="t", run="x", hours=2, resources=wanted)
    market = Market(catalog, ("aws", "gcp"), blocked=blocks(*observed))
    return make_plan(Pipeline(name="p", tasks=(one,)), market).placements["t"]


def test_who_waits_is_not_kept_out_by_what_was_refused_at_once(catalog: Catalog) -> None:
    with pytest.raises(NoFeasibleOffering, match="capacity in"):
        planned(catalog, both())
    place = planned(catalog, both(), queue="20h")
    assert (place.zone, place.use_spot) == (ZONE, True)
    wanted = Resources(accelerators=TPU, use_spot=True, queue="20h")
    assert queue_hours(wanted, place) == 20.0
    assert is_blocked(place, blocks(*both()))
    assert not is_blocked(place, blocks(*both()), queue_hours(wanted, place))


@pytest.mark.parametrize(("waited", "queue", "kept_out"), [(1.0, "2h", False), (2.0, "2h", True), (20.0, "2h", True)])
def test_who_would_wait_no_longer_is_kept_out(catalog: Catalog, waited: float, queue: str, kept_out: bool) -> None:
    observed = [*both(hours=waited), *both()]  # the last refusal was at once
    if not kept_out:
        assert planned(catalog, observed, queue=queue).zone == ZONE
        return
    with pytest.raises(NoFeasibleOffering, match="capacity in"):
        planned(catalog, observed, queue=queue)


@pytest.mark.parametrize(
    ("kind", "scope"), [("quota", "region"), ("auth", "cloud"), ("invalid", "type"), ("unreachable", "zone")]
)
def test_what_waiting_does_not_mend_keeps_all_out(catalog: Catalog, kind: str, scope: str) -> None:
    observed = [*both(), *both(kind=kind, scope=scope)]
    with pytest.raises(NoFeasibleOffering, match=f"{kind}|request"):
        planned(catalog, observed, queue="20h")


def test_a_preemption_says_no_more_than_a_refusal_at_once(catalog: Catalog) -> None:
    assert planned(catalog, [seen("preempted", hours=30.0)], queue="1h").use_spot
    assert not planned(catalog, [seen("preempted", hours=30.0)]).use_spot


def test_machines_without_a_queue_are_not_waited_for(catalog: Catalog) -> None:
    there = {"region": "us-central1", "zone": "us-central1-a", "accelerator": "L4", "instance_type": "g2-standard-4"}
    assert planned(catalog, both(**there), **GPU, queue="1h").zone == "us-central1-a"
    observed = both(**{**there, "instance_type": "n1-standard-4", "accelerator": "T4"})
    with pytest.raises(NoFeasibleOffering):
        planned(
            catalog, observed, **{**GPU, "accelerators": "T4", "instance_type": "n1-standard-4"}, queue="1h", cpus=4
        )


def test_a_guess_from_refusals_at_once_does_not_bind_who_waits(catalog: Catalog) -> None:
    kinds = [seen(instance_type=f"TPU-{number}") for number in range(3)]
    assert not planned(catalog, kinds).use_spot, "the zone is taken to be sold out of spot"
    assert planned(catalog, kinds, queue="1h").use_spot
    assert not planned(catalog, [seen(instance_type=f"TPU-{n}", hours=1.5) for n in range(3)], queue="1h").use_spot


@pytest.mark.parametrize(("queue", "said"), [("900h", ["900 h", "2 h at most"]), ("2h", []), (None, [])])
def test_a_plan_says_when_its_cloud_does_not_let_it_wait_so_long(
    catalog: Catalog, queue: str | None, said: list[str]
) -> None:
    one = Task(name="t", run="x", hours=2, resources=Resources(**GPU, queue=queue))
    plan = make_plan(Pipeline(name="p", tasks=(one,)), Market(catalog, ("gcp",)))
    remarks = [remark for remark in plan.remarks if "queue" in remark]
    assert len(remarks) == bool(said)
    assert all(word in remark for remark in remarks for word in said)
    assert queue_hours(one.resources, plan.placements["t"]) == (2.0 if queue else 0.0)


def test_which_machines_there_is_a_queue_for() -> None:
    hours = facts_of("gcp").queue_hours
    assert hours("TPU-VM", True) == hours("TPU-VM", False) == float("inf")
    assert (hours("g2-standard-4", False), hours("g2-standard-4", True), hours("n1-standard-4", False)) == (2, 0, 0)
    assert facts_of("aws").queue_hours("p5.48xlarge", False) == 0.0
    assert facts_of("one-s-own").queue_hours("TPU-VM", False) == 0.0
