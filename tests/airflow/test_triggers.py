"""A hundred tasks that wait in one triggerer: one connection to the store, and an event loop that others can use."""

import asyncio
import os
import subprocess
import sys
import time

import pytest
import sqlalchemy as sa

from sky_airflow.triggers.sky import SkyJobTrigger
from sky_airflow.triggers.watch import SkyWatchTrigger

TASKS = 100
BLOCKED_S = 0.1  # of the loop's CPU time: a busy host may take the processor away for longer
DRIVER = """
import sys
from sky_core.store import Store

store, tasks = Store(sys.argv[1]), int(sys.argv[2])
keys = [f"task-{number}" for number in range(tasks)]
if sys.argv[3] == "submit":
    for key in keys:
        print(store.submit(key, plan_key="p", task=key, spec="{}", owner=None).id)
else:
    jobs = store.lease_due("driver", 600, tasks)
    for number, job in enumerate(jobs):
        lines = 15_000 if number == 7 else 50
        log = b"".join(b"%s %d " % (job.task.encode(), line) + b"x" * 80 + b"\\n" for line in range(lines))
        store.save_job(job, "driver", state="running", log=(0, log))
        for piece in range(20 if number == 8 else 0):
            store.save_job(job, "driver", log=(len(log) + piece * 100_000, b"y" * 99_999 + b"\\n"))
    for job in jobs:
        store.save_job(store.job(job.id), "driver", state="succeeded", result={"exit_code": 0})
"""


@pytest.fixture
def driver(own_store_url, tmp_path, monkeypatch):
    """What stands for the driver: a process that submits, or one that runs all jobs to their end."""
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path))
    monkeypatch.setenv("SKYLOOM_STORE", own_store_url)
    (tmp_path / "config.toml").write_text("poll_s = 0.1\n[clouds.aws]\nenabled = true\n")
    command = [sys.executable, "-c", DRIVER, own_store_url, str(TASKS)]
    return lambda word, output=None: subprocess.Popen([*command, word], stdout=output, text=True)


@pytest.fixture
def connections():
    """The connections that this process makes."""
    made = []

    def count(connection, _):
        made.append(connection)

    sa.event.listen(sa.pool.Pool, "connect", count)
    yield made
    sa.event.remove(sa.pool.Pool, "connect", count)


class Loop:
    """What somebody else in the same event loop sees of us."""

    def __init__(self):
        self.longest = 0.0
        self.over = False

    async def watch(self):
        while not self.over:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - before)
            await asyncio.sleep(0.005)


async def fired(trigger):
    return [event.payload async for event in trigger.run()]


def test_a_hundred_tasks_have_one_connection_and_block_nobody(driver, connections, monkeypatch, capsys):
    submitted = driver("submit", subprocess.PIPE)
    ids = submitted.communicate()[0].split()
    assert len(ids) == TASKS
    monkeypatch.setattr("sky_core.broker.spawn.try_lock", lambda settings: None)  # DRIVER is there, say
    loop, running = Loop(), None

    async def wait():
        nonlocal running
        watching = asyncio.create_task(loop.watch())
        tasks = [asyncio.create_task(fired(SkyJobTrigger(job, owner=job))) for job in ids]
        tasks.append(asyncio.create_task(fired(SkyWatchTrigger(ids[0]))))
        await asyncio.sleep(0.5)
        running = driver("run")
        found = await asyncio.gather(*tasks)
        loop.over = True
        await watching
        return found

    found = asyncio.run(wait())
    assert running.wait() == 0
    assert found == [[{"job_id": job, "state": "succeeded"}] for job in [*ids, ids[0]]]
    assert len(connections) == 1
    assert loop.longest < BLOCKED_S
    said = capsys.readouterr().out
    assert said.count("x" * 80) == 15_000 + 50 * (TASKS - 1)
    assert said.count("y" * 99_999) == 20


def test_the_loop_imports_nothing_heavy():
    """Airflow imports a trigger's module in the event loop."""
    program = "import sys, airflow.triggers.base, sky_airflow.triggers.sky; print('sky_core.store' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True)
    assert done.stdout.split()[-1] == "False", done.stderr
