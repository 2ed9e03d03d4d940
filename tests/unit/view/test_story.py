"""A led job's story: its machines and what was thought, as lanes of characters and as SVG."""

from xml.etree import ElementTree

import pytest

from sky_core.job.memory import Promise
from sky_core.job.narrate import describe
from sky_core.job.story import tell
from sky_core.job.story_picture import lanes, svg
from sky_core.measures.scale import Scale
from sky_core.planner.plan import Placement
from sky_core.store import Cluster, Event

HOUR, BEGAN = 3600.0, 1_800_000_000.0
THOUGHT = {
    "chosen": "spot aws/b", "left": 4.0, "slack": 3.0, "usd": {"spot aws/b": 5.0, "wait": 6.0, "on-demand aws/a": 12.0},
    "up": {"aws/a": 0.1, "aws/b": 0.8}, "price": {"spot aws/a": 0.9, "spot aws/b": 1.0, "on-demand aws/a": 3.0},
}  # fmt: skip


def cluster(number, begin, end, zone, *, spot=True, state="ended", outcome="preempted"):
    times = {"launched_at": BEGAN + begin * HOUR, "ended_at": BEGAN + end * HOUR} if state == "ended" else {}
    return Cluster(
        f"t{number}", "j", number, state, "aws", "a", zone, "m5.large", spot, 1, 1.0 if spot else 3.0, "",
        BEGAN + begin * HOUR, outcome=outcome, **times,
    )  # fmt: skip


@pytest.fixture
def story():
    kind = Placement(
        task="t", cloud="aws", region="a", zone="a", instance_type="m5.large", accelerator=None, accelerator_count=0,
        arch="x86_64", use_spot=True, num_nodes=1, price=1.0, hours=6.0, hours_at_most=6.0, hours_source="user",
        boot_hours=0.0, compute_usd=6.0,
    )  # fmt: skip
    promise = Promise(since=BEGAN, due=BEGAN + 10 * HOUR, kind=kind, at_risk=0.1)
    clusters = [
        cluster(1, 0, 2, "b"),
        cluster(2, 2, 2, "a", state="refused", outcome="capacity"),
        cluster(3, 4, 8, "a", spot=False, outcome="succeeded"),
    ]
    told = [
        Event(1, "j", BEGAN, "weighed", THOUGHT),
        Event(2, "j", BEGAN + 4 * HOUR, "restored", {"attempt": 2, "generation": 1, "bytes": 1, "usd": 0.5}),
    ]
    return tell(promise, told, clusters, Scale(), BEGAN + 9 * HOUR)


def test_machines_refusals_and_thoughts_are_told_in_hours(story):
    assert [(leg.begin, leg.end, leg.zone, leg.market, leg.usd) for leg in story.legs] == [
        (0.0, 2.0, "aws/b", "spot", pytest.approx(2.0)),
        (4.0, 8.0, "aws/a", "on-demand", pytest.approx(12.0)),
    ]
    assert story.refused == ((2.0, "aws/a"),)
    assert story.thoughts[0].weighed.chosen == "spot aws/b"
    assert story.usd == pytest.approx(14.5)


def test_it_is_set_beside_on_demand_and_the_cheapest_spot_it_got(story):
    assert story.beside == {
        "on-demand throughout": pytest.approx(18.0),
        "its cheapest spot, had it never been taken": pytest.approx(6.0),
    }


def test_lanes_show_when_it_was_where(story):
    b, a, hours = lanes(story, 20)
    assert b == "aws/b |━━━━━               |"
    assert a == "aws/a |    ×   █████████   |"
    assert hours.endswith("10 h")


def test_the_picture_is_well_formed_and_has_a_bar_for_each_machine(story):
    root = ElementTree.fromstring(svg(story))
    tips = [tip.text for tip in root.iter("{http://www.w3.org/2000/svg}title")]
    assert tips == ["spot from 0.00 to 2.00 h, $2.00 preempted", "on-demand from 4.00 to 8.00 h, $12.00 succeeded"]


def test_a_thought_in_words():
    words = describe(Event(1, "j", BEGAN, "weighed", THOUGHT))
    assert words == "spot aws/b for $5.00 expected from here to the end; instead wait for $6.00"
