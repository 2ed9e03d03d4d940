"""A job that nobody waits for: its engine is asked, and in the end it is ended, since it is money spent for nobody.

waited for ── nobody has said so for interest_ttl_s ── ask the engine ── yes: go on
                                                           ├── no: last checkpoint, cancelled
                                                           └── no answer: go on for unwanted_ttl_s, with a warning
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sky_core.broker.interest import TO_THE_END
from sky_core.driver.asking import Answer, How, ask
from sky_core.job.memory import Dismissed
from sky_core.store import Interest

if TYPE_CHECKING:
    from sky_core.driver.step import Step

LOOK_S = 15.0  # between two looks at a job's interest
FAREWELL_S = 180.0  # for the last checkpoint of a job that is to be cancelled


class Inquiries:
    """Questions to engines and their answers: one process at a time asks all that have come up meanwhile."""

    def __init__(self, ask: Callable[[Sequence[How]], list[Answer]] = ask) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._looked: dict[str, float] = {}
        self._open: dict[str, How] = {}
        self._answers: dict[str, tuple[float, Answer]] = {}
        self._asking: Mapping[str, How] | None = None  # what is being asked; None while no thread does so

    def due(self, job_id: str, every_s: float) -> bool:
        """Whether a job has not been looked at for that long; it has been, then."""
        now = time.monotonic()
        with self._lock:
            if now - self._looked.get(job_id, float("-inf")) < every_s:
                return False
            self._looked[job_id] = now
            return True

    def answer(self, how: How, fresh_s: float) -> tuple[bool, Answer]:
        """Whether there is an answer not older than ``fresh_s`` seconds, and which. If not, it is asked for."""
        question = json.dumps(how, sort_keys=True)
        with self._lock:
            at, answer = self._answers.get(question, (float("-inf"), None))
            if time.monotonic() - at <= fresh_s:
                return True, answer
            if question not in (self._asking or {}):
                self._open[question] = how
            if self._asking is None:
                self._asking = {}
                threading.Thread(target=self._work, name="sky-asking", daemon=True).start()
            return False, None

    def _work(self) -> None:
        while True:
            with self._lock:
                batch, self._open = self._open, {}
                self._asking = batch or None
            if not batch:
                return
            answers = self._ask(list(batch.values()))
            with self._lock:
                now = time.monotonic()
                self._answers |= {question: (now, said) for question, said in zip(batch, answers, strict=True)}


def look(step: Step) -> None:
    """See every so often whether the job is still wanted, and turn it towards its end if not."""
    settings = step.driving.settings
    if step.memory.dismissed is not None:
        _bid_farewell(step, step.memory.dismissed)
    elif step.driving.inquiries.due(step.job.id, min(LOOK_S, settings.interest_ttl_s / 4)):
        _look(step)


def _look(step: Step) -> None:
    settings, store, job = step.driving.settings, step.driving.store, step.job
    interests = store.interest_of(job.id)
    if any(interest.how.get(TO_THE_END) for interest in interests):
        return
    silent_s = store.now() - max([interest.seen_at for interest in interests], default=job.created_at)
    if silent_s < settings.interest_ttl_s:
        if step.memory.unwanted:
            step.save(unwanted=False)
        return
    asked, answer = _asked(step, interests)
    if not asked or answer:
        return
    ttl = settings.unwanted_ttl_s
    if answer is False:
        _dismiss(step, "its engine does not want it any more")
    elif ttl and silent_s > ttl:
        _dismiss(step, f"nobody has waited for it for {silent_s / 3600:.1f} h")
    elif not step.memory.unwanted:
        about = {"silent_s": silent_s, "ends_in_s": ttl - silent_s if ttl else None}
        step.save(unwanted=True, events=[("unwanted", about)])


def _asked(step: Step, interests: Sequence[Interest]) -> tuple[bool, Answer]:
    """Whether everybody who can be asked has been, and what it comes to: one yes is a yes, one silence no "no"."""
    fresh_s = max(step.driving.settings.interest_ttl_s, LOOK_S)
    said = [step.driving.inquiries.answer(i.how, fresh_s) for i in interests if "engine" in i.how]
    answers = [answer for _, answer in said]
    if any(answers):
        return True, True
    return all(known for known, _ in said), (None if not answers or None in answers else False)


def _dismiss(step: Step, why: str) -> None:
    """Begin to end the job: a command that keeps checkpoints is stopped as for a move, any other at once."""
    saves = step.memory.phase == "running" and step.task.checkpoint is not None and step.successor is None
    dismissed = Dismissed(why=why, until=step.driving.store.now() + (FAREWELL_S if saves else 0.0))
    step.save(dismissed=dismissed, leaving=saves, events=[("dismissed", {"why": why})])
    _bid_farewell(step, dismissed)


def _bid_farewell(step: Step, dismissed: Dismissed) -> None:
    """Let the last checkpoint be taken while there is time for it, then cancel."""
    memory, store = step.memory, step.driving.store
    saving = memory.leaving and step.cluster is not None
    if not saving or store.now() > dismissed.until:
        store.request_cancel(step.job.id, dismissed.why)
        step.job = store.job(step.job.id)
