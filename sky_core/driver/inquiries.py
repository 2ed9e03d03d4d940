"""What engines were asked of their jobs, and what they said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from sky_core.driver.asking import Answer, How, ask


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
