"""A job's events in plain words, the same in every log: CLI, Airflow, Prefect."""

from __future__ import annotations

from sky_core.store import Event


def describe(event: Event) -> str:
    """One line for an event, without time and task."""
    what = event.what
    return what.words() if what else f"{event.kind} {dict(event.data)}"
