"""A run as it is now, and its bill against its plan: from records, without a screen."""

from __future__ import annotations

import io
import itertools
import time
from dataclasses import replace

import pytest
from rich.console import Console

from sky_core.cli.runs.screen import Board, in_words, span
from sky_core.measures.scale import Scale
from sky_core.overview.against import against
from sky_core.overview.jobs import job_rows
from sky_core.overview.now import TaskNow, run_now
from sky_core.overview.runs import newest_rows
from sky_core.overview.savings import saved_by_spot, savings
from sky_core.planner.plan import Alone, Placement, Plan, Transfer
from sky_core.spec import Objective
from sky_core.store import Choice, Store
from sky_core.store.records import LOST, MEND
from tests.unit.cli.few_jobs import HOUR, launch, submitted

RUN = "night/1"


def placed(task: str, hours: float, price: float, **fields: object) -> Placement:
    plain = {
        "task": task, "cloud": "aws", "region": "us-east-1", "zone": "us-east-1a", "instance_type": "m5.large",
        "accelerator": None, "accelerator_count": 0, "arch": "x86_64", "use_spot": False, "num_nodes": 1,
        "price": price, "hours": hours, "hours_at_most": hours, "hours_source": "user", "boot_hours": 0,
        "compute_usd": hours * price,
    }  # fmt: skip
    return Placement.model_validate(plain | fields)


def plan_of(*placements: Placement, edges: tuple[tuple[str, str], ...] = ()) -> Plan:
    usd = sum(one.compute_usd + one.egress_usd for one in placements)
    waits = tuple(
        Transfer(task=to, source=source, inputs=(), origin=("aws", "us-east-1"), gb=0, sized=True, usd=0, hours=0)
        for source, to in edges
    )
    return Plan(
        pipeline="night", objective=Objective(), cost_usd=usd, hours=4, bound=usd, optimal=True, method="x",
        placements={one.task: one for one in placements}, transfers=waits, catalog_version="1", dag_hash="0",
        created_at=0.0, alone={"gcp": Alone(cost_usd=9.0), "aws": Alone(cost_usd=7.0), "azure": Alone(cost_usd=None)},
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/store.db")
    yield store
    store.close()


def test_how_far_each_task_is_and_how_long_the_rest_takes(store):
    now = time.time()
    plan = plan_of(placed("a", 2, 1.0), placed("b", 3, 1.0), placed("c", 1, 1.0), placed("d", 5, 1.0),
                   edges=(("a", "c"), ("b", "c")))  # fmt: skip
    done, running = submitted(store, "a", "succeeded", run=RUN), submitted(store, "b", "running", run=RUN)
    failed = submitted(store, "d", "failed", run=RUN)
    store.put_cluster(launch(done, 1, hours=2, began=now - 4 * HOUR))
    store.put_cluster(launch(running, 1, hours=1, began=now - 3 * HOUR, outcome="preempted", use_spot=True))
    store.put_cluster(launch(running, 2, hours=None, began=now - 1 * HOUR, state="launched", num_nodes=2, price=1.0))
    store.put_cluster(launch(failed, 1, hours=None, state="refused", outcome="quota"))
    seen = run_now(plan, newest_rows(store, Scale(), RUN, now), Scale(), now)
    a, b, c, d = seen.tasks
    assert (a.state, a.done, a.left_h) == ("succeeded", 1.0, 0.0)
    assert (b.done, b.left_h) == (pytest.approx(1 / 3), pytest.approx(2)), "by its present machines"
    assert b.machine == "aws/us-east-1a m5.large ×2"
    assert (c.state, c.attempt, c.done, c.usd) == ("waiting", 0, None, 0.0)
    assert (d.state, d.done, d.left_h) == ("failed", None, 0.0)
    assert seen.left_h == pytest.approx(3), "what is left of b, and then c"
    assert seen.planned_usd == pytest.approx(11)
    assert seen.usd == pytest.approx(2 * 0.1 + 1 * 0.1 + 2 * 1.0)


def test_what_is_late_is_almost_done_and_what_comes_after_a_failure_is_not_waited_for(store):
    now = time.time()
    plan = plan_of(placed("a", 1, 1.0), placed("b", 1, 1.0), placed("c", 9, 1.0), edges=(("b", "c"),))
    late, failed = submitted(store, "a", "running", run=RUN), submitted(store, "b", "failed", run=RUN)
    store.put_cluster(launch(late, 1, hours=None, began=now - 5 * HOUR, state="launched"))
    seen = run_now(plan, newest_rows(store, Scale(), RUN, now), Scale(), now)
    assert seen.tasks[0].done == 0.99
    assert seen.left_h == 0.0
    assert failed.state == "failed"


def test_what_waits_in_a_queue_does_not_get_on(store):
    now = time.time()
    job = submitted(store, "a", "provisioning", run=RUN)
    queued = launch(job, 1, hours=None, began=now - 2 * HOUR, state="launched")
    store.put_cluster(replace(queued, started_at=now + 5))
    seen = run_now(plan_of(placed("a", 4, 1.0)), newest_rows(store, Scale(), RUN, now), Scale(), now)
    assert (seen.tasks[0].done, seen.left_h) == (0.0, 4.0)


def test_a_chain_longer_than_the_stack_is_added_up():
    names = [f"t{number}" for number in range(3000)]
    plan = plan_of(*(placed(name, 1, 0.0) for name in names), edges=tuple(itertools.pairwise(names)))
    assert run_now(plan, {}, Scale(), 0.0).left_h == pytest.approx(3000)


def test_reasons_come_to_the_difference_between_bill_and_plan(store):
    now = time.time()
    plan = plan_of(placed("moved", 2, 1.0, egress_usd=0.5), placed("never", 1, 3.0), placed("as-planned", 1, 1.0))
    moved = submitted(store, "moved", "succeeded", run=RUN)
    store.put_cluster(launch(moved, 1, hours=1, began=now - 9 * HOUR, price=1.0, outcome="preempted"))
    store.put_cluster(launch(moved, 2, hours=3, began=now - 4 * HOUR, price=2.0, region="eu-west-1", zone=None))
    exact = submitted(store, "as-planned", "succeeded", run=RUN)
    store.put_cluster(launch(exact, 1, hours=1, began=now - HOUR, price=1.0))
    added = submitted(store, "added", "succeeded", run=RUN)
    store.put_cluster(launch(added, 1, hours=1, began=now - HOUR, price=0.25))
    anew = plan_of(placed("moved", 2, 2.0), placed("never", 1, 3.0), placed("as-planned", 1, 1.0))
    found = against(plan, anew, job_rows(store, Scale(), Choice(runs=(RUN,)), now=now), Scale(), now)
    assert found.planned_usd == pytest.approx(6.5)
    assert found.replanned_usd == pytest.approx(8)
    assert in_words(found) == "$6.50, then $8.00 by the newest plan"
    since = anew.model_copy(update={"created_at": now - 5 * HOUR})
    rows = job_rows(store, Scale(), Choice(runs=(RUN,)), now=now)
    assert against(plan, since, rows, Scale(), now).replanned_usd == pytest.approx(9), "the attempt before it is paid"
    assert found.usd == pytest.approx(1 + 6 + 1 + 0.25)
    assert sum(reason.usd for reason in found.reasons) == pytest.approx(found.usd - found.planned_usd)
    told = {(reason.task, reason.why): reason.usd for reason in found.reasons}
    assert told["moved", "had 1 attempt before (preempted)"] == pytest.approx(1)
    assert told["moved", "was billed 3.00 h of 2.00 h planned"] == pytest.approx(2)
    assert told["moved", "moved other data than planned"] == pytest.approx(-0.5)
    assert told["never", "did not run"] == pytest.approx(-3)
    assert told["added", "was not in the first plan"] == pytest.approx(0.25)
    assert not any(task == "as-planned" for task, _ in told)
    assert found.alone == ("aws", 7.0)


def test_a_worker_that_was_replaced_is_part_of_its_attempt(store):
    now = time.time()
    plan = plan_of(placed("gang", 2, 1.0, num_nodes=2, compute_usd=4.0))
    job = submitted(store, "gang", "succeeded", run=RUN)
    store.put_cluster(launch(job, 1, hours=3, began=now - 4 * HOUR, price=1.0))
    for part in (f"{LOST}1", f"{MEND}1"):
        more = launch(job, 1, hours=1.5, began=now - 4 * HOUR, price=1.0, outcome="died")
        store.put_cluster(replace(more, token=f"{more.token}{part}"))
    found = against(plan, plan, job_rows(store, Scale(), Choice(runs=(RUN,)), now=now), Scale(), now)
    assert found.usd == pytest.approx(6)
    ((why, usd),) = [(reason.why, reason.usd) for reason in found.reasons]
    assert (why, usd) == ("was billed 3.00 h of 2.00 h planned", pytest.approx(found.usd - found.planned_usd))


def test_what_spot_saved_is_told_only_where_the_catalog_has_the_price(store, tmp_path):
    from sky_core.config import Settings

    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path)})
    job = submitted(store, "a", "succeeded", run=RUN)
    spot = launch(job, 1, hours=10, use_spot=True, price=0.03)  # m5.large costs 0.096 in us-east-1
    assert saved_by_spot([spot], settings) == pytest.approx(10 * (0.096 - 0.03))
    assert saved_by_spot([launch(job, 1, hours=10)], settings) is None, "nothing was bought there"
    assert saved_by_spot([spot, launch(job, 2, hours=1, use_spot=True, instance_type="x9.none")], settings) is None


def test_savings_are_of_runs_that_are_over_and_whose_plan_can_be_read(store, tmp_path):
    from sky_core.config import Settings

    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path)})
    plan = plan_of(placed("a", 10, 0.5)).model_dump_json()
    for key, state in (("night/1", "succeeded"), ("night/2", "running"), ("older/1", "succeeded")):
        store.create_plan(key, '{"name": "night"}', plan if key != "older/1" else "{}")
        store.put_cluster(launch(submitted(store, "a", state, run=key), 1, hours=10, use_spot=True, price=0.03))
    found = savings(store, settings)
    assert (found.runs, found.planned_usd, found.by_moving_usd) == (1, pytest.approx(5), pytest.approx(7 - 5))
    assert found.usd == pytest.approx(0.3)
    assert found.by_spot_usd == pytest.approx(2 * 10 * (0.096 - 0.03)), "for this no plan is needed"
    assert savings(store, settings, since=time.time() + 9).runs == 0


def test_a_board_has_what_goes_on_first_and_is_no_higher_than_half_the_screen():
    from sky_core.overview.now import RunNow

    states = ["succeeded"] * 40 + ["running"] * 2
    tasks = tuple(
        TaskNow(f"t{at}", state, "aws/us-east-1a m5.large", "spot", 1, 0.5, 1.0, 2.0, 0.25)
        for at, state in enumerate(states)
    )
    out = io.StringIO()
    console = Console(file=out, width=60, height=40, force_terminal=True, color_system=None)
    console.print(Board(RunNow(tasks, 0.25)))
    lines = out.getvalue().splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 60
    assert "t40" in lines[2] or "t40" in lines[3]
    assert "$42.00 so far of $84.00 planned; about 15 min left; 27 tasks more" in " ".join(out.getvalue().split())


@pytest.mark.parametrize(("hours", "said"), [(30, "30.0 h"), (0.5, "30 min"), (0.01, "36 s")])
def test_spans_are_short(hours, said):
    assert span(hours) == said
