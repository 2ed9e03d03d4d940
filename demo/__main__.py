"""``make demo``: the vision pipeline from Prefect and from Airflow on three emulated clouds, with trouble."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from demo.airflow_server import AirflowServer
from demo.progress import Progress
from demo.report import engine_report, page, picture, show
from demo.trouble import Trouble
from sky_core.broker import Broker
from sky_core.config import Settings
from sky_sandbox import client
from sky_sandbox.accounts import PROFILES

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build"
HOME = BUILD / "demo"
HOURS_PER_SECOND = 0.1
GB_PER_MB = 1.0
NOTICE_S = 4.0  # real seconds of eviction notice; the clouds' own 30 to 120 s would be 3 to 12 simulated hours
EPOCH_TO_HIT = 3
EPOCH_S = 5.0  # 12 epochs on the H100 of the plan take 6.4 hours; the computer that emulates it waits for the rest

console = Console(width=150)


def main() -> None:
    """Run the demo; exit code 1 unless both engines succeeded and nothing leaked."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--account", choices=PROFILES, default="easy", help="what the account with each cloud is like")
    account: str = parser.parse_args().account
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what it has started, as Ctrl-C does
    shutil.rmtree(HOME, ignore_errors=True)
    started = time.monotonic()
    control = client.up(
        HOME, attached=True, boot_s=1.0, hours_per_second=HOURS_PER_SECOND, gb_per_mb=GB_PER_MB, aws_notice_s=NOTICE_S,
        gcp_notice_s=NOTICE_S, azure_notice_s=NOTICE_S, account=account,
    )  # fmt: skip
    console.print(f"sandbox: AWS, GCP and Azure on loopback, up in {time.monotonic() - started:.1f} s")
    console.print(
        f"scale: one real second counts as {HOURS_PER_SECOND:g} simulated hours, one MB as {GB_PER_MB:g} GB; "
        f"notice {NOTICE_S:g} s real"
    )
    console.print("accelerators are emulated: the training code finds none and uses the CPU")
    try:
        report, pages = {}, {}
        for engine, run in (("prefect", _prefect), ("airflow", _airflow)):
            report[engine], pages[engine.capitalize()] = _engine(engine, run, control)
    finally:
        live = control.machines(live=True)
        client.down(HOME)
    console.rule("end")
    console.print(f"sandbox stopped; the clouds say that {len(live)} instance(s) were left")
    report["scale"] = {"hours_per_second": HOURS_PER_SECOND, "gb_per_mb": GB_PER_MB, "notice_s": NOTICE_S}
    (BUILD / "demo-report.json").write_text(json.dumps(report, indent=2) + "\n")
    (BUILD / "demo-report.html").write_text(picture(pages), encoding="utf-8")
    console.print(f"what happened when and where, to look at: {BUILD / 'demo-report.html'}")
    console.print(f"report: {BUILD / 'demo-report.json'} ({time.monotonic() - started:.0f} s)")
    problems = [line for engine in ("prefect", "airflow") for line in _problems(engine, report[engine])]
    for line in problems:
        console.print(f"[red]{line}[/red]")
    sys.exit(1 if problems or live else 0)


def _engine(engine: str, run: Callable[[dict[str, str]], None], control: client.Control) -> tuple[dict[str, Any], str]:
    """Run the pipeline from one engine, with trouble; a report on it, and a page."""
    console.rule(f"the vision pipeline from {engine.capitalize()}")
    # A store of its own for each engine: what one has learnt about refused zones would spare the other the trouble.
    environment = {
        "SKYLOOM_HOME": str(HOME),
        "SKYLOOM_PROFILE": "sandbox",
        "SKYLOOM_STORE": f"sqlite:///{HOME}/{engine}.db",
        "VISION_EPOCH_S": str(EPOCH_S),
    }
    broker = Broker.open(Settings.load({**os.environ, **environment}))
    trouble = Trouble(broker, control, task="train", after_epoch=EPOCH_TO_HIT)
    progress = Progress(broker, console)
    trouble.start()
    progress.start()
    try:
        run({**os.environ, **environment})
    finally:
        trouble.stop()
        progress.stop()
    leaked = len(control.machines(live=True))
    report = engine_report(broker, leaked)
    show(console, engine.capitalize(), broker, report, trouble.preempted_after)
    console.print(f"instances left in the three clouds, by their own account: {leaked}")
    return report, page(broker)


def _prefect(environment: dict[str, str]) -> None:
    environment = environment | {
        "PREFECT_HOME": str(HOME / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a busy machine takes longer than Prefect's 20 s
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }
    subprocess.run([sys.executable, "example_flows/vision_pipeline.py"], env=environment, cwd=ROOT, check=True)


def _airflow(environment: dict[str, str]) -> None:
    with AirflowServer(HOME / "airflow", dags=ROOT / "example_dags", environment=environment) as server:
        console.print("Airflow is up: api-server, scheduler, dag-processor, triggerer")
        state = server.wait("vision_pipeline", server.trigger("vision_pipeline"))
    if state != "success":
        raise SystemExit(f"the DAG run ended as {state}; logs are in {HOME / 'airflow'}")


def _problems(engine: str, report: dict[str, Any]) -> list[str]:
    """What the demo set out to show and this report does not."""
    attempts = [attempt["outcome"] for task in report["tasks"] for attempt in task["attempts"]]
    shown = {
        "fewer than two clouds were used": len({task["cloud"] for task in report["tasks"]}) >= 2,
        "no capacity refusal was met": "capacity" in attempts,
        "no preemption was met": "preempted" in attempts,
        "training did not resume from a checkpoint": any((t["resumed_from_epoch"] or 0) > 0 for t in report["tasks"]),
        "accuracy is below 0.95": report["accuracy"] >= 0.95,
        "instances leaked": report["leaked_instances"] == 0,
    }
    return [f"{engine}: {problem}" for problem, fine in shown.items() if not fine]


if __name__ == "__main__":
    main()
