"""The images that an emulated cloud has: one ``images.toml`` in each cloud's folder, with the source of every row."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Image:
    """An image as the vendor documents it; ``arch`` is "x86_64" or "arm64"."""

    name: str
    arch: str
    source: str


@cache
def images(cloud: str) -> Mapping[str, Image]:
    """All images of a cloud, by the name that requests give."""
    return {row["name"]: Image(**row) for row in _tables(cloud)["image"]}


@cache
def runtimes(accelerators: str) -> frozenset[str]:
    """What TPU nodes of a generation boot, e.g. those of ``"v5litepod"``."""
    return frozenset(row["name"] for row in _tables("gcp")["runtime"] if row["accelerators"] == accelerators)


def _tables(cloud: str) -> dict[str, list[dict[str, str]]]:
    return tomllib.loads((Path(__file__).parent / cloud / "images.toml").read_text())
