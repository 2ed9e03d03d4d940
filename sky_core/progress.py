"""How far a task's command is, for whoever pays for its machines: see ``$SKY_PROGRESS_FILE``.

    >>> from sky_core.progress import report
    >>> for epoch in range(100):                                     # doctest: +SKIP
    ...     model.partial_fit(images, labels)
    ...     report(epoch + 1, of=100)

Standard library only, and it comes to every machine with the agent. Where no agent runs, a report does nothing. Without
Python: ``echo "12 100" > $SKY_PROGRESS_FILE``.
"""

from __future__ import annotations

import os


def report(done: float, of: float | None = None) -> None:
    """Say how much of the work is done, in any unit that takes equal time, and of how much, if that is known.

    Only what rank 0 says counts. It may be said as often as one likes.
    """
    path = os.environ.get("SKY_PROGRESS_FILE")
    if not path:
        return
    new = f"{path}.{os.getpid()}.new"
    with open(new, "w") as file:
        file.write(f"{done} {of}" if of is not None else f"{done}")
    os.replace(new, path)
