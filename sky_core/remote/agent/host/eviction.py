"""The cloud's word that it will take the machine back. Blocking, one thread's work."""

from __future__ import annotations

import time

from .belonging import answerless, module_of

UNANSWERED_S = 10.0  # between looks at a service that does not answer


def watch(cloud: str) -> float:
    """Block until the cloud announces the machine's end; return when that will be, seconds since the epoch."""
    module = module_of(cloud)
    while module is None:  # a machine of the user's own: nobody takes it back
        time.sleep(3600)
    while True:
        try:
            for at in module.notices():
                if at is not None:
                    return at
        except answerless():
            time.sleep(UNANSWERED_S)
