"""The terminal. What is printed is printed as it is: square brackets in a user's names and values are no markup.

Whatever prints ends the sign of life first. Rich is imported where something is drawn: a version, a line of help and
a document for programs come without it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from sky_core.cli.terminal.spinner import spinner

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from sky_core.broker import Broker
    from sky_core.measures.scale import Scale
    from sky_core.store import Listings

WIDEST = 10_000  # columns of a table that no terminal limits


@cache
def _console(stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False)


def console() -> Console:
    """Standard output, for whoever is about to print there."""
    spinner.stop()
    return _console(stderr=False)


def open_broker() -> Broker:
    """The broker of this home; a terminal is told meanwhile that something happens."""
    spinner.say("opening the store")
    from sky_core.broker import Broker

    return Broker.open()


def open_records() -> tuple[Listings, Scale]:
    """What listings read, and what time counts for in it: quickly, unless the whole of the store has to be opened."""
    spinner.say("opening the store")
    from sky_core.home import records
    from sky_core.store.reading.glimpse import Glimpse

    said = records()
    glimpse = Glimpse.at(said.store_url) if said else None
    if said and glimpse:
        return glimpse, said.scale
    broker = open_broker()
    return broker.store, broker.settings.scale


def say(text: str, style: str = "") -> None:
    """Print a line, which the terminal may fold but which stays one line where it is copied or piped."""
    from rich.text import Text

    console().print(Text(text, style), soft_wrap=True)


def new_table(*columns: str, **options: Any) -> Table:
    """An empty table with a line below its heads and none beside its columns."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=0, **options)
    for column in columns:
        table.add_column(column, overflow="fold", min_width=None if column else 1)  # else it is measured as none
    return table


def show(what: RenderableType) -> None:
    """Draw it: as wide as the terminal, or, where it is piped, as wide as it is, so that no name is broken."""
    out = console()
    if out.is_terminal:
        out.print(what)
        return
    from rich.console import Console
    from rich.measure import Measurement

    width = Measurement.get(out, out.options.update(max_width=WIDEST), what).maximum
    Console(file=out.file, width=width, markup=False, highlight=False).print(what)


def pass_on(data: bytes) -> None:
    """Print bytes that a command has printed, as they are: no markup, no wrapping, carriage returns and colours too."""
    spinner.stop()
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def stacked(*lines: str) -> str:
    """A cell of several lines; one line where it is piped, so that whatever reads lines has it whole."""
    return ("\n" if console().is_terminal else " ").join(lines)


def write_rows(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table as CSV; true, false and nothing are written as JSON and CSV's readers write them."""
    spinner.stop()
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(heads)
    lines.writerows([str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in rows)


def write(text: str) -> None:
    """Print what programs read, as it is."""
    spinner.stop()
    sys.stdout.write(text)


def complain(text: str, style: str = "red") -> None:
    """Print a line to stderr."""
    from rich.text import Text

    spinner.stop()
    _console(stderr=True).print(Text(text, style), soft_wrap=True)


def agreed(question: str, *, usual: bool = False) -> bool:
    """Whether whoever sits there says yes; just Enter means the ``usual`` answer.

    Raises:
        Abort: if nobody answers.
    """
    import typer

    spinner.stop()
    return typer.confirm(question, default=usual)
