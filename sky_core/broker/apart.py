"""A call of ours made in a fresh process, where this one cannot be trusted with it; and what polars does to a process.

Planning brings polars. Its threads do not survive a fork: a child of a process that has used it waits for ever on the
first frame. Airflow forks its task processes, and whoever imports a plugin or a DAG file decides what they inherit.
So a process that may have inherited polars plans in a fresh one. Nor does polars leave signals as it found them: it
lets system calls go on after a SIGINT, so that a lock is waited for although Ctrl-C was pressed.

    python -m sky_core.broker.apart < PAYLOAD > RESULT     both packed as sky_core.remote.agent.call has it
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sky_core.broker.calls import pack
from sky_core.remote.agent import call

FORKED_WITHOUT_EXEC = 0x40  # PF_FORKNOEXEC of Linux's process flags, the ninth field of /proc/PID/stat


def _forked() -> bool:
    """Whether this process is the copy of another, not a program of its own. False where the system does not tell."""
    with suppress(OSError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return bool(int(fields[6]) & FORKED_WITHOUT_EXEC)
    return False


# Imported by somebody else before us: perhaps before the fork.
_inherited = "polars" in sys.modules and _forked()


def _after_fork() -> None:
    global _inherited
    _inherited = "polars" in sys.modules


os.register_at_fork(after_in_child=_after_fork)


def polars_inherited() -> bool:
    """Whether polars must not be used here, since it was, or may have been, before this process was forked."""
    return _inherited


def let_signals_interrupt() -> None:
    """Let Ctrl-C end the wait for a lock again; to be called once polars is loaded. Any thread may."""
    signal.siginterrupt(signal.SIGINT, True)


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, made in a fresh interpreter with this one's environment; local code goes along.

    Raises:
        SpecError: if the call cannot be pickled.
        BaseException: whatever the function raised.
    """
    payload, _ = pack(function, args, {}, elsewhere=False)
    done = subprocess.run(
        [sys.executable, "-m", "sky_core.broker.apart"], input=payload, stdout=subprocess.PIPE, check=True
    )
    return call.value_of(*call.load(call.unpack("result", done.stdout)))


def _main() -> None:
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed meanwhile is not the answer
    function, args, kwargs = call.loaded(call.unpack("call", sys.stdin.buffer.read()))
    try:
        said: call.Answer = ("value", function(*args, **kwargs))
    except Exception as error:  # noqa: BLE001 - raised again by whoever asked
        said = ("error", error)
    with answer:
        answer.write(call.packed(said)[0])


if __name__ == "__main__":
    _main()
