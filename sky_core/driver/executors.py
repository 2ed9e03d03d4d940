"""What runs jobs in each cloud, found by what its facts say."""

from __future__ import annotations

import threading
from importlib import import_module

from sky_core.config import Settings
from sky_core.facts import facts_of
from sky_core.remote.executor import Executor


class Executors:
    """Executors by the name of a cloud, made on first use; clouds whose facts name the same one share it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, Executor] = {}
        self._lock = threading.Lock()

    def __getitem__(self, cloud: str) -> Executor:
        maker = facts_of(cloud).executor
        with self._lock:
            if maker not in self._made:
                module, _, function = maker.partition(":")
                self._made[maker] = getattr(import_module(module), function)(self._settings)
            return self._made[maker]

    def close(self) -> None:
        """Let go of all their connections."""
        with self._lock:
            made, self._made = list(self._made.values()), {}
        for executor in made:
            executor.close()
