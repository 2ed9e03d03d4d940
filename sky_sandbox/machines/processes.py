"""Ending whole families of processes, wherever they have hidden."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import psutil


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; empty if it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def marked(variable: str, value: str) -> Iterator[psutil.Process]:
    """Processes whose environment says so: finds what left its family by ``setsid`` and a double fork."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value:
                yield process
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or not ours to look at


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Signal a process; fine if it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def sweep(pid: int, variable: str, value: str) -> None:
    """Kill the descendants of ``pid`` and everything marked, but not ``pid``, until none is left.

    Looks again after each pass, since a fork may race the kill.
    """
    while True:
        victims = {p.pid: p for p in [*family(pid)[1:], *marked(variable, value)] if p.pid != pid and _lives(p)}
        if not victims:
            return
        for process in victims.values():
            send(process, signal.SIGKILL)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
