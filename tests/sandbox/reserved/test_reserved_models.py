"""What is said of reservations is in the clouds' own models, and takes no rights but those that are listed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from sky_core.clouds import connect, contract, holdings
from sky_core.clouds.base import REFUSALS, Cloud
from tests.conftest import Sandbox, until
from tests.sandbox.clouds.test_contract import SUBJECTS
from tests.sandbox.clouds.test_permissions import listed
from tests.sandbox.models.recorder import recording
from tests.sandbox.models.test_models import JUDGES
from tests.sandbox.reserved.test_reserved_jobs import PLACES, Place

WORDS = {"aws": "CapacityReservation", "gcp": "reservationAffinity", "azure": "capacityReservationGroup"}


def _live(sandbox: Sandbox, cloud: Cloud, place: Place, kinds: tuple[str, ...]) -> None:
    """Launch into reservations of these kinds, and into what is full or not there; look at what there is."""
    for kind in kinds:
        made = sandbox.control.reserve(place.cloud, place.zone, place.instance_type, kind=kind, ends_s=36000)  # type: ignore[arg-type]
        ids = [one.id for one in cloud.launch(_request(place, reservation=made))]
        until(lambda ids=ids: cloud.describe(ids)[0].state == "running")
        with pytest.raises(REFUSALS):
            cloud.launch(_request(place, reservation=made))
        held = {one.name: one.free for one in holdings(place.cloud, sandbox.settings, [place.region]).held}
        assert held[made] == 0
        cloud.terminate(ids)
        until(lambda ids=ids: cloud.describe(ids)[0].state == "gone")
    with pytest.raises(REFUSALS):
        cloud.launch(_request(place, reservation=place.nowhere))


def _request(place: Place, **changes: Any) -> Any:
    return SUBJECTS[place.cloud].request(contract.new_token(), asked_before=False, **changes)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]


def test_all_that_is_said_is_in_the_clouds_own_models(sandbox: Sandbox, place: Place) -> None:
    kinds = ("targeted", "block") if place.cloud == "aws" else ("targeted",)
    with recording() as heard:
        _live(sandbox, connect(place.cloud, sandbox.settings), place, kinds)
    said = [
        exchange for exchange in heard if WORDS[place.cloud].lower() in f"{exchange.path} {exchange.body!r}".lower()
    ]
    assert len(said) > 2, "the recorder has heard next to nothing of them"
    wrong = Counter(complaint for exchange in heard for complaint in JUDGES[place.cloud].complaints(exchange))
    assert not wrong, "\n".join(wrong)


def test_the_rights_that_are_listed_are_enough(sandbox: Sandbox, place: Place) -> None:
    sandbox.control.account(allowed=listed(place.cloud))
    _live(sandbox, connect(place.cloud, sandbox.settings), place, ("targeted",))
