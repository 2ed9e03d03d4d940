"""Never late, whatever market, estimates and ways between zones are like: the benchmark plays ten thousand of these."""

import numpy as np
import pytest

from lab.adversary import trap
from lab.simulate import Move, SpotJob, simulate
from lab.traces import Traces
from sky_core.recovery import make_policy
from sky_core.recovery.policies import NAMES


def late_by(name, seed):
    made = trap(seed)
    options = {"seed": seed} if name in ("randomized-shifted-greedy", "ross") else {}
    out = simulate(make_policy(name, **options), made.traces, made.job, truth=made.truth, sight=made.sight)
    return out.finish - made.bound


@pytest.mark.parametrize("name", [name for name in NAMES if name != "skyloom"])
def test_no_trap_makes_a_policy_late(name):
    assert max(late_by(name, seed) for seed in range(400, 440)) <= 1e-6


def test_nor_ours():
    assert max(late_by("skyloom", seed) for seed in range(10)) <= 1e-6


def test_the_way_to_on_demand_is_known_before_the_first_start():
    """Spot is there for an hour where no on-demand is sold: hours away from where it is."""
    up = Traces(1 / 6, {"here": np.arange(90) < 6, "there": np.zeros(90, dtype=bool)})
    moves = {pair: Move(0.0, 2.0) for pair in (("here", "there"), ("there", "here"))}
    job = SpotJob(5.0, 6.0, 0.2, {"here": 1.0, "there": 1.0}, {"there": 3.0}, moves=moves)
    for name in NAMES:
        assert simulate(make_policy(name), up, job).finish <= 6.0 + 1e-6
