"""Refreshing the catalog from live sources; see :func:`refresh`."""

from sky_core.catalog.refresh.run import Result, refresh
from sky_core.catalog.refresh.shelf import Refreshed
from sky_core.catalog.refresh.source import Row, Source

__all__ = ["Refreshed", "Result", "Row", "Source", "refresh"]
