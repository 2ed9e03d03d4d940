"""Estimates: the user's word, paper speeds, measured throughput, history."""

from __future__ import annotations

import doctest
import math
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sky_core.catalog import Catalog
from sky_core.errors import SpecError
from sky_core.estimate import estimate_hours, flops, hardware, throughput
from sky_core.estimate.explore import PAYBACK_RUNS, WORST, outlook, reservation
from sky_core.estimate.history import SHEET_ERROR, Forecast, fit, next_input_gb
from sky_core.estimate.kinds import Kind
from sky_core.spec import Artifact, Resources, Task
from sky_core.store.records import Run

WANTED = Resources(accelerators=["V100:4", "tpu-v3-8", "T4"], cloud=["aws", "gcp"])
RUN = Run(
    at=0.0, pipeline="p", task="train", cloud="aws", region="us-east-1", instance_type="p3.8xlarge",
    accelerator="V100", accelerator_count=4, use_spot=False, hours=2.0, input_gb=10.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def candidates() -> pl.DataFrame:
    return Catalog.embedded().query(WANTED)


def hours_by_kind(task: Task, candidates: pl.DataFrame, **options: object) -> dict[str, float]:
    estimate = estimate_hours(task, candidates, **options)  # type: ignore[arg-type]
    names = candidates.select(pl.format("{}:{}", "accelerator", pl.col("accelerator_count").cast(pl.Int64)))
    return dict(zip(names.to_series(), estimate.hours.tolist(), strict=True))


def train(**fields: object) -> Task:
    return Task(name="train", run="true", resources=WANTED, **fields)


# --- the user's word ------------------------------------------------------------------------------------------


def test_a_number_holds_everywhere_and_nothing_means_one_hour(candidates: pl.DataFrame) -> None:
    estimate = estimate_hours(train(hours=5), candidates)
    assert estimate.source == "user"
    assert (estimate.hours == 5).all()
    assert estimate.hours.shape == (candidates.height,)
    default = estimate_hours(train(), candidates)
    assert (default.source, set(default.hours.tolist())) == ("default (1 h)", {1.0})


def test_the_most_specific_key_of_a_table_wins_and_unnamed_machines_are_out(candidates: pl.DataFrame) -> None:
    table = {"V100:4": 8.4, "v100": 30, "TPU v3-8": 4}
    assert hours_by_kind(train(hours=table), candidates) == pytest.approx(
        {"V100:4": 8.4, "tpu-v3-8:1": 4, "T4:1": math.nan}, nan_ok=True
    )
    table = {"cloud:aws": 3, "g4dn.*": 9, "p3.8xlarge": 7}
    found = estimate_hours(train(hours=table), candidates).hours
    for row, hours in zip(candidates.iter_rows(named=True), found, strict=True):
        kind = row["instance_type"].split(".")[0]
        expected = {"p3": 7.0, "g4dn": 9.0}.get(kind, 3.0 if row["cloud"] == "aws" else math.nan)
        assert hours == pytest.approx(expected, nan_ok=True)


def test_a_table_that_fits_nothing_is_an_error(candidates: pl.DataFrame) -> None:
    with pytest.raises(
        SpecError, match=r"Task.train: hours: none of \['H100'\] fits any candidate; there are T4:1, V100:4"
    ):
        estimate_hours(train(hours={"H100": 1}), candidates)


def test_a_function_sees_one_candidate(candidates: pl.DataFrame) -> None:
    seen = []

    def hours(candidate: Resources) -> float | None:
        seen.append(candidate)
        return {"V100": 8.0, "tpu-v3-8": 4.0}.get(candidate.accelerators[0][0])

    assert hours_by_kind(train(hours=hours), candidates)["V100:4"] == 8
    assert all(
        len(item.accelerators) == len(item.instance_type) == len(item.cloud) == len(item.region) == 1 for item in seen
    )
    assert (
        len(seen) == len({item.model_dump_json() for item in seen}) < candidates.height
    )  # once per machine and region, not per zone


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda _: 0, "the function returned 0 for"),
        (lambda _: float("nan"), "returned nan"),
        (lambda _: "long", "returned 'long'"),
        (lambda _: 1 / 0, "the function failed on .*ZeroDivisionError"),
    ],
)
def test_a_bad_function_is_named(function: object, message: str, candidates: pl.DataFrame) -> None:
    with pytest.raises(SpecError, match=f"Task.train: hours: .*{message}"):
        estimate_hours(train(hours=function), candidates)


# --- paper speeds and throughput ------------------------------------------------------------------------------


def test_flops_divide_by_the_peak_of_all_accelerators(candidates: pl.DataFrame) -> None:
    task = train(hours=flops(3.6e18, utilization=0.5))
    found = hours_by_kind(task, candidates)
    assert found["V100:4"] == pytest.approx(3.6e18 / (4 * 125e12 * 0.5) / 3600)
    assert found["V100:4"] / found["tpu-v3-8:1"] == pytest.approx(492 / 500)
    assert estimate_hours(task, candidates).source == "3.6e+18 FLOP at 50% of peak"
    assert flops(1e18)(Resources(cpus=8)) is None


def test_every_accelerator_of_the_catalog_has_a_peak_or_is_known_to_lack_one() -> None:
    without = {name for name in Catalog.embedded().accelerators if hardware.peak_tflops(name) is None}
    assert without == {"Gaudi", "RTXPRO4500"}


def test_throughput_scales_with_the_input(candidates: pl.DataFrame) -> None:
    task = train(hours=throughput({"V100:4": 50, "g4dn.xlarge": 5}, input_gb=150))
    assert hours_by_kind(task, candidates)["V100:4"] == 3
    assert math.isnan(hours_by_kind(task, candidates)["tpu-v3-8:1"])
    for bad in ({"gb_per_hour": {"V100": 0}, "input_gb": 1}, {"gb_per_hour": {"V100": 1}, "input_gb": -1}):
        with pytest.raises(SpecError, match="must be positive"):
            throughput(**bad)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="utilization"):
        flops(1e18, utilization=40)


def test_estimators_are_cheap_to_import_picklable_and_documented() -> None:
    assert pickle.loads(pickle.dumps(flops(1e18))) == flops(1e18)
    code = "import sys; from sky_core.estimate import flops, throughput; print('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    assert doctest.testmod(hardware).failed == 0


# --- history --------------------------------------------------------------------------------------------------


def runs(hours: list[float], sizes: list[float] | None = None, **fields: object) -> list[Run]:
    sizes = [10.0] * len(hours) if sizes is None else sizes
    return [
        replace(RUN, at=float(i), hours=h, input_gb=s, **fields)
        for i, (h, s) in enumerate(zip(hours, sizes, strict=True))
    ]


def test_history_speaks_only_where_the_user_does_not(candidates: pl.DataFrame) -> None:
    assert estimate_hours(train(hours=5), candidates, runs([2.0])).source == "user"
    estimate = estimate_hours(train(), candidates, runs([2.0]))
    assert estimate.source == "history (1 run, ±10%)"
    assert hours_by_kind(train(), candidates, history=runs([2.0]))["V100:4"] == pytest.approx(2.0, rel=0.05)


def test_run_times_grow_with_the_input_that_is_declared_known_or_foreseen(candidates: pl.DataFrame) -> None:
    sizes = [10.0, 20.0, 30.0, 40.0, 50.0]
    past = runs([1 + 0.1 * size for size in sizes], sizes)
    declared = train(inputs={"data": Artifact(uri="s3://bucket/data", size_gb=60)})
    assert hours_by_kind(declared, candidates, history=past)["V100:4"] == pytest.approx(7, rel=0.03)
    assert hours_by_kind(declared, candidates, history=past, input_gb=100)["V100:4"] == pytest.approx(11, rel=0.05)
    assert hours_by_kind(train(), candidates, history=past)["V100:4"] == pytest.approx(7, rel=0.03)
    assert next_input_gb(past) == 60


def test_one_absurd_run_changes_little(candidates: pl.DataFrame) -> None:
    hours = hours_by_kind(train(), candidates, history=runs([2.0, 2.1, 1.9, 40.0, 2.0, 2.05]))["V100:4"]
    assert hours == pytest.approx(2.0, rel=0.05)


def test_an_untried_accelerator_is_read_hopefully_but_its_worst_is_told(candidates: pl.DataFrame) -> None:
    past = runs([2.0] * 8)
    estimate = estimate_hours(train(), candidates, past)
    found = hours_by_kind(train(), candidates, history=past)
    assert found["V100:4"] == pytest.approx(2.0, rel=0.02)
    assert 0.6 < found["T4:1"] / (2.0 * 500 / 65) < 0.9
    worst = dict(zip(candidates["accelerator"], estimate.worst, strict=True))
    assert worst["V100"] == pytest.approx(2.0)
    assert worst["T4"] == pytest.approx(2.0 * 500 / 65 * math.exp(WORST * math.sqrt(2) * SHEET_ERROR), rel=0.05)


def test_what_every_tried_kind_ran_bears_on_the_untried(candidates: pl.DataFrame) -> None:
    """A kind that is slow against its sheet must not make all others look slow: nor may the order of runs matter."""
    v100 = runs([2.0] * 2)
    slow = runs([2.0 * 1.5 * 500 / 65] * 6, accelerator="T4", accelerator_count=1.0, instance_type="g4dn.xlarge")
    tpu = Kind.of("TPU-VM", "tpu-v3-8", 1, None)
    by_sheet = math.log(2.0 * 500 / 492)
    for past in ([*v100, *slow], [*slow, *v100]):
        forecast = fit(past, {}).forecast([tpu], 10.0)
        assert by_sheet + 0.1 < forecast.mean[0] < by_sheet + math.log(1.5) - 0.1


def test_a_ratio_does_not_hang_on_which_kind_ran_more_often() -> None:
    """Inputs grow while two kinds take turns; the sheet says 0.8, the truth is 0.6."""
    rng = np.random.default_rng(5)
    slow, fast = Kind.of("tpu", "tpu-v5e-4", 1, None), Kind.of("gpu", "H100", 1, None)
    past = []
    for night in range(12):
        kind, pace = (("tpu-v5e-4", 1.0), ("H100", 0.6))[night % 2]
        size = 5 * 1.04**night
        past += runs(
            [pace * size * float(np.exp(rng.normal(0, 0.05)))], [size], accelerator=kind, accelerator_count=1.0
        )
        if night >= 7:
            mean = fit(past, {}).forecast([slow, fast], size).mean
            assert math.exp(mean[1] - mean[0]) == pytest.approx(0.6, rel=0.1)


def test_doubt_shrinks_with_each_run(candidates: pl.DataFrame) -> None:
    v100, t4 = Kind.of("p3", "V100", 4, None), Kind.of("g4dn", "T4", 1, None)
    on_t4 = runs([15.4] * 4, accelerator="T4", accelerator_count=1.0, instance_type="g4dn.xlarge")
    doubts = []
    for tries in range(5):
        cov = fit([*runs([2.0] * 4), *on_t4[:tries]], {}).forecast([v100, t4], 10.0).cov
        doubts.append(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[0] > 5 * doubts[1]


@given(st.floats(0.001, 2.0), st.floats(0.001, 2.0))
def test_the_less_is_known_the_less_a_try_may_seem_to_cost(sd: float, other: float) -> None:
    low, high = sorted((sd, other))
    assert 0 < reservation(high) <= reservation(low) + 1e-9 <= 1 + 2e-9
    draws = np.exp(np.random.default_rng(1).normal(-sd * sd / 2, sd, 200_000))
    price = reservation(sd)
    saved = PAYBACK_RUNS * np.maximum(price - draws, 0).mean()
    assert 1 - price == pytest.approx(saved, abs=0.05)


def test_of_plain_machines_only_the_tried_are_in_play() -> None:
    kinds = [Kind("m5.2xlarge", 8, "vcpus"), Kind("m6i.2xlarge", 8, "vcpus"), Kind("V100:1", 125, "tflops")]
    doubt = Forecast(np.zeros(3), np.diag([0.01, 0.1, 0.1]), noise=0.1)
    factors = outlook(doubt, kinds, [1.0, 1.0, 1.0], tried={"m5.2xlarge"})
    assert factors[1] == 1.25
    assert factors[2] < factors[0] < 1.01


def test_a_measured_ratio_replaces_the_published_one(candidates: pl.DataFrame) -> None:
    on_tpu = runs([0.8] * 6, accelerator="tpu-v3-8", accelerator_count=1.0, instance_type="TPU-VM", cloud="gcp")
    found = hours_by_kind(train(), candidates, history=[*runs([2.0] * 6), *on_tpu])
    assert found["V100:4"] == pytest.approx(2.0, rel=0.1)
    assert found["tpu-v3-8:1"] == pytest.approx(0.8, rel=0.1)


def test_a_plain_machine_with_fewer_cpus_is_slower_and_a_bigger_one_no_faster() -> None:
    rows = Catalog.embedded().query(
        Resources(instance_type=["m5.xlarge", "m5.2xlarge", "m5.4xlarge"], region="us-east-1")
    )
    past = runs([4.0] * 3, instance_type="m5.2xlarge", accelerator=None, accelerator_count=0.0)
    found = estimate_hours(Task(name="train", run="true"), rows, past).hours
    by_type = dict(zip(rows["instance_type"], found, strict=True))
    assert by_type == pytest.approx({"m5.xlarge": 4 * 2 * 1.25, "m5.2xlarge": 4.0, "m5.4xlarge": 4 * 1.25}, rel=0.03)


def test_the_error_is_what_the_runs_scatter() -> None:
    rng = np.random.default_rng(3)
    hours = (5 * np.exp(rng.normal(0, 0.1, 40))).tolist()
    assert fit(runs(hours), {}).noise == pytest.approx(0.1, rel=0.4)


@settings(max_examples=60)
@example([(1.0, 5e-324, "V100")])  # next to nothing has no ratio
@given(
    st.lists(
        st.tuples(st.floats(0.01, 100), st.floats(0, 1e4), st.sampled_from(["V100", "T4", "unheard-of"])),
        min_size=1,
        max_size=12,
    )
)
def test_history_always_answers_with_a_positive_number(past: list[tuple[float, float, str]]) -> None:
    seen = [replace(RUN, hours=hours, input_gb=size, accelerator=name) for hours, size, name in past]
    model = fit(seen, {})
    for size in (0.0, 1.0, 1e4):
        forecast = model.forecast([Kind.of("g4dn.xlarge", "T4", 1.0, None), Kind.of("p4d", "A100", 8, None)], size)
        assert np.isfinite(forecast.mean).all()
        assert np.linalg.eigvalsh(forecast.cov).min() > -1e-9
