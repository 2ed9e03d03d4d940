"""A job that nobody waits for: its engine is asked, and in the end it is ended, since it is money spent for nobody.

waited for ── nobody has said so for interest_ttl_s ── ask the engine ── yes: go on
                                                           ├── no: last checkpoint, cancelled
                                                           └── no answer: go on for unwanted_ttl_s, with a warning

One that is of use to its waiter alone, a cluster, is ended without asking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sky_core import events
from sky_core.broker.interest import TO_THE_END, UNTIL_SILENT
from sky_core.driver.asking import Answer
from sky_core.job.memory import Dismissed
from sky_core.job.outcome import Outcome
from sky_core.store import Interest

if TYPE_CHECKING:
    from sky_core.driver.step import Step

LOOK_S = 15.0  # between two looks at a job's interest
FAREWELL_S = 180.0  # for the last checkpoint of a job that is to be cancelled


def look(step: Step) -> Outcome | None:
    """See every so often whether the job is still wanted, and turn it towards its end if not."""
    settings = step.driving.settings
    if step.memory.dismissed is not None:
        _bid_farewell(step, step.memory.dismissed)
    elif step.driving.inquiries.due(step.job.id, min(LOOK_S, settings.interest_ttl_s / 4)):
        return _look(step)
    return None


def _look(step: Step) -> Outcome | None:
    settings, store, job = step.driving.settings, step.driving.store, step.job
    interests = store.interest_of(job.id)
    if any(interest.how.get(TO_THE_END) for interest in interests):
        return None
    silent_s = store.now() - max([interest.seen_at for interest in interests], default=job.created_at)
    if silent_s < settings.interest_ttl_s:
        return step.comes_to(unwanted=False)
    if any(i.how.get(UNTIL_SILENT) for i in interests) and not any("engine" in i.how for i in interests):
        return _dismissed(step, f"who used it has said nothing for {silent_s:.0f} s")
    asked, answer = _asked(step, interests)
    if not asked or answer:
        return None
    ttl = settings.unwanted_ttl_s
    if answer is False:
        return _dismissed(step, "its engine does not want it any more")
    if ttl and silent_s > ttl:
        return _dismissed(step, f"nobody has waited for it for {silent_s / 3600:.1f} h")
    if step.memory.unwanted:
        return None
    told = events.Unwanted(silent_s=silent_s, ends_in_s=ttl - silent_s if ttl else None)
    return step.comes_to(unwanted=True, events=[told])


def _asked(step: Step, interests: Sequence[Interest]) -> tuple[bool, Answer]:
    """Whether everybody who can be asked has been, and what it comes to: one yes is a yes, one silence no "no"."""
    fresh_s = max(step.driving.settings.interest_ttl_s, LOOK_S)
    said = [step.driving.inquiries.answer(i.how, fresh_s) for i in interests if "engine" in i.how]
    answers = [answer for _, answer in said]
    if any(answers):
        return True, True
    return all(known for known, _ in said), (None if not answers or None in answers else False)


def _dismissed(step: Step, why: str) -> Outcome:
    """The beginning of the job's end: a command that keeps checkpoints is stopped as for a move, any other at once."""
    saves = step.memory.phase == "running" and step.task.checkpoint is not None and step.successor is None
    dismissed = Dismissed(why=why, until=step.driving.store.now() + (FAREWELL_S if saves else 0.0))
    return step.comes_to(dismissed=dismissed, leaving=saves, events=[events.Dismissed(why=why)])


def _bid_farewell(step: Step, dismissed: Dismissed) -> None:
    """Let the last checkpoint be taken while there is time for it, then ask for the job's end, as others do."""
    memory, store = step.memory, step.driving.store
    saving = memory.leaving and step.cluster is not None
    if not saving or store.now() > dismissed.until:
        store.request_cancel(step.job.id, dismissed.why, step.job.owner)
