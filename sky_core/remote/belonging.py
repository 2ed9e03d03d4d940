"""What a cloud's machines take along to ask that cloud about themselves (``CloudFacts.on_machine``)."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from sky_core.facts import clouds, facts_of


def modules() -> dict[str, bytes]:
    """The source of each cloud's module, for the agent."""
    return {name: _source(facts.on_machine).encode() for name, facts in clouds().items() if facts.on_machine}


def way_out(cloud: str) -> str:
    """The source of the module with which a machine ends its bill by itself, "" where powering off does."""
    module = facts_of(cloud).on_machine
    return _source(module) if module and hasattr(importlib.import_module(module), "end_bill") else ""


@cache
def _source(module: str) -> str:
    file = importlib.import_module(module).__file__
    assert file is not None, f"{module} is a single file"
    return Path(file).read_text()
