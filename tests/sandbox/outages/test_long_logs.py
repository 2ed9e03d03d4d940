"""Long logs over connections that are cut: whole, in order, each byte once, to whoever follows and in the store."""

from __future__ import annotations

import time

import pytest

from sky_core.broker.lines import Lines
from sky_core.errors import TaskFailed
from sky_sandbox.machines import namespaces
from tests.sandbox.brokers import own_broker
from tests.sandbox.jobs.test_broker import submit, task

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(not namespaces.available(), reason="connections alone are cut of sshd's machines only"),
]
SANDBOX = {"hours_per_second": 0.1}
LINES, A_SECOND, BURST = 200_000, 20_000, 90_000_000
STEADY = f"""\
import sys, time
begun = time.monotonic()
for first in range(0, {LINES}, 1000):
    time.sleep(max(0, begun + first / {A_SECOND} - time.monotonic()))
    sys.stdout.write("".join(f"line {{number}}\\n" for number in range(first, first + 1000)))
    sys.stdout.flush()
"""


@pytest.fixture
def broker(world, monkeypatch, own_store_url):
    with own_broker(world, monkeypatch, own_store_url) as broker:
        yield broker


def followed(world, broker, job, cut_at):
    """The job and its log, as somebody reads it who follows; all SSH connections are cut once each size is there."""
    log, lines, text = bytearray(), Lines(), []
    left, before = list(cut_at), logins(world)
    for seen, _, data in broker.follow_output(job.id):
        log += data
        text += lines.feed(data, end=seen.over)
        if left and len(log) >= left[0]:
            del left[0]
            world.control.move("")
        if seen.over:
            break
        time.sleep(0.05)
    assert logins(world) - before > len(cut_at), "connections were cut, and made anew"
    return seen, bytes(log), text


def logins(world):
    """How often somebody has logged in to the machines, by their own logs."""
    return sum(path.read_text().count("Accepted publickey") for path in world.home.glob("sandbox/logs/*.log"))


def test_lines_that_come_fast_come_once_and_in_order_over_two_cut_connections(world, broker):
    right = b"".join(b"line %d\n" % number for number in range(LINES))
    job = submit(broker, task(run=f"exec python3 -c '{STEADY}'"))
    job, log, text = followed(world, broker, job, (len(right) // 3, len(right) * 2 // 3))
    assert job.state == "succeeded"
    assert log == right
    assert text == right.decode().splitlines()
    assert broker.store.log(job.id) == right
    assert len(world.launches(job.id)) == 1


def test_what_comes_last_in_a_burst_is_shown_with_the_failure(world, broker):
    burst = f"head -c {BURST} /dev/zero | tr '\\0' x | fold -w 999 | nl -ba -w 9 -s ' '"
    job = submit(broker, task(run=f"{burst}; echo THE-ERROR >&2; exit 3"))
    job, log, text = followed(world, broker, job, (1, BURST // 2))
    assert (job.state, job.result["exit_code"]) == ("failed", 3)
    with pytest.raises(TaskFailed, match="THE-ERROR"):
        broker.raise_for(job)
    assert text[-1] == "THE-ERROR"
    assert [line[:9] for line in text[:-1]] == [f"{number:9}" for number in range(1, len(text))]
    assert log.count(b"x") == BURST
    assert broker.store.log(job.id) == log
    assert len(world.launches(job.id)) == 1
