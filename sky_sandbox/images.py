"""The images that an emulated cloud has: one ``images.toml`` in each cloud's folder, with the source of every row."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Image:
    """An image as the vendor documents it; ``arch`` is "x86_64" or "arm64".

    Attributes:
        python: Minor version of its ``python3``: 12 for 3.12, 0 for none.
        ensurepip: Whether ``python3 -m venv`` works there.
        min_disk_gib: A smaller boot disk is refused.
        generation: Of Hyper-V, 1 or 2; 0 where there is none.
        controllers: Disk controllers that it can boot from; none told means any.
        driver: "none", "open", "proprietary", "grid", "neuron", "rocm", "tpu", or "unsure": open or proprietary.
        gpus: Accelerators that work with its driver.
        gpus_if_proprietary: Those that would, should an unsure driver be the proprietary one.
        status: "current", "frozen", "deprecated" or "end-of-life": all of these boot.
    """

    name: str
    arch: str
    source: str
    python: int
    ensurepip: bool = False
    min_disk_gib: int = 0
    generation: int = 0
    controllers: tuple[str, ...] = ()
    driver: str = "none"
    gpus: tuple[str, ...] = ()
    gpus_if_proprietary: tuple[str, ...] = ()
    status: str = "current"


@cache
def images(cloud: str) -> Mapping[str, Image]:
    """All images of a cloud, by the name that requests give; those of TPU nodes by their runtime's."""
    tables = _tables(cloud)
    rows = [*tables["image"], *(_without(row, "accelerators") for row in tables.get("runtime", ()))]
    return {row["name"]: _image(row) for row in rows}


@cache
def runtimes(accelerators: str) -> frozenset[str]:
    """What TPU nodes of a generation boot, e.g. those of ``"v5litepod"``."""
    return frozenset(row["name"] for row in _tables("gcp")["runtime"] if row["accelerators"] == accelerators)


def _image(row: Mapping[str, Any]) -> Image:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return Image(**fields)


def _without(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def _tables(cloud: str) -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads((Path(__file__).parent / cloud / "images.toml").read_text())
