"""All commands of ``skyloom``, and those that look after machines, keys and clouds."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sky_core import __version__
from sky_core.cli import catalog, first, pipelines, plan, sandbox, taskfiles
from sky_core.cli.account import check, reservations
from sky_core.cli.records import artifacts, clusters, cost, entering, following, jobs, spot, top, ui
from sky_core.cli.runs import again
from sky_core.cli.terminal import complain, open_broker, say, write
from sky_core.cli.terminal.spinner import spinner
from sky_core.errors import SkyloomError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help as text: it folds at any width, and is there before rich could be imported
    context_settings={"help_option_names": ["-h", "--help"]},
    help="An intercloud broker for pipelines.",
)
app.command()(first.init)
app.command()(first.doctor)
app.command()(check.check)
app.command()(plan.plan)
app.command()(pipelines.run)
app.command()(again.attach)
app.command()(again.retry)
app.command("import")(taskfiles.import_file)
app.command()(jobs.jobs)
app.command()(top.top)
app.command()(following.logs)
app.command()(following.cancel)
app.command()(clusters.clusters)
app.command()(clusters.down)
app.command()(entering.ssh)
app.command("exec", context_settings={"allow_interspersed_args": False})(entering.execute)
app.command("open")(entering.open_page)
app.command()(cost.cost)
app.command()(ui.ui)
app.add_typer(artifacts.app, name="artifacts")
catalog.app.command()(reservations.reservations)
app.add_typer(catalog.app, name="catalog")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(spot.app, name="spot")


def _print_version(asked: bool) -> None:
    if asked:
        write(f"{__version__}\n")
        raise typer.Exit


def run() -> None:
    """Run the command line; a user's error is one line on stderr, not a traceback."""
    try:
        app()
    except (SkyloomError, OSError) as error:  # the latter: a full disk, a file that may not be written
        complain(f"error: {error}")
        sys.exit(1)
    finally:
        spinner.stop()


@app.callback()
def skyloom(
    version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """An intercloud broker for pipelines."""


@app.command()
def version() -> None:
    """Print the version."""
    write(f"{__version__}\n")


@app.command()
def driver() -> None:
    """Be this host's driver until stopped: the service that goes on with jobs whatever host submitted them."""
    from sky_core.driver.process import serve

    serve()


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list.")] = False,
) -> None:
    """End machines of ours that belong to no live job, and list what else is ours. Asks the clouds, not our records.

    Packed folders and calls of jobs that are long over leave the store."""
    broker = open_broker()
    from sky_core.clouds.base import TAG_JOB
    from sky_core.driver.leftovers import leftovers
    from sky_core.driver.step import Clouds
    from sky_core.driver.sweep import collect
    from sky_core.driver.warm.keeper import note_gone
    from sky_core.job.forgetting import forget

    found = collect(broker.settings, broker.store, terminate=not dry_run)
    for instance in found.orphans:
        say(f"{'found' if dry_run else 'terminated'} {instance.cloud} {instance.id} ({instance.instance_type})")
    for instance in found.undriven:
        job = instance.tags.get(TAG_JOB, "")
        say(f"nobody drives {job} on {instance.cloud} {instance.id}: skyloom logs -f {job} lets it go on")
    for instance, name in found.kept:
        say(f"kept as {name}: {instance.cloud} {instance.id} (skyloom clusters tells until when)")
    for cluster in note_gone(Clouds(broker.settings), broker.store, broker.settings):
        say(f"kept as {cluster.kept_as}, now on record: {', '.join(cluster.instance_ids)} ended when its time was over")
    other = leftovers(broker.settings, broker.store, remove=not dry_run)
    for thing in other.things:
        kept = ", kept: it holds data" if thing.holds_data else ", kept: others use it too" if thing.shared else ""
        say(f"{'found' if dry_run or kept else 'removed'} {thing.cloud} {thing.kind} {thing.id}{kept}")
    unreachable = {**found.unreachable, **other.unreachable}
    for cloud, why in unreachable.items():
        complain(f"{cloud} could not be asked: {why}", "yellow")
    say(f"{len(found.orphans)} orphans, {len(found.in_use)} machines in use")
    forgotten = 0 if dry_run else forget(broker.store, broker.settings.forget_after_days)
    if forgotten:
        say(f"{forgotten} packed folders and calls of jobs long over are gone from the store")
    raise typer.Exit(1 if unreachable else 0)
