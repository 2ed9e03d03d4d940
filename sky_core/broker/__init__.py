"""The broker: submit, watch, cancel, bill. Its driver process is :mod:`sky_core.driver.process`.

``Broker`` is loaded on first use: it brings SQLAlchemy, which a DAG file that only names its operators need not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sky_core.broker.broker import Broker


def __getattr__(name: str) -> Any:
    if name == "Broker":
        from sky_core.broker.broker import Broker

        return Broker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Broker"]
