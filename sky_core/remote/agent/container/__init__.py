"""Container images on the machine: pulled and unpacked, entered, or given to Docker or Podman where these work."""

from __future__ import annotations

from ..job import Job, Place
from .room import Room, Say


def choose(job: Job, place: Place, program: str, say: Say) -> Room:
    """The room that a job's commands run in, ready for them.

    Raises:
        NoRoom: if its image cannot be had or run here; the message has the cure.
    """
    if job.container is None:
        return Room()
    from . import choosing  # a third of all that an agent imports, for the few jobs with an image

    return choosing.choose(job, job.container, place, program, say)
