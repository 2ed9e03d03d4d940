"""``skyloom artifacts``: what jobs have published, to be listed, fetched and removed.

A version belongs to one attempt of one job and is never changed. What is listed is on record; buckets are asked where
something is fetched, looked into or removed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sky_core.cli.records.choosing import JobArgument, job_called, moment
from sky_core.cli.terminal import new_table, open_broker, say, show
from sky_core.cli.terminal.schemas import CsvOption, JsonOption, one_of, schema_option, write_listing
from sky_core.errors import SkyloomError, SpecError

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.overview.outputs import Output

app = typer.Typer(no_args_is_help=True, help="What jobs have published: listed, fetched, removed.")
WhichJob = Annotated[str | None, typer.Argument(help="A job's id or its beginning, its task, or RUN/TASK; else all.")]
OutputArgument = Annotated[str | None, typer.Argument(help="One of the job's outputs.")]


@app.command()
def ls(
    job: WhichJob = None,
    output: OutputArgument = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.")] = 50,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    schema: Annotated[bool, schema_option("sky_core.overview.documents:ArtifactsDocument")] = False,
) -> None:
    """List outputs of jobs that have succeeded; of a named one, list the files."""
    one_of(as_json, as_csv)
    broker, found = _found(job, output)
    if as_json or as_csv:
        from sky_core.overview.documents import ArtifactEntry, ArtifactsDocument

        write_listing(ArtifactsDocument.of(found[:limit]), "artifacts", ArtifactEntry, as_csv=as_csv)
        return
    if output is not None:
        _show_files(broker, found[0])
        return
    table = new_table()
    for column in ("job", "task", "output", "GB", "submitted", "at"):
        table.add_column(
            column, overflow="fold", no_wrap=column == "job", justify="right" if column == "GB" else "left"
        )
    for one in found[:limit]:
        submitted = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.at))
        table.add_row(one.job, one.task, one.name, f"{one.gb:.3f}", submitted, one.uri)
    show(table)


@app.command()
def get(
    job: JobArgument,
    output: OutputArgument = None,
    to: Annotated[
        Path | None, typer.Option(help="The folder to put it in; by default one of the output's name.")
    ] = None,
) -> None:
    """Fetch a job's outputs, each into a folder that is not there yet; every file is checked."""
    from sky_core.remote.artifacts import fetch

    broker, found = _found(job, output)
    if not found:
        raise SkyloomError(f"{job} has no outputs", cure="skyloom artifacts ls shows what there is")
    if to is not None and len(found) > 1:
        named = ", ".join(one.name for one in found)
        raise SpecError(f"--to: {job} has several outputs: {named}", cure="name one of them")
    targets = [to or Path(one.name) for one in found]
    for target in targets:
        if target.exists():
            raise SkyloomError(f"{target} is there already", cure="name another folder with --to")
    for one, target in zip(found, targets, strict=True):
        local = fetch(one.uri, target, _options(broker, one.uri))
        say(f"{one.name}: {one.gb:.3f} GB in {local}")


@app.command()
def rm(
    job: WhichJob = None,
    output: OutputArgument = None,
    older_than: Annotated[str | None, typer.Option(help="Only of jobs submitted so long ago: 12h, 30d.")] = None,
    keep: Annotated[int | None, typer.Option(help="But for so many of each task's, the newest.", min=0)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list.")] = False,
) -> None:
    """Remove outputs from their buckets: a job's, or all that are old or many. Those of runs under way stay."""
    from sky_core.events import OutputRemoved
    from sky_core.overview.outputs import outworn
    from sky_core.remote.artifacts import remove
    from sky_core.store import Choice
    from sky_core.store.records import LIVE

    if job is None and older_than is None and keep is None:
        raise SpecError("nothing says which outputs", cure="name a job, or give --older-than or --keep")
    broker, found = _found(job, output)
    before = None if older_than is None else moment(older_than, "--older-than")
    running = {one.plan_key for one in broker.store.job_lines(Choice(states=LIVE))}
    gone = [one for one in outworn(found, before, keep) if one.plan_key not in running]
    for one in gone:
        if dry_run:
            say(f"would remove {one.uri}")
            continue
        size = remove(one.uri, one.job, _options(broker, one.uri))
        broker.store.tell_once(one.job, OutputRemoved(output=one.name, uri=one.uri))
        was = "was gone, or replaced by another job's" if size is None else f"{size:,} bytes"
        say(f"removed {one.uri}: {was}")
    if not gone:
        say("nothing to remove" if not running else "nothing to remove; those of runs under way stay")


def _found(job: str | None, output: str | None) -> tuple[Broker, list[Output]]:
    """The broker, and the outputs that are asked for, newest first."""
    broker = open_broker()
    from sky_core.overview.outputs import outputs

    meant = None if job is None else job_called(broker, job).id
    found = [one for one in outputs(broker.store) if meant is None or one.job == meant]
    if output is not None:
        names = ", ".join(one.name for one in found)
        found = [one for one in found if one.name == output]
        if not found:
            raise SkyloomError(f"{job} has no output {output!r}", cure=f"it has {names or 'none'}")
    return broker, found


def _options(broker: Broker, url: str) -> Mapping[str, Mapping[str, Any]]:
    """What opens the bucket, by this host's own login."""
    from sky_core.clouds import connect
    from sky_core.facts import schemes

    scheme = url.partition("://")[0]
    owner = schemes().get(scheme)
    return {} if owner is None else {scheme: connect(owner.name, broker.settings).storage_options()}


def _show_files(broker: Broker, one: Output) -> None:
    from sky_core.remote.artifacts import resolve

    published = resolve(one.uri, _options(broker, one.uri))
    if published is None:
        raise SkyloomError(f"there is nothing at {one.uri} any more", cure="it was removed, or is being replaced")
    table = new_table()
    table.add_column("bytes", justify="right")
    table.add_column("file", overflow="fold")
    for name, size in sorted(published.files.items()):
        table.add_row(f"{size:,}", name)
    show(table)
