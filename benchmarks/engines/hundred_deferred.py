"""A hundred Sky tasks that wait in the triggerer of a real Airflow, while the driver leaves and comes again.

    python benchmarks/engines/hundred_deferred.py                # SQLite
    python benchmarks/engines/hundred_deferred.py --store URL    # an empty PostgreSQL database for Skyloom's store

They come in four waves with a pause between them that is longer than an idle driver stays. Told, and held against
what is asked: every task succeeded, with one launch each by the sandbox's own record and no machine left; how often
the driver had left; how long at most a callback held up the triggerer's event loop (``probe/`` notes it there, without
the time in which the host had other things to do); how many connections to the store the triggerer had; how much of
their time the tasks held a worker's slot. What Airflow's own watchdog says, by the clock, is told beside it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import sqlalchemy as sa

from demo.airflow_server import AirflowServer
from sky_core.config import Settings
from sky_core.store import Store
from sky_sandbox import client

WATCHDOG_S = 0.2  # the watchdog itself sleeps for a tenth of a second
PROBE = Path(__file__).with_name("probe")
WATCHDOG = re.compile(r"was blocked for ([\d.]+) seconds")
SLOTS = 0.05
ON_A_SLOT = ("running", "restarting")


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--waves", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=300, help="how long a task's command takes")
    parser.add_argument("--store", help="URL of an empty PostgreSQL database")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "skyloom")
        home.mkdir()
        control = client.up(home, attached=True, boot_s=0.2)
        environment = {
            "SKYLOOM_HOME": str(home), "SKYLOOM_PROFILE": "sandbox",
            **({"SKYLOOM_STORE": asked.store} if asked.store else {}),
            "WAVES_TASKS": str(asked.tasks), "WAVES": str(asked.waves), "WAVES_SECONDS": str(asked.seconds),
            "AIRFLOW__TRIGGERER__BLOCKED_MAIN_THREAD_WARNING_THRESHOLD": str(WATCHDOG_S),
            "LOOP_PROBE": str(Path(folder, "held-up.txt")), "PYTHONPATH": str(PROBE),
            "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
        }  # fmt: skip
        store = Store(Settings.load(environment).store_url)
        dags = Path(__file__).with_name("dags")
        with AirflowServer(Path(folder, "airflow"), dags=dags, environment=environment) as server:
            seen = Seen(server, store)
            state = seen.follow(server.trigger("waves"))
        told = Path(folder, "held-up.txt")
        held_up = told.read_text().splitlines() if told.exists() else []
        watchdog = [float(found) for found in WATCHDOG.findall(Path(folder, "airflow", "triggerer.log").read_text())]
        left = (home / "driver.log").read_text().count("leaving")
        launches = Counter(
            entry["machine"]["tags"].get("skyloom-job") for entry in control.audit() if entry["event"] == "start"
        )
        live = len(control.machines(live=True))
        client.down(home)
    share = seen.on_slots_s / seen.alive_s
    right = {
        f"the run: {state}; tasks {dict(seen.states)}": state == "success",
        f"launches: {sum(launches.values())} for {len(launches)} jobs, {live} machines left": (
            set(launches.values()) == {1} and len(launches) == asked.tasks and not live
        ),
        f"the idle driver left {left} times": left >= asked.waves - 1,
        f"the event loop was held up {len(held_up)} times": not held_up,
        f"the triggerer's connections to the store: {seen.connections} at most": seen.connections <= 1,
        f"worker slots: {100 * share:.1f} % of the tasks' time": share < SLOTS,
    }
    for said, holds in right.items():
        print("right:" if holds else "WRONG:", said)
    print(f"by Airflow's watchdog, by the clock: {len(watchdog)} times, {max(watchdog, default=0):.2f} s at most")
    print(*held_up, sep="\n")
    return int(not all(right.values()))


class Seen:
    """What is seen of a run from outside, looking now and then."""

    def __init__(self, server: AirflowServer, store: Store) -> None:
        self.server, self.store = server, store
        self.states: Counter[str] = Counter()
        self.connections = 0
        self.on_slots_s = self.alive_s = 0.0

    def follow(self, run: str, every_s: float = 0.5) -> str:
        """Until the run is over; how it ended."""
        path, before = f"/dags/waves/dagRuns/{run}", time.monotonic()
        while (state := self.server.state("waves", run)) not in ("success", "failed"):
            time.sleep(every_s)
            found = self.server.api("GET", f"{path}/taskInstances", params={"limit": 1000})["task_instances"]
            self.states = Counter(one["state"] for one in found if one["task_id"].startswith("wave"))
            now = time.monotonic()
            self.on_slots_s += (now - before) * sum(self.states[state] for state in ON_A_SLOT)
            self.alive_s += (now - before) * sum(self.states[state] for state in (*ON_A_SLOT, "deferred"))
            before = now
            self.connections = max(self.connections, self._connections())
        return state

    def _connections(self) -> int:
        """How many the triggerer's processes have to the store."""
        tree = [psutil.Process(self.server.processes["triggerer"].pid)]
        tree += tree[0].children(recursive=True)
        url = self.store._database.url
        if self.store._database.is_sqlite:
            return max(_open(process, os.path.realpath(str(url.database))) for process in tree)
        ports = set()
        for process in tree:
            with suppress(psutil.Error):
                ports |= {one.laddr.port for one in process.net_connections("tcp") if one.raddr}
        with sa.create_engine(url).connect() as db:
            query = "SELECT client_port FROM pg_stat_activity WHERE datname = current_database()"
            return len(ports & set(db.execute(sa.text(query)).scalars()))


def _open(process: psutil.Process, file: str) -> int:
    with suppress(psutil.Error):
        return sum(one.path == file for one in process.open_files())
    return 0


if __name__ == "__main__":
    sys.exit(main())
