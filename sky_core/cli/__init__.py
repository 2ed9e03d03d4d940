"""The ``skyloom`` command."""

from __future__ import annotations

import atexit
import gc


def main() -> None:
    """Entry point: errors that users can meet end in one line on stderr and exit code 1."""
    # Imports, and listings of thousands of rows, make objects that stay: looking through them again finds no garbage.
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)  # nor does the search that Python makes at its end
    from sky_core.cli.terminal.spinner import spinner

    spinner.appear()
    from sky_core.cli.app import run

    run()


__all__ = ["main"]
