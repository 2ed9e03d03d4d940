"""Several machines' answers as one attempt's: whose end counts, whose failure is named, what is said of the logs."""

from __future__ import annotations

import random

import pytest

from sky_core.remote.answers import JobState
from sky_core.remote.gangs.together import together


def said(phase="running", log=b"", start=0, size=None, **about):
    end = start + len(log)
    return JobState(phase=phase, log=log, log_offset=end, log_size=end if size is None else size, **about)


def done(code=0, **about):
    return said("done", exit_code=code, **about)


def test_one_machine_speaks_for_itself():
    state = together([said(log=b"half a li", start=3)])
    assert (state.phase, state.log, state.log_offset, state.offsets) == ("running", b"half a li", 12, (12,))


@pytest.mark.parametrize(
    ("answers", "phase", "code", "detail"),
    [
        ([done(), done()], "done", 0, ""),
        ([done(), said()], "running", None, ""),  # what another rank still does is part of the work
        ([said("setup"), said()], "setup", None, ""),
        ([said(), done(5)], "done", 5, "rank 1: exit code 5"),
        ([said(), done(4, detail="setup ended with exit code 4")], "done", 4, "rank 1: setup ended with exit code 4"),
        ([done(1, ended_at=12.0), said(), done(7, ended_at=11.5)], "done", 7, "rank 2: exit code 7"),
        ([done(1, ended_at=12.0), done(None, detail="cancelled", ended_at=9.0)], "done", 1, "rank 0: exit code 1"),
        ([said(), said("lost", detail="killed")], "lost", None, "rank 1: killed"),
        ([done(), said("missing")], "lost", None, "rank 1: missing"),
        ([said("missing"), said()], "missing", None, ""),
        ([said(), done(None, detail="eviction", eviction=True)], "done", None, "rank 1: eviction"),
        ([done(), said(serves=True)], "done", 0, ""),
        ([done(), done(None, detail="cancelled", serves=True)], "done", 0, ""),
        ([said(), done(None, detail="eviction", serves=True)], "lost", None, "rank 1: eviction"),
        ([said(), done(1, serves=True)], "done", 1, "rank 1: exit code 1"),
    ],
)
def test_when_it_is_over_and_whose_fault_it_is(answers, phase, code, detail):
    state = together(answers)
    assert (state.phase, state.exit_code, state.detail) == (phase, code, detail)


def test_an_eviction_of_any_is_one_of_all():
    assert together([said(), said(eviction=True)]).eviction


def test_what_is_said_after_the_end_of_all_is_not_waited_for():
    state = together([said(log=b"on and on", size=100), done(3)])
    assert state.over
    assert state.log_is_whole


def test_a_part_of_a_log_is_not_all_of_it():
    assert not together([done(log=b"begin\n", size=100), done()]).log_is_whole


@pytest.mark.parametrize("seed", range(20))
def test_every_line_comes_once_whole_and_with_its_rank(seed):
    """However the logs are cut into looks, what rank r has written is what stands after its prefix."""
    chance = random.Random(seed)
    ends = [b"\n", b"\n", b"\r\n", b"\r"]
    logs = [b"".join(b"%d-%d%s" % (rank, n, chance.choice(ends)) for n in range(30)) + b"end" for rank in range(3)]
    offsets, there, heard = (0, 0, 0), [0, 0, 0], b""
    while True:
        there = [min(len(log), size + chance.randrange(12)) for log, size in zip(logs, there, strict=True)]
        answers = []
        for log, offset, size in zip(logs, offsets, there, strict=True):
            part = log[offset : min(size, offset + 16)]
            answers.append(said("done" if size == len(log) else "running", part, offset, size=size,
                                exit_code=0 if size == len(log) else None))  # fmt: skip
        state = together(answers)
        heard, offsets = heard + state.log, state.offsets
        if state.over and state.log_is_whole:
            break
    for rank, log in enumerate(logs):
        mark = b"(rank %d) " % rank
        lines = [line for line in heard.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n") if line]
        mine = [line.removeprefix(mark) for line in lines if line.startswith(mark)]
        assert mine == [line for line in log.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n") if line]
