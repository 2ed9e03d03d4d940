"""In a triggerer: what held up its event loop, without the time in which this thread waited for a CPU.

On the path of a process called with the argument ``triggerer`` it notes each callback of an event loop that took more
than a tenth of a second, computing or waiting for something, in the file that ``LOOP_PROBE`` names. The kernel tells
how long a thread was ready to run and did not (/proc/thread-self/schedstat, the second number, in nanoseconds): that
is the other processes' doing, not the callback's.
"""

import os
import sys
import threading
import time
from asyncio import events

HELD_UP_S = 0.1
_OWN = threading.local()


def _waited_s() -> float:
    """Seconds that this thread has waited for a CPU so far."""
    if not hasattr(_OWN, "file") or _OWN.pid != os.getpid():
        _OWN.file, _OWN.pid = os.open("/proc/thread-self/schedstat", os.O_RDONLY), os.getpid()
    return int(os.pread(_OWN.file, 64, 0).split()[1]) / 1e9


def _probed(run):  # type: ignore[no-untyped-def]
    def _run(handle):  # type: ignore[no-untyped-def]
        began, waited = time.monotonic(), _waited_s()
        try:
            return run(handle)
        finally:
            took = time.monotonic() - began
            held = took - (_waited_s() - waited)
            if held > HELD_UP_S:
                with open(os.environ["LOOP_PROBE"], "a") as file:
                    file.write(f"{held:.3f} of {took:.3f} s: {handle!r}\n")

    return _run


if "triggerer" in sys.orig_argv:
    events.Handle._run = _probed(events.Handle._run)  # type: ignore[method-assign]
