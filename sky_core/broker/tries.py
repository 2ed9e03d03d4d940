"""The jobs of an engine's tries of one piece of work: their keys are numbered below a stem."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from sky_core.events import CancelRequested
from sky_core.store import Job, Store


def resumable_key(store: Store, stem: str) -> str:
    """The key of the present try below ``stem``: that of its running or finished job, else a fresh one.

    An engine's process that was killed and comes again finds its job by this. A job that failed, was cancelled or is
    about to be is not found again: retries mean to try anew.
    """
    return next(
        key
        for key, found in _tries(store, stem)
        if found is None or found.state == "succeeded" or not (found.over or found.cancel_reason)
    )


def called_off(store: Store, stem: str) -> Job | None:
    """The job below ``stem`` that a person, and not a try of the engine, has asked to end, if there is one."""
    return next(found for _, found in _tries(store, stem) if found is None or _by_hand(store, found))


def _tries(store: Store, stem: str) -> Iterator[tuple[str, Job | None]]:
    for number in itertools.count():
        yield (key := f"{stem}/{number}"), store.find_job(key)


def _by_hand(store: Store, job: Job) -> bool:
    asked = (event.what for event in store.events(job.id)) if job.cancel_reason else ()
    return any(isinstance(what, CancelRequested) and what.owner is None for what in asked)
