"""Reservations of Compute Engine through google-cloud-compute: who gets in, what is refused, what is told of them."""

from __future__ import annotations

from typing import Any

import pytest

from sky_core.clouds import holdings
from sky_core.clouds.base import LaunchRequest
from sky_core.clouds.gcp.provider import Gcp
from sky_core.errors import CapacityError, InvalidRequest
from tests.conftest import Sandbox, until
from tests.sandbox.ssh import request

ZONE = "us-central1-a"


def into(token: str, reservation: str | None, **changes: Any) -> LaunchRequest:
    place = {"instance_type": "n2-standard-2", "region": "us-central1", "zone": ZONE, "use_spot": False}
    return request(token, **{**place, **changes}, reservation=reservation)


def test_a_gang_is_in_the_reservation_that_it_names_or_not_at_all(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    reservation = sandbox.control.reserve("gcp", ZONE, "n2-standard-2", 2)
    sandbox.control.capacity(ZONE, "n2-standard-2", "on-demand", 0)
    with pytest.raises(CapacityError, match="does not have available resources") as full:
        gcp.launch(into(f"{token}-3", reservation, num_nodes=3))
    assert full.value.scope == "reservation"
    until(lambda: not sandbox.live())
    named = f"projects/{gcp.project}/reservations/{reservation}"
    ids = [one.id for one in gcp.launch(into(token, named, num_nodes=2))]
    until(lambda: {one.state for one in gcp.describe(ids)} == {"running"})
    open_now = [(entry["kind"], entry["id"]) for entry in sandbox.control.ledger(open_only=True)]
    assert [one for one in open_now if one[0] in ("machine", "reservation")] == [("reservation", reservation)]
    gcp.terminate(ids)
    until(lambda: not sandbox.live())
    assert gcp.launch(into(f"{token}-again", reservation))


def test_what_a_reservation_does_not_hold_is_refused_for_it_alone(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    reservation = sandbox.control.reserve("gcp", ZONE, "n2-standard-2")
    everybody = sandbox.control.reserve("gcp", ZONE, "n2-standard-4", kind="open")
    wrong: list[tuple[type[Exception], str, str, dict[str, Any]]] = [
        (InvalidRequest, "do not exist", reservation, {"zone": "us-central1-b"}),
        (CapacityError, "No available resources", reservation, {"instance_type": "n2-standard-4"}),
        (InvalidRequest, "do not exist.*skyloom catalog reservations", "not-there", {}),
        (InvalidRequest, "do not exist", f"projects/somebody/reservations/{reservation}", {}),
        (InvalidRequest, "specificReservationRequired", everybody, {"instance_type": "n2-standard-4"}),
    ]
    for number, (kind, words, name, changes) in enumerate(wrong):
        with pytest.raises(kind, match=words) as refused:
            gcp.launch(into(f"{token}-{number}", name, **changes))
        assert refused.value.scope == "reservation"  # type: ignore[attr-defined]
    assert sandbox.live() == []


def test_one_that_takes_all_is_used_unasked_and_one_that_is_named_is_not(
    sandbox: Sandbox, gcp: Gcp, token: str
) -> None:
    sandbox.control.reserve("gcp", ZONE, "n2-standard-2")
    everybody = sandbox.control.reserve("gcp", ZONE, "n2-standard-4", kind="open")
    gcp.launch(into(token, None))
    gcp.launch(into(f"{token}-open", None, instance_type="n2-standard-4"))
    assert {one["type"]: one["reservation"] for one in sandbox.control.machines(live=True)} == {
        "n2-standard-2": "",
        "n2-standard-4": everybody,
    }


def test_the_project_tells_what_it_holds(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    reservation = sandbox.control.reserve("gcp", ZONE, "n2-standard-2", 3, ends_s=3600)
    everybody = sandbox.control.reserve("gcp", "us-east1-b", "n2-standard-4", kind="open")
    gcp.launch(into(token, reservation))
    found = {one.name: one for one in holdings("gcp", sandbox.settings).held}
    held = found[reservation]
    assert (held.zone, held.instance_type, held.total, held.free) == (ZONE, "n2-standard-2", 3, 2)
    assert held.ends is not None
    assert held.by_name
    assert not found[everybody].by_name
    assert set(found) == {reservation, everybody}
    shared = holdings("gcp", sandbox.settings, ["us-central1"], ["projects/owner/reservations/x", "y"]).held
    theirs = {f"projects/owner/reservations/{name}" for name in (reservation, everybody)}
    assert {one.name for one in shared} == {reservation, everybody, *theirs}
