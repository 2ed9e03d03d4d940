"""The store between processes and threads: first openings, forks, kills, and SQLite's locks left alone."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from sky_core.store import Store
from sky_core.store.database.database import CONNECTIONS
from tests.postgres import Postgres

HERE = Path(__file__).parent
PROCESSES = 8
ROUNDS = 20
spawn = multiprocessing.get_context("spawn")


def submit(store: Store, key: str):
    return store.submit(key, plan_key="p", task="t", spec="{}", owner=None)


def elsewhere(program: str, *arguments: str) -> str:
    """Run a few lines in another process; what they print."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


COUNT = "import sys; from sky_core.store import Store; s = Store(sys.argv[1]); print(len(s.jobs())); s.close()"
PUT = "import sys; from sky_core.store import Store; s = Store(sys.argv[1]); s.submit(sys.argv[2], plan_key='p', task='t', spec='{}', owner=None); s.close()"  # noqa: E501


def test_a_second_store_in_one_process_loses_nothing(store_url):
    first = Store(store_url)
    submit(first, "one")
    second = Store(store_url)
    assert elsewhere(COUNT, store_url) == "1"  # comes, and goes as the last one it can see
    submit(first, "two")
    submit(second, "three")
    second.close()
    submit(first, "four")
    elsewhere(PUT, store_url, "five")
    assert len(first.jobs()) == 5
    assert elsewhere(COUNT, store_url) == "5"


def test_a_cancel_by_a_process_with_two_stores_reaches_everybody(store_url):
    stores = [Store(store_url) for _ in range(2)]
    for key in ("first", "second"):
        elsewhere(PUT, store_url, key)
    job = stores[0].find_job("second")
    assert [store.job(job.id).key for store in stores] == ["second", "second"]
    assert stores[0].request_cancel(job.id, "why")
    show = "import sys; from sky_core.store import Store; print(Store(sys.argv[1]).find_job('second').cancel_reason)"
    assert elsewhere(show, store_url) == "why"


def test_the_locks_on_the_file_outlive_a_store_opened_and_closed(tmp_path):
    """Seen from outside: as long as one store is open, nobody else gets the file for himself."""
    url = f"sqlite:///{tmp_path / 's.db'}"
    kept = Store(url)
    kept.jobs()
    Store(url).close()
    del_ = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=0); print(db.execute('PRAGMA journal_mode=DELETE').fetchone()[0])"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", del_, str(tmp_path / "s.db")], capture_output=True, text=True)
    assert "locked" in done.stderr, "SQLite gives up the write-ahead log only if nobody else has the file open"
    assert kept.jobs() == []


def test_many_stores_share_few_connections(tmp_path):
    stores = [Store(f"sqlite:///{tmp_path / 's.db'}") for _ in range(20)]
    assert all(store.jobs() == [] for store in stores)
    links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert len([link for link in links if link.startswith(str(tmp_path))]) <= 3 * CONNECTIONS
    for store in stores:
        store.close()
    links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert not [link for link in links if link.startswith(str(tmp_path))]


def test_a_file_that_was_removed_and_made_again_is_another_store(tmp_path):
    url = f"sqlite:///{tmp_path / 's.db'}"
    submit(Store(url), "old")
    left_open = Store(url)
    for path in tmp_path.iterdir():
        path.unlink()
    assert Store(url).jobs() == []
    assert elsewhere(COUNT, url) == "0"
    left_open.close()


def test_256_threads_wait_for_their_turn(store_url):
    store, errors = Store(store_url), []

    def work(number: int) -> None:
        try:
            submit(store, f"job-{number}")
            store.jobs(limit=1)
        except Exception as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(256)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(store.jobs()) == 256


def _open_at_once(barrier, urls, results):
    for url in urls:
        barrier.wait(120)
        try:
            with closing(Store(url)) as store:
                results.put((url, store.id))
        except Exception as error:  # noqa: BLE001 - reported by the test
            results.put((url, repr(error)))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_processes_that_open_a_fresh_store_at_once_agree(kind, tmp_path, request):
    if kind == "sqlite":
        urls = [f"sqlite:///{tmp_path / str(number)}.db" for number in range(ROUNDS)]
    else:
        server: Postgres = request.getfixturevalue("postgres")
        urls = [server.schema() for _ in range(ROUNDS)]
    barrier, results = spawn.Barrier(PROCESSES), spawn.Queue()
    processes = [spawn.Process(target=_open_at_once, args=(barrier, urls, results)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    seen = [results.get(timeout=240) for _ in range(PROCESSES * ROUNDS)]
    for process in processes:
        process.join()
    ids = {url: {store_id for at, store_id in seen if at == url} for url in urls}
    assert all(len(found) == 1 and next(iter(found)).startswith("sky-") for found in ids.values()), ids


def test_a_process_forks_while_its_threads_are_in_the_store(store_url):
    command = [sys.executable, str(HERE / "forking_process.py"), store_url, "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    with closing(Store(store_url)) as store:
        assert len(store.jobs(limit=100_000)) == int(done.stdout)


WRITER = """
import itertools, sys
from sky_core.store import Store
store, name = Store(sys.argv[1]), sys.argv[2]
for number in itertools.count():
    job = store.submit(f"{name}-{number}", plan_key="p", task="t", spec="{}", owner=None)
    print(job.key, flush=True)
"""


def test_what_was_committed_outlives_a_kill(store_url):
    keeper, told = Store(store_url), set()
    for turn in range(5):
        command = [sys.executable, "-c", WRITER, store_url, str(turn)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(5 + 7 * turn):
                told.add(writer.stdout.readline().strip())
            writer.send_signal(signal.SIGKILL)
            told |= {line.strip() for line in writer.stdout if line.endswith("\n")}
        assert told <= {job.key for job in keeper.jobs()}
    for job in keeper.jobs():
        assert [event.kind for event in keeper.events(job.id)] == ["submitted"]
    if store_url.startswith("sqlite"):
        with closing(sqlite3.connect(store_url.removeprefix("sqlite:///"))) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
