"""When a checkpoint is taken, and that it is one the job meant to write.

A generation is taken from a copy, and only if no process of the job had a file of the checkpoint open for writing
and nothing changed while it was copied. Files ending in ``.tmp`` are passed over: write to such a name and rename.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable

from ..background import Background
from ..job import Job, Place
from ..state import State
from . import trees
from .courier import Patience, TransferFailed

AGAIN_S = 1.0  # until the next look after one that found the job writing
LEAST_INTERVAL_S = 15.0  # where the driver leaves the interval to us…
SHARE = 0.05  # …syncing takes at most this share of the time
TROUBLE = (TransferFailed, OSError)  # a full disk, say: it may pass, and the job need not know


class Checkpoints:
    """Keeps one job's checkpoints in the store.

    Args:
        writing: Tells whether the job has a file of the checkpoint open for writing.
        say: Writes a line to the job's log.
    """

    def __init__(
        self,
        job: Job,
        place: Place,
        state: State,
        patience: Patience,
        writing: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self._job, self._place, self._state, self._patience = job, place, state, patience
        self._writing, self._say = writing, say
        self._number = 0
        self._saved: trees.Signature = {}
        self._warned: set[str] = set()
        self._background = Background("checkpoints", self._sync)

    @property
    def _keeps(self) -> bool:
        """Rank 0 keeps a gang's checkpoints; generations of several nodes under one name would mix."""
        return self._job.checkpoint_url is not None and self._job.rank == 0

    def restore(self) -> None:
        """Bring the newest whole generation into place; start without if there is none.

        Raises:
            TransferFailed: if the store cannot be read: better no start than one from the beginning.
        """
        self._place.checkpoint.mkdir(parents=True, exist_ok=True)
        urls = [url for url in (self._job.checkpoint_url, *self._job.restore_urls) if url]
        if not urls:
            return
        about = {"folder": str(self._place.checkpoint), "urls": urls}
        found = self._patience.ask("checkpoint not restored", "restore", about)
        for reason in found["skipped"]:
            self._say(f"checkpoint skipped: {reason}")
        if found["number"] is None:
            return
        self._number = found["number"]
        self._saved = trees.signature(self._place.checkpoint)
        self._state.change(
            restored_generation=found["number"], restored_bytes=found["bytes"], checkpoint_generation=found["number"]
        )
        self._say(f"restored checkpoint generation {found['number']}, {found['bytes']:,} bytes")

    def begin(self) -> None:
        """The command starts now: the first checkpoint is due one interval later."""
        if self._keeps:
            self._background.begin(self._interval(0.0))

    def _interval(self, took_s: float) -> float:
        return self._job.checkpoint_interval_s or max(LEAST_INTERVAL_S, took_s / SHARE)

    def tick(self) -> None:
        """Start a sync in the background if one is due."""
        self._background.tick()

    def _sync(self) -> float:
        began = time.monotonic()
        try:
            saved = self._save()
        except TROUBLE as error:
            self._say(f"checkpoint not saved, will try again: {_words(error)}")
            saved = True  # an interval later
        finally:
            self._make_room()
        took = time.monotonic() - began
        interval = self._interval(took)
        # From one look to the next: saving goes on beside the job, which must not lose the time it takes as well.
        return max(interval - took, 0.0) if saved else min(AGAIN_S, interval)

    def last(self) -> bool:
        """Take a last checkpoint, after the job has been stopped. True if the store now has the newest state."""
        if not self._keeps:
            return False
        self._background.wait()
        try:
            saved = self._save()
        except TROUBLE as error:
            self._say(f"last checkpoint not saved: {_words(error)}")
            return False
        finally:
            self._make_room()
        if saved and self._number:
            self._state.change(last_checkpoint=True)
            self._say(f"the last checkpoint is generation {self._number}")
        return saved

    def close(self) -> None:
        """Wait for a sync under way."""
        self._background.close()

    def _save(self) -> bool:
        """Save the checkpoint unless the store has it. False if the job is writing it just now."""
        folder = self._place.checkpoint
        before = trees.signature(folder)
        if before == self._saved or not before:
            return True
        if self._writing():
            return False
        try:
            trees.copy(folder, self._place.staging)
        except FileNotFoundError:  # removed meanwhile
            return False
        except shutil.Error:
            if trees.signature(folder) != before:  # so were some of its files
                return False
            raise
        if self._writing() or trees.signature(folder) != before:
            return False
        self._number += 1
        began = time.monotonic()
        saved = self._patience.courier.ask(
            "save",
            folder=str(self._place.staging),
            url=self._job.checkpoint_url,
            attempt=self._job.attempt,
            number=self._number,
            keep=self._job.checkpoint_keep,
        )
        self._saved = before
        took = time.monotonic() - began
        self._state.change(checkpoint_generation=self._number, checkpoint_bytes=saved["bytes"], checkpoint_seconds=took)
        self._warn(saved["warnings"])
        return True

    def _make_room(self) -> None:
        """Remove the copy, whole or not: where there was no room for it, the job wants what it took."""
        shutil.rmtree(self._place.staging, ignore_errors=True)

    def _warn(self, warnings: Iterable[str]) -> None:
        """Say what of the checkpoint does not travel as it is, once."""
        for warning in warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self._say(f"checkpoint: {warning}")


def _words(error: Exception) -> str:
    """An error in a line; :class:`shutil.Error` holds one for each file."""
    if isinstance(error, shutil.Error):
        first = error.args[0][0]
        return f"{first[2]}: {first[0]}"
    return str(error)
