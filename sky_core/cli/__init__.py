"""The ``skyloom`` command."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Entry point: errors that users can meet end in one line on stderr and exit code 1."""
    from sky_core.cli.terminal.spinner import spinner

    # Imports, and listings of thousands of rows, make objects that stay: looking through them again finds no garbage.
    gc.set_threshold(50_000, 20, 20)
    if sys.argv[1:2] == ["plan"]:
        spinner.say("loading skyloom")  # before the imports, which take longer than people wait for a sign of life
    try:
        from sky_core.cli.app import run

        run()
    finally:
        spinner.stop()


__all__ = ["main"]
