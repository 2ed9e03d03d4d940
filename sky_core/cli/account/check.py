"""``skyloom check``: whether the clouds can be used, what their accounts lack, and whether a job runs there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.terminal import agreed, complain, open_broker, say, show
from sky_core.errors import CloudError, SkyloomError, SpecError

if TYPE_CHECKING:
    from sky_core.config import Settings
    from sky_core.spec import Pipeline


def check(
    deep: Annotated[bool, typer.Option("--deep", help="Look at network, permissions, quotas; make nothing.")] = False,
    launch: Annotated[
        bool, typer.Option("--launch", help="Run the least that a job can be on each cloud: a few cents.")
    ] = False,
    region: Annotated[
        list[str] | None, typer.Option(help="With --deep or --launch: cloud/region, instead of the usual one.")
    ] = None,
    accelerator: Annotated[
        list[str] | None, typer.Option(help="With --launch: try a machine with it, too, such as T4.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --launch: do not ask before spending money.")] = False,
) -> None:
    """Say for each cloud whether it can be used, by making one authenticated call; then the store and the key."""
    from sky_core.clouds import connect
    from sky_core.clouds.credentials import why_unusable
    from sky_core.config import Settings

    if (accelerator or yes) and not launch:
        raise SpecError("--accelerator and --yes are for --launch", cure="add --launch")
    settings = Settings.load()
    places = _places(settings, region or [])
    usable, faults = [], 0
    for name, config in settings.clouds.items():
        why = why_unusable(name, config)
        if why is None:
            try:
                connect(name, settings).check()
                usable.append(name)
                faults += _check_reservations(name, settings)
                faults += _check_deep(name, settings, places[name]) if deep else 0
            except SkyloomError as error:
                why = str(error)
        say(f"{name}: {'usable' if why is None else why}")
    _check_key()
    if launch:
        tried = {name: places[name][0] for name in usable if places[name]}
        faults += 0 if _launch(tried, accelerator or [], ask=not yes) else 1
    raise typer.Exit(0 if usable and not faults else 1)


def _places(settings: Settings, regions: list[str]) -> dict[str, list[str]]:
    """The regions of each cloud that are meant."""
    from sky_core.facts import facts_of

    for place in regions:
        if place.partition("/")[0] not in settings.clouds or not place.partition("/")[2]:
            raise SpecError(f"--region {place}: no such place", cure=f"write e.g. {next(iter(settings.clouds))}/REGION")
    said = {name: [p.partition("/")[2] for p in regions if p.startswith(f"{name}/")] for name in settings.clouds}
    return {name: said[name] or [one for one in [facts_of(name).default_region] if one] for name in settings.clouds}


def _check_reservations(name: str, settings: Settings) -> int:
    """Say what catalog.toml has of reservations and the account does not; how many things."""
    from sky_core.cli.account.reservations import amiss_in, to_come_in

    try:
        found = list(amiss_in(name, settings))
    except CloudError as error:
        found = [f"what is reserved cannot be told: {error}"]
    for one in found:
        complain(f"{name}: {one}")
    for one in to_come_in(name, settings):
        say(f"{name}: {one}")
    return len(found)


def _check_deep(name: str, settings: Settings, regions: list[str]) -> int:
    """Say what the account lacks; how many things."""
    from sky_core.clouds import audit

    found = [f for region in regions for f in audit(name, settings, region)]
    for one in found:
        (say if one.ok else complain)(f"{name}: {one.about}: {one.says}")
    return sum(not one.ok for one in found)


def _check_key() -> None:
    """Say which key this home has, and which jobs wait for another one."""
    from sky_core.remote.keys import team_key
    from sky_core.store import Reach

    broker = open_broker()
    key = team_key(broker.settings)
    say(f"team key: {key.id}")
    for job in broker.store.left_alone(Reach(broker.settings.profile, key.id)):
        complain(f"{job.id} waits for a driver with the team key {job.key_id}", "yellow")


def _launch(places: Mapping[str, str], accelerators: list[str], *, ask: bool) -> bool:
    """Run the trial of each cloud in one run; whether all of it held, and nothing is left."""
    import secrets

    from sky_core.broker.runner import new_key
    from sky_core.cli.account.trial import feasible, still_there, trial, unread
    from sky_core.cli.runs.watching import watch_run
    from sky_core.planner.view.table import plan_view
    from sky_core.planner.view.words import money

    broker, token = open_broker(), secrets.token_hex(8)
    found = [feasible(broker, one) for one in trial(places, accelerators, token)]
    for refusal in (error for _, refused in found for error in refused):
        complain(f"not tried: {refusal}", "yellow")
    whole = _together([one for one, _ in found if one is not None])
    if whole is None:
        complain("nothing can be launched")
        return False
    plan = broker.preview(whole, None)
    show(plan_view(plan))
    if ask and broker.settings.profile != "sandbox" and not agreed(f"Launch, for about {money(plan.cost_usd)}?"):
        return False
    key = new_key(whole.name)
    succeeded = watch_run(broker, key, whole)
    jobs = broker.store.jobs(plan_key=key)
    faults, left = unread(broker, jobs, token), still_there(broker, jobs)
    for fault in (*faults, *left):
        complain(fault)
    if succeeded and not faults:
        say("the buckets give here what the machines have written")
    if not left:
        say("no machine is left")
    return succeeded and not faults and not left


def _together(pipelines: list[Pipeline]) -> Pipeline | None:
    """One pipeline of all; None of none."""
    from sky_core.spec import Pipeline

    tasks = tuple(task for pipeline in pipelines for task in pipeline.tasks)
    return Pipeline(name="check", tasks=tasks) if tasks else None
