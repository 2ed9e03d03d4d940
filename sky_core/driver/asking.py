"""Asks engines whether they still want jobs, in a process that ends at once: Airflow alone weighs hundreds of MB.

python -m sky_core.driver.asking < HOWS > ANSWERS      JSON lists of the same length
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

How = Mapping[str, Any]
Answer = bool | None  # yes, no, or: it cannot be known
TIMEOUT_S = 120.0


class StillWanted(Protocol):
    """What an engine's entry point in ``skyloom.interest`` is."""

    def __call__(self, how: How) -> Answer:
        """Whether the try that showed its interest with ``how`` still wants its job, or will again.

        Asked with the credentials of the driver's environment. None, or any exception, if the engine does not answer
        or cannot tell.
        """


def ask(hows: Sequence[How]) -> list[Answer]:
    """Ask about each; never raises and takes two minutes at most."""
    command = [sys.executable, "-m", "sky_core.driver.asking"]
    try:
        done = subprocess.run(
            command, input=json.dumps(list(hows)), stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=True
        )
        answers: list[Answer] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return [None] * len(hows)
    return answers


def _answer(how: How) -> Answer:
    try:
        (entry,) = entry_points(group="skyloom.interest", name=str(how["engine"]))
        still_wanted: StillWanted = entry.load()
        return still_wanted(how)
    except Exception as error:  # noqa: BLE001 - an engine that cannot be asked does not answer
        print(f"{how.get('engine')} cannot be asked: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what engines print while they are loaded goes to the driver's log
    with answers:
        json.dump([_answer(how) for how in json.load(sys.stdin)], answers)


if __name__ == "__main__":
    _main()
