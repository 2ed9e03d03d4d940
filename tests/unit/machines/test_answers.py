"""What a machine says is bytes from somebody's machine: either it makes sense within bounds, or it is refused."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_core.errors import MachineError
from sky_core.remote.agent.state import State
from sky_core.remote.answers import LONGEST_DETAIL, poll_answer, verdict

SAID = {"phase": "running", "log_size": 7, "boot_id": "of no interest"}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from(
    ["phase", "exit_code", "log_size", "eviction", "checkpoint_generation", "checkpoint_seconds", "moved", "seconds",
     "detail", "log", "log_offset", "tail", "tail_from"]
)  # fmt: skip


def answer(log=b"", **changes):
    return json.dumps({**SAID, **changes}).encode() + b"\n" + log


def test_what_an_agent_writes_is_understood(tmp_path):
    State(tmp_path / "state").begin(1)
    state = poll_answer((tmp_path / "state").read_bytes() + b"lines\nof log", 5)
    assert (state.phase, state.log, state.log_offset) == ("inputs", b"lines\nof log", 17)


@given(said=st.dictionaries(fields, anything, max_size=4), log=st.binary(max_size=9), offset=st.integers(0, 99))
def test_offsets_only_grow_and_sizes_are_sizes(said, log, offset):
    try:
        state = poll_answer(json.dumps({**SAID, **said}).encode() + b"\n" + log, offset)
    except MachineError:
        return
    assert state.log_offset == offset + len(log)
    assert state.log == log
    assert 0 <= state.log_size < 1 << 60
    assert all(size >= 0 for sizes in state.moved.values() for size in sizes.values())


@given(content=st.binary(max_size=60))
def test_bytes_that_are_no_answer_are_refused(content):
    for understand in (poll_answer, verdict):
        with pytest.raises(MachineError, match="makes no sense"):
            understand(content, 0)


@pytest.mark.parametrize(
    "changes",
    [{"exit_code": -1}, {"exit_code": 256}, {"exit_code": "0"}, {"log_size": 1 << 60}, {"phase": "finished"},
     {"checkpoint_bytes": -1}, {"checkpoint_bytes": 1.5}, {"seconds": {"running": float("inf")}},
     {"moved": {"outputs": {"x": -1}}}, {"moved": {str(n): {} for n in range(3)}}],
)  # fmt: skip
def test_what_no_agent_says_is_refused(changes):
    with pytest.raises(MachineError):
        poll_answer(answer(**changes), 0)


def test_long_words_are_cut():
    assert len(poll_answer(answer(detail="x" * 100_000), 0).detail) == LONGEST_DETAIL


class TestVerdict:
    def left(self, log, kept, **changes):
        tail = base64.b64encode(log[-kept:]).decode()
        about = {**SAID, "exit_code": 3, "log_size": len(log), "tail": tail, "tail_from": len(log) - kept, **changes}
        return json.dumps(about).encode()

    def test_it_brings_the_rest_of_the_log(self):
        state = verdict(self.left(b"0123456789", 6), 7)
        assert (state.phase, state.exit_code, state.log, state.log_offset) == ("done", 3, b"789", 10)

    def test_it_says_what_is_missing_in_between(self):
        state = verdict(self.left(b"0123456789", 2), 5)
        assert state.log == b"[skyloom] 3 bytes of the log went with the machine\n89"

    def test_without_an_exit_code_it_is_none(self):
        with pytest.raises(MachineError):
            verdict(self.left(b"", 1, exit_code=None), 0)
