"""A store that is locked, full, read-only, failing or away is waited for, and what was asked of it is done once."""

import logging
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
import sqlalchemy as sa

from sky_core.errors import (
    MissingExtra,
    SpecError,
    StoreAway,
    StoreBusy,
    StoreDamaged,
    StoreRefused,
)
from sky_core.events import Phase
from sky_core.store import Store
from tests.store.wire import Wire

LARGE = "x" * 10_000  # more than the free room in the file's last page


def submit(store, key="k", spec="{}"):
    return store.submit(key, plan_key="p", task="t", spec=spec, owner=None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.db"


def in_background(work):
    """Start ``work`` in a thread; what joins it returns what came of it."""
    seen = []

    def run():
        try:
            seen.append(work())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            seen.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def joined():
        thread.join(120)
        assert seen, "still waiting"
        return seen[0]

    return joined


def pragma(store, text):
    """Set a PRAGMA on every connection that the store opens from now on; () to undo it."""
    engine = store._database._connectable()
    listener = lambda connection, _: connection.execute(f"PRAGMA {text}")  # noqa: E731
    sa.event.listen(engine, "connect", listener)
    store._database.close_connections()
    return lambda: sa.event.remove(engine, "connect", listener)


def test_a_locked_store_is_waited_for(path, caplog):
    store = Store(f"sqlite:///{path}", patience_s=None)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with caplog.at_level(logging.WARNING, "skyloom.store"):
            done = in_background(lambda: submit(store).key)
            while not re.search(r"s\.db is locked by another process.*; waiting for it", caplog.text):
                time.sleep(0.01)
        other.execute("COMMIT")
    assert done() == "k"
    assert [event.kind for event in store.events(store.find_job("k").id)] == ["submitted"]


def test_patience_with_a_locked_store_ends_with_a_word(path):
    store = Store(f"sqlite:///{path}", patience_s=0.5)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="is locked by another process"):
            submit(store)
        assert store.jobs() == [], "who only reads is not kept waiting"


def test_who_is_to_end_waits_no_longer(path, monkeypatch):
    monkeypatch.setattr("sky_core.store.database.patience.ENDING_S", 0.0)
    ending = threading.Event()
    store = Store(f"sqlite:///{path}", patience_s=None, ending=ending)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.5, ending.set).start()
        with pytest.raises(StoreBusy):
            submit(store)


@pytest.mark.parametrize(
    ("setting", "why"), [("max_page_count=1", "its disk is full"), ("query_only=ON", "it is read-only")]
)
def test_a_full_or_read_only_store_is_waited_for(path, setting, why):
    hasty, store = (Store(f"sqlite:///{path}", patience_s=seconds) for seconds in (0.5, None))
    undo = pragma(store, setting)
    with pytest.raises(StoreAway, match=f"cannot be used: {why}"):
        submit(hasty, spec=LARGE)
    there = len(store.jobs())
    done = in_background(lambda: submit(store, "late", LARGE))
    undo()
    assert done().key == "late"
    assert len(store.jobs()) == there + 1


FAILING_DISK = """
import resource, sys, threading
from sky_core.store import Store
store = Store(sys.argv[1], patience_s=None)
def fill():
    for number in range(50):
        store.submit(f"job-{number}", plan_key="p", task="t", spec="x" * 4000, owner=None)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
thread = threading.Thread(target=fill)
thread.start()
thread.join(3)
assert thread.is_alive(), "it was to be waiting"
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
thread.join(60)
print(len(store.jobs()), sum(len(store.events(job.id)) for job in store.jobs()))
"""


def test_writes_that_fail_halfway_are_done_again_and_once(path):
    command = [sys.executable, "-c", FAILING_DISK, f"sqlite:///{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["50", "50"], done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY, "ours was left alone"


FULL_DISK = """
import subprocess, sys
from pathlib import Path
from sky_core.errors import StoreAway
from sky_core.store import Store
folder = Path(sys.argv[1])
def look():
    store = Store(f"sqlite:///{folder}/s.db", patience_s=0.2)
    store.jobs()
    store.close()
def remount(how):
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)
def told():
    try:
        look()
    except StoreAway as error:
        print(error)
look()
remount("ro")
told()
remount("rw")
try:
    with (folder / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError:
    told()
"""


def test_a_full_disk_and_a_read_only_one_are_told_from_one_that_fails(tmp_path):
    """Where not even a reader can open the store, since SQLite makes a file for its readers beside it."""
    apart = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces here")
    mounted = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    command = [*apart, "sh", "-c", mounted, "sh", str(tmp_path), sys.executable, FULL_DISK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    read_only, full = done.stdout.splitlines() or ["", done.stderr]
    assert "it is read-only" in read_only
    assert "its disk is full" in full


def test_a_folder_is_no_store(tmp_path):
    with pytest.raises(StoreRefused, match="is a folder"):
        Store(f"sqlite:///{tmp_path}", patience_s=600)


def test_a_file_that_is_no_database_is_told_at_once(path):
    path.write_bytes(b"not a database, for long enough to be looked at" * 100)
    with pytest.raises(StoreDamaged, match="put back a backup"):
        Store(f"sqlite:///{path}", patience_s=None)


def test_a_store_that_cannot_be_made_is_told_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreAway, match=r"cannot be made: .*set SKYLOOM_HOME"):
        Store(f"sqlite:///{tmp_path / 'file' / 's.db'}", patience_s=None)


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "mysql://root@localhost/x"])
def test_a_url_that_cannot_be_used_names_the_setting(url):
    with pytest.raises(SpecError, match=r"store_url: .*sqlite:///<path"):
        Store(url)


def test_without_psycopg_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("sky_core.store.database.urls.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"skyloom\[postgres\]"):
        Store("postgresql://me@127.0.0.1/db")


def test_a_server_that_is_down_is_waited_for(postgres):
    url = postgres.schema()
    hasty, store = Store(url, patience_s=1.0), Store(url, patience_s=None)
    submit(store, "before")
    postgres.stop()
    try:
        with pytest.raises(StoreAway, match=r"is away: .*(terminat|closed|refused|socket)"):
            submit(hasty, "refused")
        done = in_background(lambda: submit(store, "late"))
    finally:
        postgres.start()
    assert done().key == "late"
    assert sorted(job.key for job in store.jobs()) == ["before", "late"]


@pytest.mark.parametrize("what", ["database", "role"])
def test_a_server_that_lets_nobody_in_is_told_at_once(postgres, what):
    good = postgres.schema()
    bad = postgres.url("no_such_database") if what == "database" else good.replace("skyloom@", "stranger@")
    with pytest.raises(StoreRefused, match=f"{what} .* does not exist.*mend store_url"):
        Store(bad, patience_s=600)


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_doubled(postgres, cut):
    wire = Wire(postgres.folder)
    url = postgres.schema().replace("@/", f"@127.0.0.1:{wire.port}/").replace(f"host={postgres.folder}&", "")
    store = Store(url, patience_s=None)
    job = submit(store)
    store.lease_due("me", 600, 1)
    for number in range(3):
        wire.cut = cut
        store.save_job(job, "me", state="running", events=[Phase(attempt=number, phase="running")])
        assert wire.cut is None, "it was cut"
        wire.cut = cut
        assert submit(store, f"job-{number}").key == f"job-{number}"
        wire.cut = cut
        assert store.create_plan(f"plan-{number}", "P", "one").version == 1
        wire.cut = cut
        assert store.replace_plan(f"plan-{number}", 1, "P", "two"), "the answer is that of the write that was kept"
    told = [event.data["attempt"] for event in store.events(job.id) if event.kind == "phase"]
    assert told == [0, 1, 2]
    assert [len(store.events(store.find_job(f"job-{number}").id)) for number in range(3)] == [1, 1, 1]
    wire.close()
