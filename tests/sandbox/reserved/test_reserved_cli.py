"""``skyloom catalog reservations`` and ``skyloom check``: what is printed can be pasted, and what is wrong is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from sky_core import Pipeline
from sky_core.catalog import Catalog
from sky_core.cli.account.reservations import amiss_in, entry_of, reservations, to_come_in
from sky_core.clouds import holdings
from sky_core.clouds.aws.reservations import _held
from sky_core.clouds.reservations import Held, Holdings, amiss
from sky_core.config import Settings
from sky_core.home import INVENTORY
from sky_core.inventory import Inventory, Machines
from tests.conftest import Sandbox
from tests.sandbox.driving import Home, home_of, small

PLACES = {
    "aws": ("us-east-1a", "p4d.24xlarge"),
    "gcp": ("us-central1-a", "n2-standard-2"),
    "azure": ("eastus-1", "Standard_D2s_v5"),
}


def printed(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *clouds: str) -> str:
    monkeypatch.setenv("SKYLOOM_HOME", str(home.path))
    monkeypatch.setenv("SKYLOOM_PROFILE", "sandbox")
    with pytest.raises(typer.Exit):
        reservations(list(clouds))
    return capsys.readouterr().out


def test_what_is_printed_can_be_pasted_and_is_planned_on(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with home_of(sandbox, tmp_path) as home:
        assert "nothing is reserved" in printed(home, monkeypatch, capsys)
        made = {cloud: sandbox.control.reserve(cloud, *place, 2) for cloud, place in PLACES.items()}
        block = sandbox.control.reserve("aws", "us-west-2a", "p5.48xlarge", kind="block", ends_s=36000)
        everybody = sandbox.control.reserve("gcp", "us-east1-b", "n2-standard-4", kind="open")
        said = printed(home, monkeypatch, capsys)
        assert everybody in said.partition("[[machines]]")[0]
        (tmp_path / INVENTORY).write_text("[[machines]]" + said.partition("[[machines]]")[2])
        entries = {entry.reservation: entry for entry in Inventory.read(tmp_path).machines}
        assert set(entries) == {*made.values(), block}
        assert (entries[made["aws"]].accelerators, entries[made["aws"]].vcpus) == ("A100:8", 96)
        assert entries[block].until is not None
        assert entries[block].until < datetime.fromtimestamp(sandbox.control.reservations()[3]["ends_at"], UTC)
        assert [why for cloud in PLACES for why in amiss_in(cloud, home.settings)] == []
        task = small(cloud="azure", region="eastus", instance_type="Standard_D2s_v5")
        plan = home.broker.plan("run", Pipeline(name="p", tasks=(task,)))
        assert plan.placements["work"].reservation == made["azure"]
        again = printed(home, monkeypatch, capsys)
        assert "[[machines]]" not in again, "they are known by now"
        assert made["azure"] in again
        assert made["gcp"] not in printed(home, monkeypatch, capsys, "aws")
        entered = (tmp_path / INVENTORY).read_text()
        (tmp_path / INVENTORY).write_text(entered.replace("us-central1", "us-west1"))
        [why] = amiss_in("gcp", home.settings)
        assert why.endswith("it holds n2-standard-2 in us-central1-a, not n2-standard-2 in us-west1-a")
        (tmp_path / INVENTORY).write_text(entered.replace('zone = "eastus-1"', 'zone = "eastus-2"'))
        rest = printed(home, monkeypatch, capsys).partition("[[machines]]")[2]
        assert made["azure"] in rest, "what is entered is another of the group"
        assert "[[machines]]" not in rest
        (tmp_path / INVENTORY).write_text(entered)
        sandbox.control.unreserve(made["gcp"])
        [why] = amiss_in("gcp", home.settings)
        assert why.endswith(f"reservation {made['gcp']}: there is no such reservation")


SINCE = datetime(2029, 1, 1, 12, tzinfo=UTC)
ENTRY = Machines(
    cloud="aws", region="us-east-1", zone="us-east-1a", instance_type="p5.48xlarge", vcpus=192, memory_gib=2048,
    price=0, count=2, reservation="cr-0123456789abcdef0", until=datetime(2030, 1, 1, 12, tzinfo=UTC),
)  # fmt: skip
HELD = Held(
    name="cr-0123456789abcdef0", cloud="aws", region="us-east-1", zone="us-east-1a", instance_type="p5.48xlarge",
    total=2, free=1, ends=datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp(),
)  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "held", "said"),
    [
        ({}, {}, ""),
        ({"until": datetime(2029, 1, 1, tzinfo=UTC), "count": 1}, {}, ""),
        ({}, {"name": "cr-0123456789abcdef1"}, "there is no such reservation"),
        ({"zone": "us-east-1b"}, {}, "it holds p5.48xlarge in us-east-1a, not p5.48xlarge in us-east-1b"),
        ({"instance_type": "p5e.48xlarge"}, {}, "it holds p5.48xlarge in us-east-1a, not p5e"),
        ({}, {"zone": None}, "it is of the region; leave zone out"),
        ({"zone": None}, {"zone": None}, ""),
        ({"zone": None}, {}, "it holds p5.48xlarge in us-east-1a, not p5.48xlarge in us-east-1"),
        ({"count": 3}, {}, "it holds 2 machines, not 3"),
        ({"until": None}, {}, "write until = 2030-01-01T12:00:00Z"),
        ({}, {"ends": HELD.ends and HELD.ends - 1}, "write until = 2030-01-01T11:59:59Z"),
        ({"until": datetime(2026, 1, 1, tzinfo=UTC)}, {}, "it has ended at 2026-01-01T00:00:00Z; take the entry out"),
        ({}, {"by_name": False}, "a launch cannot name it"),
        ({}, {"begins": SINCE.timestamp() + 0.5}, "write since = 2029-01-01T12:00:00Z"),
        ({"since": SINCE}, {"begins": SINCE.timestamp() + 0.5}, ""),
    ],
)
def test_an_entry_that_does_not_fit_is_told(entry: dict[str, object], held: dict[str, object], said: str) -> None:
    why = amiss(ENTRY.model_copy(update=entry), Holdings((Held(**{**vars(HELD), **held}),)))  # type: ignore[arg-type]
    assert said in why
    assert bool(said) == bool(why)


def test_what_cannot_be_looked_at_is_not_said_to_be_missing() -> None:
    assert amiss(ENTRY, Holdings((), {"us-east-1": "denied"})) == "cannot be told: denied"
    shared = ENTRY.model_copy(update={"cloud": "gcp", "reservation": "projects/other/reservations/x"})
    assert amiss(shared, Holdings((), {"projects/other": "denied"})) == "cannot be told: denied"


def test_one_that_has_not_begun_says_when_it_does_in_what_is_printed() -> None:
    told = {
        "CapacityReservationId": "cr-0123456789abcdef0", "AvailabilityZone": "us-east-1a",
        "InstanceType": "p5.48xlarge", "TotalInstanceCount": 2, "AvailableInstanceCount": 0, "State": "scheduled",
        "StartDate": SINCE, "ReservationType": "capacity-block",
    }  # fmt: skip
    to_come, begun = _held("us-east-1", told), _held("us-east-1", told | {"State": "active"})
    assert "since = 2029-01-01T12:00:00Z" in list(entry_of(to_come, Catalog.embedded()))
    assert not [line for line in entry_of(begun, Catalog.embedded()) if line.startswith("since")]


def test_check_says_when_one_begins(tmp_path: Path) -> None:
    lines = [line.partition("  #")[0] for line in entry_of(replace(HELD, begins=4e9, ends=None), Catalog.embedded())]
    (tmp_path / INVENTORY).write_text("\n".join(lines))
    [said] = to_come_in("aws", Settings.load({"SKYLOOM_HOME": str(tmp_path)}))
    assert said.endswith("begins at 2096-10-02T07:06:40Z; nothing is planned there before")


def test_one_of_google_s_that_is_named_with_its_own_project_and_without_is_told(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with home_of(sandbox, tmp_path) as home:
        name = sandbox.control.reserve("gcp", *PLACES["gcp"], 2)
        [held] = holdings("gcp", home.settings).held
        own = replace(held, name=f"projects/{home.settings.clouds['gcp'].account}/reservations/{name}")
        entries = ["\n".join(entry_of(one, Catalog.embedded())) for one in (held, own)]
        (tmp_path / INVENTORY).write_text("\n".join(entries))
        [why] = amiss_in("gcp", home.settings)
        assert "machines.1" in why
        assert "named twice: machines.0 has the same machines" in why
