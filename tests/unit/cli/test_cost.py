"""What was spent: in whatever groups, the sum is that of the bills."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sky_core.cli.app import app
from sky_core.config import Settings
from sky_core.job.bill import make_bill, spent_on
from sky_core.job.cost.charges import Charge, charges, days
from sky_core.job.cost.document import CostDocument
from sky_core.job.cost.groups import COLUMNS, Label, grouped, total
from sky_core.measures.scale import Scale
from sky_core.overview.glance import look
from sky_core.store import Store
from tests.unit.cli.few_jobs import BEGAN, HOUR, RUN, fill, launch, submitted

NOW = BEGAN + 3 * HOUR
WORDS = st.sampled_from(["a", "b", "c"])
MONEY = st.floats(0, 1e6)
LABELS = st.dictionaries(WORDS, WORDS)
OF_JOBS, OF_MACHINES = (WORDS, WORDS, WORDS, WORDS, WORDS, LABELS), (WORDS, WORDS, WORDS, WORDS)
CHARGES = st.lists(st.builds(Charge, *OF_JOBS, *OF_MACHINES, MONEY, MONEY, MONEY, running=st.booleans()))
DIMENSIONS = st.sampled_from(COLUMNS) | st.builds(Label, WORDS)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url, clock=lambda: NOW)
    yield store
    store.close()


@given(CHARGES, st.lists(DIMENSIONS, unique=True))
def test_any_grouping_comes_to_the_same_sum(found, by):
    groups, all_of_it = grouped(found, by), total(found)
    assert sum(group.usd for group in groups) == pytest.approx(all_of_it.usd)
    assert sum(group.hours for group in groups) == pytest.approx(all_of_it.hours)
    assert any(group.so_far for group in groups) == all_of_it.so_far
    assert len({group.key for group in groups}) == len(groups)


@given(st.floats(0, 4e9), st.floats(0, 40 * 24 * HOUR))
def test_the_days_of_a_launch_share_all_of_it(began, lasted):
    shares = days(began, began + lasted)
    assert sum(share for _, share in shares) == pytest.approx(1)
    assert all(share >= 0 for _, share in shares)
    assert [day for day, _ in shares] == sorted({day for day, _ in shares})


def test_idle_time_of_machines_that_are_kept_is_told_apart(store, tmp_path):
    job = submitted(store, "warm", "succeeded")
    store.put_cluster(launch(job, 1, hours=2.5, price=2.0, kept_at=BEGAN + 0.5 * HOUR, kept_as="dev", num_nodes=2))
    other = submitted(store, "next", "succeeded")
    taken = {"began": BEGAN + 2.5 * HOUR, "launched_as": f"{job.id}-1", "price": 2.0, "num_nodes": 2}
    store.put_cluster(launch(other, 1, hours=0.001, **taken))
    found = charges(store, Scale(), NOW)
    owed = {group.key[0]: group for group in grouped(found, ["job"])}
    assert (owed[job.id].usd, owed[job.id].idle_usd) == (pytest.approx(10.0), pytest.approx(8.0))
    assert owed[other.id].hours == pytest.approx(0.002), "the first bill has what a cloud charges at least"
    assert {charge.day for charge in found if charge.idle} == {"2026-11-25", "2026-11-26"}
    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path)})
    assert total(found).usd == pytest.approx(make_bill(store, settings, map(store.job, owed)).usd)


def test_nothing_is_counted_beyond_the_time_at_which_kept_machines_end_themselves(store, tmp_path):
    job = submitted(store, "warm", "succeeded")
    kept = {"state": "kept", "kept_at": BEGAN + HOUR, "kept_until": BEGAN + 2 * HOUR - 60, "kept_as": "dev"}
    store.put_cluster(launch(job, 1, hours=None, price=2.0, **kept))
    for hours, usd in ((1.5, 3.0), (2.0, 4.0), (100.0, 4.0)):
        at = BEGAN + hours * HOUR
        spent, seen = total(charges(store, Scale(), at)), look(store, Scale(), at)
        assert (spent.usd, spent.idle_usd) == (pytest.approx(usd), pytest.approx(usd - 2.0)), hours
        assert spent_on(store, Scale(), [job.id], at)[job.id].compute_usd == pytest.approx(usd)
        assert (spent.so_far, seen.usd_per_hour) == ((True, 2.0) if hours < 2 else (False, 0.0))


def test_charges_come_to_the_bills_of_all_jobs(store, tmp_path):
    jobs = fill(store)
    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path)})
    # One of them runs: its clock goes on between the three.
    before, bill, after = (
        total(charges(store, Scale())),
        make_bill(store, settings, jobs),
        total(charges(store, Scale())),
    )
    assert before.usd - 1e-9 <= bill.usd <= after.usd + 1e-9
    assert before.hours - 1e-9 <= sum(line.hours for line in bill.lines) <= after.hours + 1e-9


def test_each_cloud_is_owed_its_machines_and_the_data_that_left_it(store):
    fill(store)
    found = charges(store, Scale(), NOW)
    owed = {group.key: group for group in grouped(found, ["cloud", "market"])}
    assert owed["aws", "spot"].usd == pytest.approx(1.5 * 0.4)
    assert owed["aws", "on-demand"].usd == pytest.approx(0.5 * 4 * 0.1), "a refused launch costs nothing"
    assert owed["gcp", "on-demand"].usd == pytest.approx(4 * 2.0)
    assert owed["azure", "egress"].usd == pytest.approx(0.09), "the sender's"
    assert owed["aws", "egress"].usd == pytest.approx(0.08), "the checkpoint of the attempt before"
    assert [key for key, group in owed.items() if group.so_far] == [("azure", "on-demand")]


def test_a_launch_over_midnight_is_of_both_days(store):
    fill(store)
    gcp = [charge for charge in charges(store, Scale(), NOW) if charge.cloud == "gcp"]
    assert [(one.day, one.compute_usd) for one in gcp] == [
        ("2026-11-25", pytest.approx(2.0)),
        ("2026-11-26", pytest.approx(6.0)),
    ]


def test_a_job_without_a_plan_is_charged_to_a_pipeline_that_is_not_known(store):
    job = submitted(store, "lone", run="elsewhere")
    store.put_cluster(launch(job, 1, hours=1))
    (group,) = grouped(charges(store, Scale(), NOW), ["pipeline", "run"])
    assert group.key == ("?", "elsewhere")


def test_a_job_is_charged_to_its_person_and_by_its_labels(store):
    said = {"ada": {"team": "ml", "stage": "test"}, "bob": {"team": "web"}, None: {}}
    for person, labels in said.items():
        spec = {"resources": {"tags": labels}} if labels else {}
        store.submit(f"of-{person}", plan_key=RUN, task=f"of-{person}", spec=json.dumps(spec), owner=None,
                     needs={"person": person} if person else None)  # fmt: skip
    for job in store.jobs():
        store.put_cluster(launch(job, 1, hours=1.0 + len(job.task)))
    found = charges(store, Scale(), NOW, whose=True)
    hours = {group.key: group.hours for group in grouped(found, ["person", Label("team"), Label("stage")])}
    assert hours == {("ada", "ml", "test"): 7.0, ("bob", "web", ""): 7.0, ("?", "", ""): 8.0}
    assert {charge.person for charge in charges(store, Scale(), NOW)} == {"?"}, "unasked, their tasks are not read"


class TestCommand:
    @pytest.fixture(autouse=True)
    def _home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path))
        monkeypatch.setenv("COLUMNS", "80")
        store = Store(Settings.load().store_url)
        fill(store)
        store.close()

    def said(self, *options: str) -> str:
        result = CliRunner().invoke(app, ["cost", *options], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    def test_a_table_has_the_sum_below_and_says_that_it_grows(self):
        said = self.said("--by", "cloud", "--since", "2026-11-25")
        assert [line.split()[0] for line in said.splitlines() if line[:3].strip()].count("all") == 1
        assert "so far: machines of what is marked + may still run" in said
        assert RUN in self.said("--by", "run")

    def test_programs_get_a_document_and_a_table(self):
        document = CostDocument.model_validate_json(self.said("--by", "day,cloud", "--json"))
        assert document.total.usd == pytest.approx(sum(group.usd for group in document.groups))
        assert document.total.so_far
        rows = list(csv.DictReader(self.said("--by", "day,cloud", "--csv").splitlines()))
        assert [row["day"] for row in rows] == [group.of["day"] for group in document.groups]
        assert list(json.loads(self.said("--by", "label:team", "--json"))["groups"][0]["of"]) == ["label:team"]
        amounts = {"jobs", "hours", "compute_usd", "egress_usd", "usd", "so_far", "idle_usd"}
        assert rows[0].keys() == {"day", "cloud", *amounts}

    def test_finance_gets_every_charge_in_focus(self):
        rows = list(csv.DictReader(self.said("--focus").splitlines()))
        total = json.loads(self.said("--json"))["total"]
        assert sum(float(row["BilledCost"]) for row in rows) == pytest.approx(total["usd"], abs=1e-3)
        assert {row["PricingCategory"] for row in rows if row["ServiceCategory"] == "Compute"} == {
            "Standard",
            "Dynamic",
        }
        assert {row["ProviderName"] for row in rows if row["ServiceCategory"] == "Networking"} == {"azure", "aws"}
        spot = next(row for row in rows if row["PricingCategory"] == "Dynamic")
        assert (spot["ChargePeriodStart"], spot["ChargePeriodEnd"]) == ("2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z")
        assert (spot["BillingPeriodStart"], spot["BillingPeriodEnd"]) == (
            "2026-11-01T00:00:00Z",
            "2026-12-01T00:00:00Z",
        )
        assert json.loads(spot["Tags"]) == {
            "skyloom:pipeline": "nightly",
            "skyloom:run": RUN,
            "skyloom:task": "succeeded-job",
            "skyloom:person": "?",
        }

    def test_days_before_the_first_do_not_count(self):
        assert json.loads(self.said("--since", "2999-01-01", "--json"))["groups"] == []
        assert (
            json.loads(self.said("--since", "2h", "--json"))["since"] == f"{datetime.now(UTC) - timedelta(hours=2):%F}"
        )
        assert self.said("--since", "2999-01-01") == "nothing was spent since 2999-01-01\n"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--by", "clod"], "did you mean cloud?"),
            (["--by", "label"], "label:KEY for the labels"),
            (["--since", "yesterday"], "or a day as 2026-11-26"),
            (["--focus", "--by", "cloud"], "it takes no --by"),
            (["--json", "--csv"], "takes one of them"),
        ],
    )
    def test_a_slip_is_refused_with_its_cure(self, options, words):
        assert words in str(CliRunner().invoke(app, ["cost", *options]).exception)
