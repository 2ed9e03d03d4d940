"""A flow that shows its tasks one by one is planned, from its second run on, as if all were known."""

from __future__ import annotations

import pytest
from prefect import flow, task

from sky_core.planner import Plan
from sky_core.spec import Pipeline
from sky_prefect import SkyTaskRunner, resources
from sky_prefect.needs import build_task
from sky_prefect.planning.forecast import with_rest


def pipeline(tasks, order=()):
    made = [build_task(name, {"cpus": 2}, inputs={f"arg_{n}": f"{up}.result" for n, up in enumerate(ups)})
            for name, ups in tasks.items()]  # fmt: skip
    return Pipeline(name="f", tasks=tuple(made), order=tuple(order))


PAST = pipeline({"a": [], "b": ["a"], "c": ["b"], "d": []}, [("a", "d"), ("c", "d")])


def test_what_the_last_run_did_next_comes_after_what_is_known():
    whole = with_rest(pipeline({"a": [], "other": ["a"]}, [("a", "other")]), PAST)
    assert [one.name for one in whole.tasks] == ["a", "other", "b", "c", "d"]
    assert set(whole.data_edges()) == {("a", "other"), ("a", "b"), ("b", "c")}
    assert set(whole.order) == {("a", "other"), ("a", "d"), ("c", "d")}


def test_known_tasks_keep_their_own_edges_and_those_to_come_lose_what_is_not_there():
    turned = with_rest(pipeline({"c": []}), PAST)
    assert set(turned.edges()) == {("a", "b"), ("a", "d"), ("c", "d")}, "this time c does not wait for b"
    known = pipeline({"d": [], "a": []})
    assert with_rest(known, None) is known
    assert with_rest(PAST, known) is PAST


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_flow_known_step_by_step_costs_what_one_does_that_is_known_as_a_whole(world, broker):
    @task
    @resources(cpus="2+", hours=0.1, output_gb=300)
    def make():
        return list(range(20_000))

    @task
    @resources(cloud="gcp", region="europe-west4", cpus="2+", hours=0.1)  # where nothing is the cheapest
    def use(numbers):
        return sum(numbers)

    @flow(task_runner=SkyTaskRunner())
    def step_by_step():
        return use.submit(make.submit().result()).result()

    assert step_by_step() == step_by_step() == sum(range(20_000))
    first, second = (broker.store.plan(key) for key in broker.store.plan_keys("prefect/"))
    plans = [Plan.model_validate_json(kept.plan) for kept in (first, second)]
    assert Pipeline.model_validate_json(first.pipeline).data_edges() == {("make", "use"): 300}
    whole = broker.preview(Pipeline.model_validate_json(second.pipeline))
    assert plans[0].cost_usd > 1.5 * whole.cost_usd, "make's data has left its cloud"
    assert plans[1].cost_usd == pytest.approx(whole.cost_usd, rel=0.02)
    assert second.version == 1, "it was planned once, for both steps"
    jobs = {(job.plan_key, job.task) for job in broker.store.jobs()}
    assert len(jobs) == 4
