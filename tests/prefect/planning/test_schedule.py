"""Nodes begin when they may, no sooner and no more at once, and none is left waiting."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from contextvars import copy_context
from types import SimpleNamespace

import pytest

from sky_prefect.schedule import Schedule


def node(name, machines=0):
    return SimpleNamespace(
        name=name,
        machines=machines,
        needs={} if machines else None,
        context=copy_context(),
        future=SimpleNamespace(wrapped_future=Future()),
    )


def test_a_wide_dag_takes_threads_for_what_runs_only():
    release = threading.Event()
    seen = []

    def run(one):
        seen.append((one.name, threading.active_count()))
        if one.name == "first":
            release.wait(60)
        return one.name

    schedule = Schedule(run)
    first, others = node("first"), [node(number) for number in range(300)]
    before = threading.active_count()
    schedule.add([first], [])
    for one in others:
        schedule.add([one], [first])
    assert threading.active_count() <= before + 1
    release.set()
    schedule.wait()
    schedule.close()
    assert {one.future.wrapped_future.result() for one in others} == set(range(300))
    assert seen[0][0] == "first"


def test_there_are_never_more_machines_than_allowed():
    lock, now, most = threading.Lock(), 0, 0

    def run(one):
        nonlocal now, most
        with lock:
            now += one.machines
            most = max(most, now)
        threading.Event().wait(0.002)
        with lock:
            now -= one.machines
        return one.name

    schedule = Schedule(run, machines=3)
    sizes = [1, 2, 3, 1, 1, 2] * 5
    nodes = [node(number, size) for number, size in enumerate(sizes)]
    here = node("here")
    for one in [*nodes, here]:
        schedule.add([one], [])
    schedule.wait()
    schedule.close()
    assert [one.future.wrapped_future.result() for one in nodes] == list(range(30))
    assert here.future.wrapped_future.result() == "here"
    assert most == 3


def test_what_has_not_begun_is_given_up_when_the_flow_run_is_over():
    begun, release = threading.Event(), threading.Event()

    def run(one):
        begun.set()
        release.wait(60)
        raise LookupError(one.name)

    schedule = Schedule(run, machines=1)
    first, after, full = node("first", 1), node("after"), node("full", 1)
    schedule.add([first], [])
    begun.wait(60)
    schedule.add([after], [first])
    schedule.add([full], [])
    closing = threading.Thread(target=schedule.close)
    closing.start()
    for one in (after, full):
        with pytest.raises(CancelledError):
            one.future.wrapped_future.result(60)
    release.set()
    closing.join(60)
    with pytest.raises(LookupError, match="first"):
        first.future.wrapped_future.result(60)
