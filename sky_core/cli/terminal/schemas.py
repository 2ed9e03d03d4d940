"""``--json``, ``--csv`` and ``--json-schema``: the same on every listing."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sky_core.cli.terminal import write, write_rows
from sky_core.errors import SpecError

if TYPE_CHECKING:
    from pydantic import BaseModel

JsonOption = Annotated[bool, typer.Option("--json", help="Print a document for programs.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print a row for each.")]


def one_of(*forms: bool) -> None:
    """Raise SpecError if more than one form of output is asked for."""
    if sum(forms) > 1:
        raise SpecError("--json, --csv and their like: standard output takes one of them", cure="run it twice")


def write_listing(document: BaseModel, entries: str, entry: type[BaseModel], *, as_csv: bool) -> None:
    """Print a listing's document, or as CSV a row for each of its entries.

    Args:
        entries: The document's field that has them.
        entry: What they are.
    """
    if as_csv:
        write_rows(entry.model_fields, (row.values() for row in document.model_dump(mode="json")[entries]))
    else:
        write(document.model_dump_json(indent=2) + "\n")


def schema_option(document: str) -> Any:
    """The option that prints the schema of what ``--json`` prints.

    Args:
        document: ``module:Model`` of it, imported only then.
    """

    def show(asked: bool) -> None:
        if asked:
            module, _, name = document.partition(":")
            model = getattr(import_module(module), name)
            write(json.dumps(model.model_json_schema(mode="serialization"), indent=2) + "\n")
            raise typer.Exit

    return typer.Option("--json-schema", is_eager=True, callback=show, help="Print the schema of --json.")
