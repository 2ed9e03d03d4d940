"""What is told of jobs, and of background tasks, without any of them running."""

import logging
import os
from contextlib import suppress

from prefect import task
from prefect.logging.handlers import PrefectConsoleHandler

from sky_core.job.bill import Bill, Line
from sky_prefect import compat, resources
from sky_prefect.reports import bill_markdown


class PlanOf:
    def __init__(self, cost_usd, alone):
        self.cost_usd, self.alone = cost_usd, alone


def test_the_bill_stands_beside_the_plan_and_the_best_single_cloud():
    from sky_core.planner.plan import Alone

    bill = Bill((Line("a", "job-1", "succeeded", 1.0, 0.25, 2.0), Line("b", "job-2", "succeeded", 0.5, 0.0, 1.0)))
    alone = {"aws": Alone(cost_usd=2.5), "gcp": Alone(cost_usd=2.25), "azure": Alone(cost_usd=None, why="sells none")}
    assert bill_markdown(bill, PlanOf(1.5, alone)).splitlines() == [
        "| task | compute $ | egress $ |",
        "|---|---|---|",
        "| a | 1.0000 | 0.2500 |",
        "| b | 0.5000 | 0.0000 |",
        "",
        "Total: $1.7500; planned: $1.5000; on one cloud alone, gcp at best: $2.2500",
    ]
    assert bill_markdown(bill, None).endswith("\nTotal: $1.7500")


def test_a_background_task_that_asks_for_a_cloud_is_not_passed_over_in_silence(monkeypatch, caplog):
    sent = []
    monkeypatch.setattr("prefect.tasks.Task.create_run", None)  # nothing is to be sent off here

    @task
    @resources(cpus=2)
    def asks():
        sent.append("asks")

    @task
    def asks_for_nothing():
        sent.append("nothing")

    logging.getLogger("prefect.sky").propagate = True
    with caplog.at_level(logging.WARNING):
        for one in (asks, asks_for_nothing):
            try:
                one.delay()
            except TypeError:
                sent.append("off")
    assert sent == ["off", "off"]
    (said,) = [record.getMessage() for record in caplog.records if "cloud resources" in record.getMessage()]
    assert "'asks'" in said
    assert "sky_prefect.serve" in said


def test_a_log_that_nobody_reads_any_more_does_not_end_the_flow():
    """As with the process of a flow run whose worker was killed."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    handler = PrefectConsoleHandler(stream=stream)
    logger = logging.getLogger("prefect.flow_runs")
    logger.addHandler(handler)
    compat.outlive_the_console()
    logger.warning("into the void")  # SystemExit, without that
    logger.removeHandler(handler)
    assert handler.console.quiet, "it has noticed"
    with suppress(BrokenPipeError):
        stream.close()
