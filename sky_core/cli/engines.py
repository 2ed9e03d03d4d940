"""Python files of the engines: who can read a flow or a DAG file is told by entry points, not by imports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sky_core.cli.objective import is_python
from sky_core.errors import SpecError

if TYPE_CHECKING:
    from sky_core.engine_kit import Draft, Engine

ParamOption = Annotated[
    list[str] | None, typer.Option("--param", help="NAME=VALUE for the flow; a VALUE that is JSON is read as such.")
]


@dataclass(frozen=True)
class Source:
    """A file, and which of the pipelines in it is meant: None where there is one."""

    path: Path
    name: str | None = None


def read_source(said: str) -> Source:
    """``FILE`` or ``FILE:NAME``.

    Raises:
        BadParameter: if there is no such file.
    """
    path, name = Path(said), None
    if not path.exists() and ".py:" in said:
        head, _, name = said.rpartition(":")
        path = Path(head)
    if not path.is_file():
        raise typer.BadParameter(f"{path}: no such file")
    return Source(path, name)


SourceArgument = Annotated[
    Source,
    typer.Argument(parser=read_source, metavar="FILE[:FLOW]", help="A flow, a DAG file or a YAML; and which flow."),
]


def engine_for(path: Path) -> Engine:
    """The installed engine that claims a Python file.

    Raises:
        SpecError: if there is none.
    """
    from sky_core.plugins import load, names

    source = path.read_text()
    for name in names("skyloom.engines"):
        engine = cast("Engine", load("skyloom.engines", name))
        if engine.claims(source):
            return engine
    raise SpecError(f"{path}: neither an Airflow DAG nor a Prefect flow; YAML files end in .yaml")


def draft_of(source: Source, params: Sequence[str] | None) -> Draft:
    """What an engine's file asks for.

    Raises:
        SpecError: if no engine reads it, it holds no pipeline, or it cannot be told which one and of what.
    """
    from sky_core.engine_kit import FromChoice

    engine = engine_for(source.path)
    if isinstance(engine, FromChoice):
        return engine.draft_of(source.path, source.name, parameters(params or ()))
    _nothing_chosen(source, params)
    return engine.draft(source.path)


def run_of(source: Source, params: Sequence[str] | None) -> bool:
    """Run the pipeline in an engine's file to its end; True if it succeeded.

    Raises:
        SpecError: as :func:`draft_of`.
    """
    from sky_core.engine_kit import FromChoice

    engine = engine_for(source.path)
    if isinstance(engine, FromChoice):
        return engine.run_of(source.path, source.name, parameters(params or ()))
    _nothing_chosen(source, params)
    return engine.run(source.path)


def refuse_choice(source: Source, params: Sequence[str] | None) -> None:
    """Raise SpecError if a flow or its parameters are named for a file that is no engine's."""
    if not is_python(source.path):
        _nothing_chosen(source, params, cure="a YAML takes --env NAME=VALUE")


def _nothing_chosen(source: Source, params: Sequence[str] | None, cure: str = "") -> None:
    if source.name is not None or params:
        raise SpecError(f"{source.path}: FILE:FLOW and --param are for Prefect flows", cure=cure)


def parameters(said: Sequence[str]) -> dict[str, Any]:
    """``--param NAME=VALUE`` as names and values.

    Raises:
        SpecError: for one without a name or an equals sign.
    """
    found: dict[str, Any] = {}
    for one in said:
        name, equals, value = one.partition("=")
        if not equals or not name.isidentifier():
            raise SpecError(f"--param {one}: not NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
