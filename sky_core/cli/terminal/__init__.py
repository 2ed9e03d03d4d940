"""The terminal. What is printed is printed as it is: square brackets in a user's names and values are no markup."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

console = Console(markup=False, highlight=False)
WIDEST = 10_000  # columns of a table that no terminal limits
errors = Console(stderr=True, markup=False, highlight=False)


def say(text: str, style: str = "") -> None:
    """Print a line, which the terminal may fold but which stays one line where it is copied or piped."""
    console.print(Text(text, style), soft_wrap=True)


def show(table: Table) -> None:
    """Print a table: as wide as the terminal, or, where it is piped, as wide as it is, so that no name is broken."""
    if console.is_terminal:
        console.print(table)
        return
    width = Measurement.get(console, console.options.update(max_width=WIDEST), table).maximum
    Console(file=console.file, width=width, markup=False, highlight=False).print(table)


def pass_on(data: bytes) -> None:
    """Print bytes that a command has printed, as they are: no markup, no wrapping, carriage returns and colours too."""
    console.file.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def complain(text: str, style: str = "red") -> None:
    """Print a line to stderr."""
    errors.print(Text(text, style), soft_wrap=True)
