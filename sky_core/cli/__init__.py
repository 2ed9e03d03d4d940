"""The ``skyloom`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: errors that users can meet end in one line on stderr and exit code 1."""
    from sky_core.cli.terminal.spinner import spinner

    if sys.argv[1:2] == ["plan"]:
        spinner.say("loading skyloom")  # before the imports, which take longer than people wait for a sign of life
    try:
        from sky_core.cli.app import run

        run()
    finally:
        spinner.stop()


__all__ = ["main"]
