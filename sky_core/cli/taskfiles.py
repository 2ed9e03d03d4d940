"""Task files on the command line: variables given beside them, and what is said of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.terminal import complain, write
from sky_core.errors import NoFeasibleOffering, SpecError, UnknownAccelerator

if TYPE_CHECKING:
    from sky_core.spec_yaml import Given, Loaded

EnvOption = Annotated[
    list[str] | None, typer.Option("--env", help="NAME=value for envs of a YAML; NAME takes the value it has here.")
]
SecretOption = Annotated[list[str] | None, typer.Option("--secret", help="The same for secrets.")]
KeepOption = Annotated[
    str | None, typer.Option(help="How long to keep machines, idle and paid for, when a task has ended: 30m, or hours.")
]
ClusterOption = Annotated[
    str | None, typer.Option(help="Run on machines that are kept under this name; with --keep, keep them under it.")
]
EnvFileOption = Annotated[Path | None, typer.Option("--env-file", help="A file of lines NAME=value, as --env.")]


def given_of(
    env: list[str] | None,
    secret: list[str] | None,
    env_file: Path | None,
    *,
    keep: str | None = None,
    cluster: str | None = None,
) -> Given:
    """What is said beside the file.

    Raises:
        SpecError: for what names no variable, or a file that cannot be read.
    """
    from sky_core.spec_yaml import Given
    from sky_core.spec_yaml.variables import assignment, from_file

    envs = from_file(env_file) if env_file else {}
    envs |= dict(assignment(text, "--env") for text in env or [])
    secrets = dict(assignment(text, "--secret") for text in secret or [])
    os.environ.update(secrets)  # as if they were set here: that is where secrets are taken from
    return Given(envs, tuple(secrets), warm=_warm(keep, cluster))


def _warm(keep: str | None, cluster: str | None) -> dict[str, str]:
    """What the two options say, as a task takes it.

    Raises:
        SpecError: for what no task takes; it names the option.
    """
    from sky_core.spec import Task

    said = {name: value for name, value in (("keep", keep), ("cluster", cluster)) if value is not None}
    if keep is not None and re.fullmatch(r"[0-9.]+", keep):
        said["keep"] = f"{keep}h"  # as in a file, where a number is one of hours
    for name, value in said.items():
        try:
            Task(name="task", run="true", **{name: value})
        except SpecError as error:
            raise SpecError(str(error).replace(f"Task.task: {name}", f"--{name}", 1)) from None
    return said


def options_for(given: Given) -> list[str]:
    """The options that say the same to another process, which inherits this one's environment."""
    envs = [part for name, value in given.envs.items() for part in ("--env", f"{name}={value}")]
    warm = [part for name, said in given.warm.items() for part in (f"--{name}", said)]
    return [*envs, *(part for name in given.secrets for part in ("--secret", name)), *warm]


def tell(loaded: Loaded) -> None:
    """Say what of a file is not done as it is written."""
    for note in loaded.notes:
        complain(f"note: {note}", "yellow")


def tell_missing(loaded: Loaded) -> None:
    """Say what is still missing to run a file from here."""
    from sky_core.broker.submission import sources_of, workdir_of

    for task in loaded.pipeline.tasks:
        for name in task.secrets:
            if name not in os.environ and name not in task.secret_values:
                text = f"Task.{task.name}: secrets: {name} is not set here; it has to be when the pipeline is run"
                complain(text, "yellow")
        try:
            workdir_of(task, Path.cwd())
            sources_of(task, Path.cwd())
        except SpecError as error:
            complain(f"{error}; it has to be there when the pipeline is run", "yellow")


@contextmanager
def placed(loaded: Loaded | None) -> Iterator[None]:
    """Errors of planning with the line of the file that they are about."""
    try:
        yield
    except (NoFeasibleOffering, UnknownAccelerator) as error:
        message = str(error.args[0])
        if loaded is not None:
            error.args = (f"{loaded.where(message)}{message}", *error.args[1:])
        raise


def _print_schema(asked: bool) -> None:
    from sky_core.spec_yaml.reference import json_schema

    if asked:
        write(json.dumps(json_schema(), indent=2) + "\n")
        raise typer.Exit


def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A task file of SkyPilot's or dstack's.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; else it is printed.")
    ] = None,
    schema: Annotated[
        bool,
        typer.Option("--json-schema", is_eager=True, callback=_print_schema, help="Print the schema of task files."),
    ] = False,
) -> None:
    """Write a task file in Skyloom's form; say line by line what was taken, changed or dropped."""
    from sky_core.spec_yaml import Given
    from sky_core.spec_yaml.foreign.importing import imported

    text, lines = imported(file, Given())
    for line in lines:
        complain(f"{file}:{line}", {"taken": "green", "changed": "yellow", "dropped": "red"}[line.fate])
    if output is None:
        write(text)
    elif output.exists():
        raise SpecError(f"{output} is there already", cure="name another file, or remove it")
    else:
        output.write_text(text, encoding="utf-8")
