"""Jobs without a deadline: an hour until the end has a price, and patience ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.simulate import SpotJob, simulate
from lab.traces import Traces
from sky_core.recovery import make_policy
from sky_core.recovery.patience import KEPT, PATIENCE, time_to_end, without_deadline
from tests.unit.spot.test_recovery import situation

STEP, CHANGEOVER, RATIO = 1 / 6, 0.2, 3.0
HOUR = round(1 / STEP)


def traces(*up: bool) -> Traces:
    return Traces(STEP, {"a": np.array(up)})


def job(work: float, hour_usd: float) -> SpotJob:
    return SpotJob(work, time_to_end(work), CHANGEOVER, {"a": 1.0}, {"a": RATIO}, hour_usd=hour_usd)


def led(up: Traces, work: float, hour_usd: float):
    return simulate(make_policy(), up, job(work, hour_usd), sight="asked")


GONE_FOR_HOURS = traces(*[True] * 2 * HOUR, *[False] * 3 * HOUR, *[True] * 40 * HOUR)


def test_who_is_in_no_hurry_waits_and_who_is_pays():
    patient, hurried = led(GONE_FOR_HOURS, 6.0, 0.0), led(GONE_FOR_HOURS, 6.0, 5.0)
    assert {leg.state for leg in patient.timeline} == {"spot", "idle"}
    assert "idle" not in {leg.state for leg in hurried.timeline}
    assert patient.cost < hurried.cost
    assert patient.finish > hurried.finish


def test_who_pays_goes_back_to_spot_once_it_is_there():
    paid = led(GONE_FOR_HOURS, 12.0, 2.5)
    assert [leg.state for leg in paid.timeline if leg.state != "idle"] == ["spot", "on_demand", "spot"]


def test_patience_ends_where_spot_does_not_come():
    never = traces(*[False] * 100 * HOUR)
    out = led(never, 6.0, 0.0)
    waited = out.hours["idle", None]
    assert 1.0 < waited <= PATIENCE * 6.0 + STEP + KEPT * CHANGEOVER
    assert out.timeline[-1].state == "on_demand"


def test_spot_is_taken_after_patience_has_ended():
    late = traces(*[False] * 20 * HOUR, *[True] * 100 * HOUR)
    out = led(late, 24.0, 2.5)  # on demand for long: an hour is worth more than spot saves
    assert [leg.state for leg in out.timeline][-1] == "spot"
    gone = situation(now=60.0, remaining_work=5.0, time_to_deadline=1.0, total_work=24.0, hour_usd=0.0)
    assert without_deadline(gone).hour_usd == max(gone.on_demand_price.values())
    assert without_deadline(gone).time_to_deadline == pytest.approx(5.0 + KEPT * gone.changeover)


def test_a_job_that_outruns_its_estimate_still_takes_spot():
    outrun = situation(remaining_work=-3.0, time_to_deadline=1.0, total_work=8.0, state="idle", zone=None, hour_usd=1.0)
    seen = without_deadline(outrun)
    assert seen.remaining_work == pytest.approx(2.0)
    assert make_policy().decide(seen).state == "spot"
    none = replace(seen, spot_available=dict.fromkeys(seen.spot_available, False))
    assert make_policy().decide(none).state in ("idle", "on_demand")


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 8 * HOUR), min_size=4, max_size=12), st.sampled_from([0.0, 0.3, 1.0, 2.5]))
def test_every_job_ends(spells, hour_usd):
    """Even with no price on its time: patience ends."""
    up = [number % 2 == 0 for number, spell in enumerate(spells) for _ in range(spell)]
    out = led(traces(*up, *[False] * 200 * HOUR), 6.0, hour_usd)
    assert out.hours.get(("idle", None), 0.0) <= PATIENCE * 6.0 + KEPT * CHANGEOVER + STEP * len(spells)
