"""A job's mounts: brought and put in place before it begins, written back as it goes on and when it ends."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..background import Background
from ..job import Job, Place
from ..state import State
from .courier import Patience, TransferFailed

LEAST_INTERVAL_S = 20.0  # between two write-backs…
SHARE = 0.05  # …which take at most this share of the time


class Mounts:
    """Keeps one job's mounts. Each node of a gang writes back what it has written itself.

    Args:
        say: Writes a line to the job's log.
    """

    def __init__(self, job: Job, place: Place, state: State, patience: Patience, say: Callable[[str], None]) -> None:
        self._job, self._place, self._state, self._patience, self._say = job, place, state, patience, say
        self._known: dict[str, Mapping[str, Any]] = {}  # by path, as all of these
        self._folders: dict[str, Path] = {}
        self._urls = {mount["path"]: mount["url"] for mount in job.mounts}
        self._warned: set[str] = set()
        self._background = Background("mounts", self._sync)

    def bring(self, put: Callable[..., None]) -> None:
        """Put everything where it belongs, by a function like :func:`.placing.put`.

        Raises:
            TransferFailed: if a bucket cannot be read.
            Unplaced: if a path cannot be had.
        """
        for number, mount in enumerate(self._job.mounts):
            put(mount["path"], self._content(number, mount), self._place.work, merge=not mount["write_back"])
        if self._folders:
            self._send_all()  # what came from the submitter's own disk is in the bucket before the job begins

    def _content(self, number: int, mount: Mapping[str, Any]) -> Path:
        """What is to lie at a mount's path."""
        local = None if mount["file"] is None else self._place.files / str(mount["file"])
        if mount["url"] is None:
            assert local is not None
            return local
        about = {"url": mount["url"], "folder": str(self._place.mount(number))}
        complaint = f"file_mounts.{mount['path']}: not brought"
        if not mount["write_back"]:
            found = self._patience.ask(complaint, "fetch", about)
        else:
            found = self._patience.ask(complaint, "bring", about)
        self._state.moved("inputs", mount["path"], found["bytes"])
        content = Path(found["path"])
        if mount["write_back"] and content.is_dir():
            self._folders[mount["path"]], self._known[mount["path"]] = content, found["known"]
            if local is not None:
                _join(local, content, over=self._job.attempt == 1)
        return content

    def begin(self) -> None:
        """The command starts now."""
        if self._folders:
            self._background.begin(LEAST_INTERVAL_S)

    def tick(self) -> None:
        """Start a write-back in the background if one is due."""
        self._background.tick()

    def _sync(self) -> float:
        began = time.monotonic()
        try:
            self._send_all()
        except (TransferFailed, OSError) as error:
            self._say(f"mounts not written back, will try again: {error}")
        return max(LEAST_INTERVAL_S, (time.monotonic() - began) / SHARE)

    def last(self) -> None:
        """Write back what is left, after the command has ended.

        Raises:
            TransferFailed: if that cannot be done in time.
        """
        self._background.close()
        for path in self._folders:
            said = f"file_mounts.{path}: not written back"
            self._send(path, partial(self._patience.ask, said, "send back", whatever=True))

    def rescue(self) -> None:
        """The same for a job that has been stopped: once, and what goes wrong is only told."""
        try:
            self._background.close()
            self._send_all()
        except (TransferFailed, OSError) as error:
            self._say(f"mounts not written back: {error}")

    def _send_all(self) -> None:
        for path in self._folders:
            self._send(path, lambda about: self._patience.courier.ask("send back", **about))

    def _send(self, path: str, ask: Callable[[Mapping[str, Any]], Any]) -> None:
        sent = ask({"url": self._urls[path], "folder": str(self._folders[path]), "known": self._known[path]})
        self._known[path] = sent["known"]
        for warning in sent["warnings"]:
            if warning not in self._warned:
                self._warned.add(warning)
                self._say(f"file_mounts.{path}: {warning}")


def _join(source: Path, folder: Path, *, over: bool) -> None:
    """Copy a file or a folder's content into ``folder``; over what is there only if ``over``."""
    if not source.is_dir():
        if over or not (folder / source.name).exists():
            shutil.copy2(source, folder / source.name)
        return
    for parent, folders, names in os.walk(source):
        here = folder / os.path.relpath(parent, source)
        here.mkdir(parents=True, exist_ok=True)
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in [*names, *links]:
            if over or not (here / name).exists():
                shutil.copy2(os.path.join(parent, name), here / name, follow_symlinks=name not in links)
