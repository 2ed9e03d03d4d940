"""Meadow keeps the contract of a cloud: ``pytest meadow/contract.py``, with a test account in config.toml."""

from __future__ import annotations

import pytest

from sky_core.clouds import connect
from sky_core.clouds.contract import PROMISES, Promise, Subject
from sky_core.config import Settings

MEADOW = Subject(lambda: connect("meadow", Settings.load()), "calf", "north", "north-1")


@pytest.mark.parametrize("promise", PROMISES)
def test_meadow_keeps(promise: Promise) -> None:
    promise(MEADOW)
