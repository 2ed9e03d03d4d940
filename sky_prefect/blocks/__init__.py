"""Skyloom's block: which Skyloom a flow uses, kept by Prefect. Prefect loads this package with its collections."""

from __future__ import annotations

from sky_prefect.blocks.config import SkyloomConfig

__all__ = ["SkyloomConfig"]
