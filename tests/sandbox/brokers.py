"""A broker with a store of its own on a shared sandbox, and the driver processes that work for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from sky_core.broker import Broker
from tests.conftest import Sandbox


@contextmanager
def own_broker(world: Sandbox, monkeypatch: pytest.MonkeyPatch, store_url: str) -> Iterator[Broker]:
    """What one test learns of refusals does not bother the next; its drivers end with it, and fate is undone."""
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SKYLOOM_STORE", store_url)
    broker = Broker.open()
    yield broker
    end_drivers(broker)
    world.control.reset()


def drivers(broker: Broker) -> list[psutil.Process]:
    """Driver processes of the broker's store."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "sky_core.driver.process" in (process.info["cmdline"] or []):
            try:
                if process.environ().get("SKYLOOM_STORE") == broker.settings.store_url:
                    found.append(process)
            except psutil.Error:
                continue
    return found


def end_drivers(broker: Broker) -> None:
    """Kill the drivers of the broker's store, and wait until they are gone."""
    for process in drivers(broker):
        process.kill()
        process.wait()
