"""Plans of real pipelines at the embedded catalog's prices."""

import time
from dataclasses import replace

import pytest

from sky_core import Artifact, Objective, Pipeline, Resources, Task
from sky_core.clouds.credentials import login_of
from sky_core.config import CloudConfig, Settings
from sky_core.errors import Infeasible, NoCloudEnabled, NoFeasibleOffering, SpecError, UnknownAccelerator
from sky_core.planner.market import current_market, load_catalog
from sky_core.planner.model import source_location
from sky_core.planner.plan import Block, Plan
from sky_core.planner.planning import Market, SoFar, freeze_hours, make_plan
from sky_core.planner.view.table import plan_text
from sky_core.store import Observation, Store
from sky_core.tracker import Tracker


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return load_catalog(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def market(catalog):
    return Market(catalog=catalog, clouds=("aws", "azure", "gcp"))


def vision(**train):
    process = Task(
        name="process", run="true", hours=0.6, outputs={"images": Artifact(size_gb=1)},
        resources=Resources(cpus="8+", labels={"confidential": "sgx"}),
    )  # fmt: skip
    fit = Task(
        name="train", run="true", inputs={"images": process.output("images")}, outputs={"model": Artifact(size_gb=0.1)},
        **{"hours": {"V100:4": 8.4, "tpu-v3-8": 3.8}, **train},
        resources=Resources(accelerators=["V100:4", "tpu-v3-8"], use_spot=True),
    )  # fmt: skip
    infer = Task(
        name="infer", run="true", hours={"T4": 1.5, "Inferentia": 1.4}, inputs={"model": fit.output("model")},
        resources=Resources(accelerators=["T4", "Inferentia"]),
    )  # fmt: skip
    return Pipeline(name="vision", tasks=(process, fit, infer))


def test_the_vision_pipeline_mixes_clouds_because_that_is_cheaper(market):
    plan = make_plan(vision(), market)
    assert plan.placements["process"].cloud == "azure"
    assert len(plan.clouds) >= 2
    best = plan.best_single_cloud()
    assert best is not None
    assert best[0] == "azure"
    assert plan.single_cloud["aws"] is None, "no SGX there"
    assert plan.cost_usd < best[1]
    assert plan.optimal
    total = sum(p.compute_usd + p.egress_usd for p in plan.placements.values())
    assert plan.cost_usd == pytest.approx(total)


def test_a_plan_is_readable(market):
    text = plan_text(make_plan(vision(), market))
    for word in ("process", "train", "infer", "Saving against the best single cloud (azure)", "Proven optimal"):
        assert word in text


def test_a_dry_run_tells_the_next_best_of_each_task(market):
    plan = make_plan(vision(), market, explain=True)
    other = plan.next_best["train"]
    assert other is not None
    assert other.extra_usd > 0
    assert plan.placements["train"].instance_type not in other.machine
    assert f"Next best for train: {other.machine}" in " ".join(plan_text(plan, width=400).split())
    assert make_plan(vision(), market).next_best == {}


def test_a_plan_says_what_moves_when_each_machine_is_needed_and_what_can_wait(market):
    plan = make_plan(vision(), market)
    moves = {(move.source, move.task): move for move in plan.transfers}
    assert set(moves) == {("process", "train"), ("train", "infer")}
    assert moves["process", "train"].origin == plan.placements["process"].location
    assert (moves["process", "train"].gb, moves["process", "train"].sized) == (1, True)
    assert sum(move.usd for move in plan.transfers) == pytest.approx(
        sum(placement.egress_usd for placement in plan.placements.values())
    )
    assert max(span.end for span in plan.schedule.values()) == pytest.approx(plan.hours)
    assert [span.slack for span in plan.schedule.values()] == pytest.approx([0, 0, 0]), "a chain has no slack"
    for move in plan.transfers:
        start = plan.schedule[move.task].start
        assert start == pytest.approx(plan.schedule[move.source].end + move.hours)


def test_what_a_branch_could_wait_is_its_slack_and_what_has_no_size_says_so(market):
    one = Task(name="one", run="true", hours=1, outputs={"x": Artifact()}, resources=Resources(cpus="4+"))
    given = Artifact(uri="s3://bucket/data", size_gb=10, location="aws/eu-west-1")
    long = Task(name="long", run="true", hours=5, inputs={"x": one.output("x")}, resources=one.resources)
    short = long.model_copy(update={"name": "short", "hours": 2, "inputs": {"x": one.output("x"), "raw": given}})
    last = Task(name="last", run="true", hours=1, resources=one.resources)
    pipeline = Pipeline(name="p", tasks=(one, long, short, last), order=(("long", "last"), ("short", "last")))
    plan = make_plan(pipeline, market)
    spans = plan.schedule
    assert spans["short"].slack == pytest.approx(spans["long"].end - spans["short"].end, abs=0.1)
    assert spans["long"].slack == pytest.approx(0)
    moves = {(move.source, move.task): move for move in plan.transfers}
    assert not moves["one", "long"].sized
    assert (moves[None, "short"].inputs, moves[None, "short"].origin) == (("raw",), ("aws", "eu-west-1"))
    assert moves["long", "last"].inputs == (), "an edge of order alone"


def test_a_cloud_that_cannot_do_it_alone_says_why_and_one_that_can_how_long_it_takes(market):
    plan = make_plan(vision(), market)
    assert plan.alone["aws"].why == "has nothing for process"
    azure = plan.alone["azure"]
    assert azure.hours is not None
    assert azure.hours > 0
    tight = make_plan(vision(), market, Objective(budget_usd=plan.cost_usd * 1.001))
    assert tight.alone["azure"].why == "cannot keep the budget"


def test_deals_run_from_the_fastest_to_the_cheapest(market):
    plan = make_plan(vision(), market, trade=True)
    hours, usd = [deal.hours for deal in plan.deals], [deal.cost_usd for deal in plan.deals]
    assert hours == sorted(hours)
    assert usd == sorted(usd, reverse=True)
    assert usd[-1] == pytest.approx(plan.cost_usd)
    assert make_plan(vision(), market).deals == ()


def test_a_plan_that_an_earlier_version_stored_is_read(market):
    made = make_plan(vision(), market)
    new = {"transfers", "schedule", "deals", "alone"}
    stored = {**made.model_dump(mode="json", exclude=new), "single_cloud": dict(made.single_cloud)}
    read = Plan.model_validate(stored)
    assert read.single_cloud == made.single_cloud
    assert read.best_single_cloud() == made.best_single_cloud()
    assert Plan.model_validate_json(made.model_dump_json()) == made


def test_value_lies_between_cheapest_and_fastest(market):
    cheap, value, fast = (make_plan(vision(), market, Objective(minimize=m)) for m in ("cost", "cost*time", "time"))
    assert value.cost_usd * value.hours <= min(cheap.cost_usd * cheap.hours, fast.cost_usd * fast.hours) * (1 + 1e-9)
    assert cheap.cost_usd <= value.cost_usd <= fast.cost_usd


def test_what_is_blocked_is_not_chosen_and_what_is_fixed_stays(market):
    first = make_plan(vision(), market)
    chosen = first.placements["train"]
    block = Block(cloud=chosen.cloud, zone=chosen.zone, instance_type=chosen.instance_type, use_spot=chosen.use_spot)
    blocked = Market(catalog=market.catalog, clouds=market.clouds, blocked=(block,))
    second = make_plan(vision(), blocked, fixed={"process": first.placements["process"]}, reason="refused")
    assert second.placements["train"] != chosen
    assert second.placements["process"].zone == first.placements["process"].zone
    assert second.cost_usd >= first.cost_usd - 1e-9


def test_a_region_block_reaches_all_its_zones(market):
    chosen = make_plan(vision(), market).placements["train"]
    blocked = Market(market.catalog, market.clouds, blocked=(Block(cloud=chosen.cloud, region=chosen.region),))
    assert make_plan(vision(), blocked).placements["train"].region != chosen.region


def test_a_guess_gives_way_where_nothing_else_is_left(market):
    guesses = [Block(cloud=cloud, accelerator=kind, guessed=True) for cloud in market.clouds for kind in ("", None)]
    plain = Market(market.catalog, market.clouds, blocked=[block for block in guesses if block.accelerator == ""])
    (with_one,) = make_plan(Pipeline(name="p", tasks=(Task(name="t", run="x", hours=1, resources=Resources(
        any_of=[{"cpus": "2+"}, {"accelerators": "T4"}])),)), plain).placements.values()  # fmt: skip
    assert with_one.accelerator == "T4"
    guessed = Market(market.catalog, market.clouds, blocked=guesses)
    assert make_plan(vision(), guessed).placements == make_plan(vision(), market).placements


def test_everything_blocked_is_an_error_that_says_why(market):
    blocked = Market(
        market.catalog, market.clouds, blocked=tuple(Block(cloud=c, reason="quota") for c in market.clouds)
    )
    with pytest.raises(NoFeasibleOffering, match=r"none of its \d+ offerings is to be had now: quota"):
        make_plan(vision(), blocked)


def test_only_what_stands_in_its_way_is_named_and_where_quota_is_asked_for(market):
    task = Task(name="t", run="x", hours=1, resources=Resources(cloud="aws", accelerators="T4"))
    stand = Block(cloud="aws", accelerator="T4", reason="quota in us-east-1")
    beside = Block(cloud="gcp", reason="unreachable in us-central1-a")
    with pytest.raises(NoFeasibleOffering) as refused:
        make_plan(Pipeline(name="p", tasks=(task,)), Market(market.catalog, market.clouds, blocked=(stand, beside)))
    assert "quota in us-east-1 (ask aws for quota: https://console.aws.amazon.com/servicequotas" in str(refused.value)
    assert "us-central1-a" not in str(refused.value)


def test_bad_input_is_named(market):
    unknown = Task(name="t", run="x", resources=Resources(accelerators="V1000"))
    with pytest.raises(UnknownAccelerator, match="V100"):
        make_plan(Pipeline(tasks=(unknown,)), market)
    nowhere = Task(name="t", run="x", resources=Resources(accelerators="V100", region="mars-*"))
    with pytest.raises(NoFeasibleOffering) as caught:
        make_plan(Pipeline(tasks=(nowhere,)), market)
    assert caught.value.emptied_by == "region"
    assert caught.value.nearest
    with pytest.raises(NoCloudEnabled, match="aws: no credentials"):
        make_plan(vision(), Market(market.catalog, (), {"aws": "no credentials"}))
    with pytest.raises(Infeasible) as late:
        make_plan(vision(), market, Objective(deadline="1h"))
    assert late.value.constraint == "deadline_hours"
    assert late.value.least > 1


def test_time_costs_money(market):
    pipeline = vision(hours={"V100:4": 3.0, "tpu-v3-8": 3.8})
    cheap, fast = (make_plan(pipeline, market, Objective(minimize=goal)) for goal in ("cost", "time"))
    assert fast.hours < cheap.hours
    assert fast.cost_usd > cheap.cost_usd


def test_an_estimate_by_function_becomes_a_table(market):
    frozen = freeze_hours(vision(hours=lambda r: 2.0 if r.accelerators[0][0].startswith("tpu") else 9.0), market)
    hours = frozen.task("train").hours
    assert hours["tpu-v3-8:1"] == 2.0
    assert hours["V100:4"] == 9.0
    assert Pipeline.model_validate_json(frozen.model_dump_json()) == frozen


def test_where_given_inputs_lie():
    assert source_location(Artifact(uri="s3://b/x")) == ("aws", "us-east-1")
    assert source_location(Artifact(uri="gs://b/x", location="gcp/europe-west4")) == ("gcp", "europe-west4")
    assert source_location(Artifact(uri="file:///x")) is None


@pytest.mark.parametrize(
    ("kind", "scope", "expected"),
    [
        ("capacity", "zone", {"zone": "us-east-1a", "instance_type": "p3.2xlarge", "use_spot": True}),
        ("quota", "region", {"region": "us-east-1", "zone": None, "instance_type": "p3.2xlarge"}),
        ("auth", "cloud", {"region": None, "zone": None, "instance_type": None, "use_spot": None}),
    ],
)
def test_refusals_block_what_they_refuse(tmp_path, kind, scope, expected):
    settings = Settings(home=tmp_path, store_url=f"sqlite:///{tmp_path}/store.db", clouds={})
    store = Store(settings.store_url)
    store.observe(Observation(time.time(), "aws", "us-east-1", "us-east-1a", "p3.2xlarge", "spot", kind, scope))
    store.observe(Observation(time.time(), "aws", "r", "z", "t", "spot", "released"))
    (block,) = current_market(settings, store, "p").blocked
    assert {key: getattr(block, key) for key in expected} == expected


def test_what_another_login_was_refused_blocks_nothing_here(tmp_path):
    clouds = {"aws": CloudConfig()}
    settings = Settings(home=tmp_path, store_url=f"sqlite:///{tmp_path}/store.db", clouds=clouds)
    store = Store(settings.store_url)
    for login in (login_of("aws", settings.model_copy(update={"home": tmp_path / "another"})), None):
        store.observe(Observation(time.time(), "aws", "r", "z", "t", "spot", "auth", "cloud", login=login))
        assert len(current_market(settings, store, "p").blocked) == (login is None)


def test_a_zone_that_keeps_taking_machines_back_loses_to_one_that_does_not(market):
    train = Task(
        name="train", run="true", hours=10, checkpoint="10m",
        resources=Resources(accelerators="V100", use_spot=True, cloud="aws", region="us-east-1"),
    )  # fmt: skip
    pipeline = Pipeline(tasks=(train,))
    before = make_plan(pipeline, market).placements["train"]
    assert before.use_spot
    assert before.overhead > 0
    kind = (before.cloud, before.region, before.zone, before.instance_type, "spot")
    seen = [Observation(float(n), *kind, "preempted", hours=0.1, accelerator="V100") for n in range(200)]
    after = make_plan(pipeline, replace(market, tracker=Tracker(seen, now=200.0))).placements["train"]
    assert (after.zone, after.use_spot) != (before.zone, True)


def test_of_zones_that_cost_the_same_the_likelier_one_is_chosen(market):
    resources = Resources(accelerators="V100", cloud="aws", region="us-east-1")
    pipeline = Pipeline(tasks=(Task(name="train", run="true", hours=1, resources=resources),))
    before = make_plan(pipeline, market).placements["train"]
    kind = (before.cloud, before.region, before.zone, before.instance_type, "on-demand")
    seen = [Observation(0.0, *kind, "capacity", accelerator="V100")]
    after = make_plan(pipeline, replace(market, tracker=Tracker(seen, now=3600.0))).placements["train"]
    assert after.zone != before.zone
    assert (after.region, after.price) == (before.region, before.price)


def test_spec_errors_are_errors_of_the_tree():
    with pytest.raises(SpecError):
        Objective(minimize="beauty")


def test_what_a_checkpoint_holds_is_neither_planned_nor_paid_again(market):
    first = make_plan(vision(), market)
    fixed = {"process": first.placements["process"]}
    whole, rest = (
        make_plan(vision(), market, fixed=fixed, so_far=SoFar(first.begun, 3.0, {"process": 0.0}, kept)).placements
        for kept in ({}, {"train": 0.75})
    )
    place = rest["train"]
    assert (place.done, place.hours) == (0.75, whole["train"].hours), "hours are the whole task's: shares of it add up"
    work = whole["train"].expected_hours - whole["train"].boot_hours
    assert place.expected_hours - place.boot_hours == pytest.approx(0.25 * work)
    assert place.compute_usd == pytest.approx(place.expected_hours * place.price * place.num_nodes)
    assert rest["infer"].compute_usd == whole["infer"].compute_usd


def test_planning_anew_counts_the_time_that_has_passed_and_the_work_that_is_done(market):
    first = make_plan(vision(), market, Objective(deadline=14))
    done = SoFar(first.begun, 13.0, {"process": 0.0, "train": 0.5})
    fixed = {name: first.placements[name] for name in ("process", "train")}
    with pytest.raises(Infeasible, match="no plan ends within 1 h"):
        make_plan(vision(), market, Objective(deadline=14), fixed=fixed, so_far=done)
    again = make_plan(vision(), market, Objective(deadline=16), fixed=fixed, so_far=done)
    assert again.hours < 0.5 + 1.6 + 0.1
    assert again.begun == first.begun
    assert again.objective.deadline == 16
