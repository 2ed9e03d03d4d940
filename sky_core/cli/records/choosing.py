"""Which jobs a command is about: options that choose them, and the names by which one is called."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.errors import SkyloomError, SpecError

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.store import Choice, Job

MOST_NAMED = 5  # jobs in an error that asks which of them is meant

StateOption = Annotated[
    list[str] | None, typer.Option("--state", help="Only in this state, or live, or over. Repeat it for more.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Submitted since: 2h, 7d, or a day (UTC) as 2026-11-26.")
]
NameOption = Annotated[str, typer.Option("--name", help="Only where the task's or the run's name has this in it.")]
RunOption = Annotated[str | None, typer.Option("--run", help="Only of the run of this key.")]
JobArgument = Annotated[str, typer.Argument(help="A job's id or its beginning, its task, or RUN/TASK.")]


def choice_of(state: list[str] | None, since: str | None, name: str, run: str | None) -> Choice:
    """What the options choose.

    Raises:
        SpecError: for a state that there is not, or a time that is none.
    """
    from sky_core.store import Choice

    states = tuple(one for said in state or [] for one in _states(said))
    return Choice(states, None if since is None else moment(since, "--since"), name, () if run is None else (run,))


def _states(said: str) -> list[str]:
    from sky_core.store.records import LIVE, STATES, TERMINAL

    groups: dict[str, list[str]] = {"live": list(LIVE), "over": [one for one in STATES if one in TERMINAL]}
    groups |= {one: [one] for one in STATES}
    if said not in groups:
        from sky_core.spec import did_you_mean

        cure = did_you_mean(said, groups) or f"there are {', '.join(groups)}"
        raise SpecError(f"--state: no job is ever {said!r}", cure=cure)
    return groups[said]


def moment(said: str, option: str) -> float:
    """Seconds since the epoch of ``2h`` (ago), or of a day's beginning or a time, in UTC unless it says its offset.

    Raises:
        SpecError: if it is neither.
    """
    from sky_core.measures.durations import parse_hours

    try:
        at = datetime.fromisoformat(said)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - parse_hours(said) * 3600
    except ValueError:
        raise SpecError(f"{option}: {said!r} is no time", cure="write 2h, 7d, or a day as 2026-11-26") from None


def job_called(broker: Broker, said: str, *, live: bool = False) -> Job:
    """The job that is meant; with ``live``, of several the one that is not over.

    Raises:
        SkyloomError: if none is, or more than one.
    """
    found = broker.store.called(said, MOST_NAMED + 1)
    if not found:
        raise _no_job(broker, said)
    if live and len(found) > 1:
        found = [job for job in found if not job.over] or found
    if len(found) > 1:
        more = "" if len(found) <= MOST_NAMED else ", and others"
        names = ", ".join(f"{job.id} ({job.task} of {job.plan_key})" for job in found[:MOST_NAMED])
        raise SkyloomError(f"{said!r} may be {names}{more}", cure="name one by its id, or as RUN/TASK")
    return broker.job(found[0].id)


def _no_job(broker: Broker, said: str) -> SkyloomError:
    keepers = [cluster.job_id for cluster in broker.store.kept() if cluster.kept_as == said]
    if not keepers:
        return SkyloomError(f"there is no job {said!r}", cure="skyloom jobs lists them")
    return SkyloomError(
        f"there is no job {said!r}: machines are kept under that name, of {', '.join(keepers)}",
        cure=f"skyloom ssh {keepers[-1]} gets on to them, skyloom run --cluster {said} uses them, "
        f"skyloom down {said} ends them",
    )
