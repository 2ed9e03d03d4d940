"""The ``skyloom`` command."""

from __future__ import annotations


def main() -> None:
    """Entry point: errors that users can meet end in one line on stderr and exit code 1."""
    from sky_core.cli.app import run

    run()


__all__ = ["main"]
