"""Jobs in capacity that was reserved: there first, elsewhere when it is full, ended or not there at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from sky_core import Pipeline, Task
from sky_core.driver.lifecycle import advance
from sky_core.driver.step import Step
from sky_core.events import Happening, ReservationEnded
from sky_core.home import INVENTORY
from sky_core.job.bill import spent_on
from sky_core.job.cost.charges import charges
from tests.conftest import Sandbox, until
from tests.sandbox.driving import Home, home_of, small

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.1}


@dataclass(frozen=True)
class Place:
    """Where a cloud's reservation is, and a name that it has none of."""

    cloud: str
    region: str
    zone: str
    instance_type: str
    nowhere: str

    def entry(self, reservation: str, count: int = 1, until: str = "") -> str:
        """An entry of catalog.toml."""
        return f"""
[[machines]]
cloud = "{self.cloud}"
region = "{self.region}"
zone = "{self.zone}"
instance_type = "{self.instance_type}"
vcpus = 2
memory_gib = 8
price = 0
count = {count}
reservation = "{reservation}"
{until}
"""

    def task(self, name: str = "work", run: str = "echo hello") -> Task:
        """A task for such a machine."""
        return small(name, run, cloud=self.cloud, region=self.region, instance_type=self.instance_type)


PLACES = {
    "aws": Place("aws", "us-east-1", "us-east-1a", "m5.large", "cr-0123456789abcdef0"),
    "gcp": Place("gcp", "us-central1", "us-central1-a", "n2-standard-2", "not-there"),
    "azure": Place(
        "azure",
        "eastus",
        "eastus-1",
        "Standard_D2s_v5",
        "/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/reserved/providers/Microsoft.Compute"
        "/capacityReservationGroups/not-there",
    ),
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]


@pytest.fixture
def tidy(world: Sandbox) -> Iterator[Sandbox]:
    yield world
    world.control.reset()


def reserve(world: Sandbox, place: Place, count: int = 1, **options: object) -> str:
    return world.control.reserve(place.cloud, place.zone, place.instance_type, count, **options)  # type: ignore[arg-type]


@contextmanager
def holding(world: Sandbox, path: Path, entry: str) -> Iterator[Home]:
    """A home whose catalog.toml says that."""
    path.mkdir(exist_ok=True)
    (path / INVENTORY).write_text(entry)
    with home_of(world, path) as home:
        yield home


def refused(home: Home, job: str) -> list[str]:
    return [str(event.data["message"]) for event in home.store.events(job) if event.kind == "refused"]


def test_one_job_is_in_the_reservation_for_nothing_and_the_next_beside_it(
    tidy: Sandbox, tmp_path: Path, place: Place
) -> None:
    reservation = reserve(tidy, place)
    with holding(tidy, tmp_path, place.entry(reservation)) as home:
        tasks = (place.task("a"), place.task("b"))
        plan = home.broker.plan("run", Pipeline(name="p", tasks=tasks)).placements
        assert {one.reservation for one in plan.values()} == {reservation, None}
        jobs = home.drive(*(home.submit(task, plan="run", key=f"run-{task.name}") for task in tasks))
        assert {job.state for job in jobs} == {"succeeded"}
        clusters = {cluster.reservation: cluster for job in jobs for cluster in home.store.clusters(job_id=job.id)}
        assert set(clusters) == {reservation, None}
        machines = {one["id"]: one for one in tidy.control.machines()}
        inside = [one for one in machines.values() if one["reservation"] == reservation]
        assert [one["tags"]["skyloom-cluster"] for one in inside] == [clusters[reservation].token]
        assert inside[0]["id"] not in {one["id"] for one in tidy.control.ledger() if one["kind"] == "machine"}
        paid = charges(home.store, home.settings.scale)
        assert {charge.market: charge.compute_usd > 0 for charge in paid} == {"reserved": False, "on-demand": True}
        until(lambda: not tidy.live())  # Azure has taken the order, and is about it


def test_one_that_others_have_filled_is_left_for_the_next_best_place_and_tried_again_later(
    tidy: Sandbox, tmp_path: Path, place: Place
) -> None:
    reservation = reserve(tidy, place)
    entry = place.entry(reservation)
    with holding(tidy, tmp_path / "theirs", entry) as theirs, holding(tidy, tmp_path / "ours", entry) as ours:
        first = theirs.submit(place.task(run="sleep 600"))
        theirs.drive(first, stop=lambda: theirs.store.job(first.id).state == "running")
        (job,) = ours.drive(ours.submit(place.task()))
        assert job.state == "succeeded"
        clusters = ours.store.clusters(job_id=job.id)
        assert [(one.reservation, one.outcome) for one in clusters] == [(reservation, "capacity"), (None, "succeeded")]
        assert clusters[1].zone is not None, "the market of its zone is not shut"
        [no] = [event.what for event in ours.store.events(job.id) if event.kind == "refused"]
        assert no is not None
        assert "(reserved) refused (capacity)" in no.words()
        theirs.broker.cancel(first.id, "enough")
        theirs.drive(first)


def test_one_that_is_not_there_is_told_and_does_not_hold_a_job_up(tidy: Sandbox, tmp_path: Path, place: Place) -> None:
    with holding(tidy, tmp_path, place.entry(place.nowhere)) as home:
        (job,) = home.drive(home.submit(place.task()))
        assert job.state == "succeeded"
        [why] = refused(home, job.id)
        assert "skyloom catalog reservations" in why
        assert [one.reservation for one in home.store.clusters(job_id=job.id)] == [place.nowhere, None]


def test_a_block_that_ends_takes_the_job_elsewhere(tidy: Sandbox, tmp_path: Path) -> None:
    place = PLACES["aws"]
    block = reserve(tidy, place, kind="block")
    with holding(tidy, tmp_path, place.entry(block)) as home:
        submitted = home.submit(place.task(run="test -e /tmp/never || sleep 3"))
        home.drive(submitted, stop=lambda: home.store.job(submitted.id).state == "running")
        tidy.control.unreserve(block)
        (job,) = home.drive(submitted)
        assert job.state == "succeeded"
        assert home.store.clusters(job_id=job.id)[0].reservation == block
        assert home.store.clusters(job_id=job.id)[-1].reservation is None


def test_no_launch_is_made_where_the_job_would_not_be_done(tidy: Sandbox, tmp_path: Path) -> None:
    place = PLACES["aws"]
    reservation, soon = reserve(tidy, place), time.time() + 900
    ends = f"until = {datetime.fromtimestamp(soon, UTC):%Y-%m-%dT%H:%M:%SZ}"
    with holding(tidy, tmp_path, place.entry(reservation, until=ends)) as home:
        task = place.task()
        assert home.broker.plan("run", Pipeline(name="p", tasks=(task,))).placements["work"].reservation == reservation
        later = SimpleNamespace(time=lambda: soon)  # for those who ask whether it lasts
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sky_core.driver.lead.replanning.time", later)
            patch.setattr("sky_core.planner.planning.time", later)
            (job,) = home.drive(home.submit(task, plan="run"))
        assert job.state == "succeeded"
        assert [one.reservation for one in home.store.clusters(job_id=job.id)] == [None]


@pytest.mark.parametrize("kind", ["targeted", "block"])
def test_a_job_that_outlives_its_reservation_is_told_and_billed_from_then_on(
    tidy: Sandbox, tmp_path: Path, kind: str
) -> None:
    place = PLACES["aws"]
    reservation, soon = reserve(tidy, place, kind=kind), int(time.time()) + 900
    ends = f"until = {datetime.fromtimestamp(soon, UTC):%Y-%m-%dT%H:%M:%SZ}"
    with holding(tidy, tmp_path, place.entry(reservation, until=ends)) as home:
        submitted = home.submit(place.task(run="sleep 600"))
        home.drive(submitted, stop=lambda: home.store.job(submitted.id).state == "running")
        [cluster] = home.store.clusters(job_id=submitted.id)
        assert (cluster.price_after is None) == (kind == "block"), "EC2 takes those back"
        spent = [spent_on(home.store, home.settings.scale, [submitted.id], soon + s)[submitted.id] for s in (0, 10)]
        price, scale = cluster.price_after or 0.0, home.settings.scale
        assert [one.compute_usd for one in spent] == pytest.approx([0, price * scale.hours(10)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sky_core.driver.lead.outliving.time", SimpleNamespace(time=lambda: soon))

            def told() -> list[Happening]:
                seen = advance(Step.load(home.driving, home.store.job(submitted.id))).events
                return [event for event in seen if isinstance(event, ReservationEnded)]

            expected = ReservationEnded(attempt=1, reservation=reservation, usd_per_hour=cluster.price_after)
            assert told() == ([] if kind == "block" else [expected])
            home.drive(submitted, stop=lambda: not told())
        home.broker.cancel(submitted.id, "enough")
        home.drive(submitted)
