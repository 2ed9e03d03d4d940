"""Checkpoints of a training loop, in ``$SKY_CHECKPOINT_DIR``: whole or not there, at intervals that cost little.

    >>> from sky_core.checkpoint import Checkpoints
    >>> kept = Checkpoints(keep=3)                                   # doctest: +SKIP
    >>> epoch, model = kept.load(default=(0, new_model()))           # doctest: +SKIP
    >>> while epoch < 100 and not kept.evicted:                      # doctest: +SKIP
    ...     model.partial_fit(images, labels)
    ...     epoch += 1
    ...     if kept.due():
    ...         kept.save((epoch, model))

Standard library only, and it comes to every machine with the agent: nothing has to be installed there. What writes
files of its own (PyTorch, Keras, a trainer) does so in the folder of :meth:`Checkpoints.writing`.

A generation is a folder. It is written under a name that ends in ``.tmp``, with a list of its files' sizes and
checksums, flushed to the disk and renamed, so that neither a kill at any moment nor the agent's copying finds half of
one. The agent brings it to the bucket, and back to the next machine.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import shutil
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WHOLE = "whole.json"
VALUE = "value.pickle"
FIRST_S = 60.0  # until the first one is due, whose cost is not known yet
PIECE = 1 << 20


class Checkpoints:
    """The generations of one state.

    Args:
        folder: Where they lie; None: ``$SKY_CHECKPOINT_DIR``, or ``checkpoints`` where no agent runs.
        name: Of the state; several may lie in one folder.
        keep: How many of the last generations are kept.
        failure_hours: Mean time between two losses of the machine, as far as known.
        stall: Share of the time that saving may take at most.
        rank: Who writes is 0; for the others saving does nothing. None: that is the first process of the first machine,
            whose folder is kept; without an agent ``$RANK`` says who is first.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        name: str = "state",
        keep: int = 2,
        failure_hours: float = 3.0,
        stall: float = 0.01,
        rank: int | None = None,
    ) -> None:
        environ = os.environ
        self.folder = Path(folder if folder is not None else environ.get("SKY_CHECKPOINT_DIR", "checkpoints"))
        self._name, self._keep = name, max(1, keep)
        self._failures_s, self._stall = failure_hours * 3600, stall
        own = "LOCAL_RANK" if "SKY_NODE_RANK" in environ else "RANK"  # elastic launchers number machines as they come
        self._rank = rank if rank is not None else max(int(environ.get(name) or 0) for name in (own, "SKY_NODE_RANK"))
        self._notice = environ.get("SKY_EVICTION_FILE")
        self._saved_at, self._took_s = time.monotonic(), 0.0
        self._last_words = False  # whether one was saved since the notice

    @property
    def evicted(self) -> bool:
        """Whether the cloud has announced that it takes the machine back: save once more, and end."""
        return self._notice is not None and os.path.exists(self._notice)

    def due(self) -> bool:
        """Whether the next one should be saved now."""
        if self.evicted:
            return not self._last_words
        interval_s = interval(self._took_s, self._failures_s, self._stall) if self._took_s else FIRST_S
        return time.monotonic() - self._saved_at >= interval_s

    def save(self, value: Any) -> None:
        """Save a value that can be pickled."""
        if self._rank == 0:
            with self.writing() as folder, (folder / VALUE).open("wb") as file:
                pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)

    def load(self, default: Any = None) -> Any:
        """The newest whole value, or the default. One that is damaged is skipped, with a warning."""
        found = self.latest()
        if found is None:
            return default
        with (found / VALUE).open("rb") as file:
            return pickle.load(file)  # noqa: S301 - our own, of an earlier attempt

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """A new generation's folder to write files into; it counts once the block has ended without an error."""
        evicted, began = self.evicted, time.monotonic()
        if self._rank != 0:
            with tempfile.TemporaryDirectory() as scratch:
                yield Path(scratch)
        else:
            numbers = self._numbers()
            final = self.folder / f"{self._name}-{(numbers[-1] if numbers else 0) + 1:08d}"
            new = final.with_name(f"{final.name}.tmp")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            try:
                yield new
                _seal(new)
                new.rename(final)
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)
                raise
            _flush(self.folder)
            self._tidy()
        self._saved_at, self._last_words = time.monotonic(), evicted
        self._took_s = self._saved_at - began

    def latest(self) -> Path | None:
        """The folder of the newest whole generation, or None. Damaged ones are skipped, with a warning."""
        for number in reversed(self._numbers()):
            found = self.folder / f"{self._name}-{number:08d}"
            damage = _damage(found)
            if not damage:
                return found
            warnings.warn(f"checkpoint {found.name} is skipped: {damage}", stacklevel=2)
        return None

    def _numbers(self) -> list[int]:
        with contextlib.suppress(FileNotFoundError):
            names = (path.name.rpartition("-") for path in self.folder.iterdir())
            return sorted(int(number) for name, _, number in names if name == self._name and number.isdigit())
        return []

    def _tidy(self) -> None:
        for number in self._numbers()[: -self._keep]:
            shutil.rmtree(self.folder / f"{self._name}-{number:08d}", ignore_errors=True)


def interval(took_s: float, failures_s: float, stall: float) -> float:
    """Seconds between two checkpoints that take ``took_s`` each, where the machine is lost every ``failures_s``.

    Daly's approximation of the best (A higher order estimate of the optimum checkpoint interval for restart dumps,
    2006, equation 37), which begins with Young's of 1974, the root of 2 * took * failures; and no more often than
    ``stall`` allows.
    """
    if took_s >= 2 * failures_s:
        best = failures_s
    else:
        part = took_s / (2 * failures_s)
        best = math.sqrt(2 * took_s * failures_s) * (1 + math.sqrt(part) / 3 + part / 9) - took_s
    return max(best, took_s / stall)


def _seal(folder: Path) -> None:
    """Write down what files there are, and see that all of it is on the disk."""
    files = {str(path.relative_to(folder)): _sum(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    (folder / WHOLE).write_text(json.dumps(files))
    for path in [*(folder / name for name in files), folder / WHOLE, folder]:
        _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damage(folder: Path) -> str:
    """What is wrong with a generation, or ""."""
    try:
        files = json.loads((folder / WHOLE).read_text())
        wrong = [name for name, about in files.items() if _sum(folder / name) != about]
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    return f"{wrong[0]} is not what was written" if wrong else ""


def _sum(path: Path) -> list[int]:
    """Size and CRC-32 of a file: against torn and rotten files, not against forgers."""
    size = crc = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            size, crc = size + len(piece), zlib.crc32(piece, crc)
    return [size, crc]
