"""Writes docs/what-works.md: ``python -m tests.unit.images.what_works``. A test holds the page against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sky_core.catalog import Catalog
from sky_core.catalog.usual import retires
from sky_core.clouds.gcp import names as gcp
from sky_core.errors import InvalidRequest
from sky_sandbox.images import Image, images
from tests.unit.images.test_images import UNHEARD_OF, choose, request

PAGE = Path(__file__).parents[3] / "docs" / "what-works.md"
CLOUDS = {"aws": "AWS", "azure": "Azure", "gcp": "Google Cloud"}
# Which AWS no longer describes, or which a notice may mean: https://github.com/vantage-sh/ec2instances.info/issues/996
DOUBTFUL = {("aws", "Gaudi"), ("aws", "RadeonProV520"), ("aws", "V100-32GB")}
HEAD = """\
# What works, by the clouds' own documents

What each accelerator that the catalog sells boots, and whether that image's driver serves it by what its vendor
documents: a table of the sandbox's, made apart from the providers. **None of it has met a real account.** Made by
`python -m tests.unit.images.what_works`; a test holds it against the providers and the catalog.

- A command runs with the image's own `python3`. A function runs with a driver on Python 3.11, 3.12 or 3.13 alike,
  whatever the image has: [it is brought](execution.md#a-python-of-our-own). The tests send one from each to each cloud.
- "spot" and "on demand": for which markets the catalog has a price.
- `python benchmarks/machines/what_works.py` runs a command on each, on each of its markets, in the strict sandbox: of
  89 cells 78 ran and 11 were refused, as the table has it; with `--account new` all are, for quotas or an API that a
  newcomer has to ask for.
- Machines without accelerators boot Ubuntu 24.04 on all three clouds, x86-64 and Arm; of Azure's sizes the old ones
  (Dv2, Dv3, Ev3 without an s) its image of generation 1, and v6 and later with an NVMe disk.

| cloud | accelerator | for example | markets | image's Python | command and function |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The page's text."""
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows())


@dataclass(frozen=True)
class Cell:
    """One cloud and accelerator that differs in what it boots; TPUs by their generation."""

    cloud: str
    kind: str
    cheapest: Mapping[str, Any]
    markets: Sequence[str]
    python: str
    verdict: str


def rows() -> Iterator[tuple[str, ...]]:
    """The cells of the table."""
    for cell in cells():
        example, markets = f"`{cell.cheapest['instance_type']}`", ", ".join(cell.markets)
        yield CLOUDS[cell.cloud], cell.kind, example, markets, cell.python, cell.verdict


def cells() -> Iterator[Cell]:
    """What the catalog sells, by cloud and accelerator."""
    table = Catalog.embedded().table.filter(pl.col("accelerator").is_not_null(), pl.col("cloud").is_in(list(CLOUDS)))
    table = table.with_columns(
        kind=pl.col("accelerator").cast(pl.String).str.replace(r"^(tpu-v\d+\w?)-\d+$", "$1"),
        slice=pl.col("instance_type").cast(pl.String).str.contains(r"^gr?6f\."),
    )
    for (cloud, kind, _, arch), group in sorted(table.group_by(["cloud", "kind", "slice", "arch"])):
        cheapest = group.sort("price", "instance_type", nulls_last=True).row(0, named=True)
        markets = [name for name, column in (("on demand", "price"), ("spot", "spot_price"))
                   if group[column].is_not_null().any()]  # fmt: skip
        python, verdict = judged(str(cloud), cheapest["accelerator"], str(arch), cheapest["instance_type"])
        ends = {retires(labels or "") for labels in group["labels"]}
        if all("withdrawn" in (labels or "") for labels in group["labels"]):
            verdict = "no longer sold: never planned on"
        elif None not in ends:
            verdict = (
                f"retired by {max(day for day in ends if day)}: planned on if nothing else will do, with a warning"
            )
        yield Cell(str(cloud), str(kind), cheapest, markets, python, verdict)


def judged(cloud: str, accelerator: str, arch: str, type_: str) -> tuple[str, str]:
    """The Python of what is booted, and what may be expected of it."""
    try:
        if accelerator.startswith("tpu-"):
            image: Image | None = images("gcp")[gcp.tpu_version(accelerator)[1]]
            return _python(image), "works, by the runtime of its generation"
        image = choose(cloud, request(type_, accelerator, arch))
    except InvalidRequest as error:
        return "", f"refused: {str(error).replace('|', '/')}"
    if image is None:
        return "", "refused: its image is not published under the name that is known"
    if (cloud, accelerator) in DOUBTFUL:
        return _python(image), "doubtful: these machines are probably sold no longer"
    if accelerator in UNHEARD_OF.get(cloud, ()):
        return _python(image), "unknown: the image's release notes do not speak of it"
    if accelerator in image.gpus:
        return _python(image), "works"
    return _python(image), "unknown: only if the image's driver is NVIDIA's proprietary one"


def _python(image: Image | None) -> str:
    return f"3.{image.python}" if image and image.python else ""


if __name__ == "__main__":
    PAGE.write_text(page())
