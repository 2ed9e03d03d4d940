"""What a task gets that leaves something open: no half a GiB of an Arm machine on another continent.

The catalog knows everything that is sold. What fits a task that names neither its CPUs, nor its architecture, nor a
region, is narrowed to what most people mean; whoever means something else names it, in the task or under ``[defaults]``
in config.toml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from fnmatch import fnmatchcase

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sky_core.catalog.schema import parse_labels
from sky_core.config import Defaults
from sky_core.facts import clouds
from sky_core.facts.geography import continent
from sky_core.spec import Resources

OLD = timedelta(days=30)  # a spot price of more than that is not believed below the floor
SNAPSHOT_DAY = date(2026, 8, 3)  # that of the newest of the snapshot's prices
NOTICE = timedelta(days=90)  # a machine type goes this long before its cloud ends it
US = re.compile(r"us\d?$")  # Azure's regions of the United States: eastus, westus3

Filter = tuple[str, pl.Expr]


def filled_in(wanted: Resources, usual: Defaults) -> Resources:
    """What is wanted, with the usual CPUs and memory where nothing says how large a machine is to be."""
    if wanted.cpus or wanted.memory or wanted.accelerators or wanted.instance_type:
        return wanted
    return wanted.model_copy(update={"cpus": usual.cpus, "memory": usual.memory})


def binding(table: pl.DataFrame, wanted: Resources, usual: Defaults) -> Iterator[Filter]:
    """Filters that hold even if they leave nothing: the regions of the settings, where the task names no place."""
    if not (wanted.region or wanted.zone):
        yield "defaults.regions", _in_regions(table, usual)


def preferred(found: pl.DataFrame, wanted: Resources, usual: Defaults, today: date) -> pl.DataFrame:
    """What of it boots, has the usual processor and no enclave and is still sold tomorrow, as far as there is any.

    A task that names its CPUs alone gets the usual memory for each: two of them with half a GiB install nothing. A
    machine type that is named is meant. An accelerator that only an Arm machine has, or only one that is about to end,
    is better than none: the plan says so.
    """
    if wanted.instance_type:
        return found
    kept = [_boots(found), _sold_after(found, today + NOTICE)]
    if "confidential" not in wanted.labels:
        kept.append(_in_the_open(found))
    if wanted.cpus and not (wanted.memory or wanted.accelerators):
        kept.append(pl.col("memory_gib") >= wanted.cpus.low * usual.memory.low / max(usual.cpus.low, 1.0))
    if wanted.arch is None and usual.arch != "any":
        kept.insert(0, pl.col("arch").cast(pl.String).fill_null("x86_64") == usual.arch)
    for mask in kept:
        left = found.filter(mask)
        found = found if left.is_empty() else left
    return found


def spot_floor(table: pl.DataFrame, usual: Defaults, today: date) -> pl.DataFrame:
    """The table with old spot prices no lower than the floor.

    Where a machine has no on-demand price, as Google's of one to four H100s, what the cloud asks for that many of the
    accelerator on its other machines stands for it: in the region, or else wherever they are cheapest.
    """
    each = pl.col("price") / pl.col("accelerator_count")
    alike = [each.min().over("cloud", *place, "accelerator") for place in (("region",), ())]
    of_accelerators = pl.coalesce(alike) * pl.col("accelerator_count")
    machine_elsewhere = pl.col("price").min().over("cloud", "instance_type")
    accelerated = pl.when(pl.col("accelerator").is_not_null()).then(of_accelerators)
    least = usual.spot_floor * pl.coalesce(pl.col("price"), accelerated, machine_elsewhere)
    doubted = (_spot_day() < today - OLD) & (pl.col("spot_price") < least)
    return table.with_columns(spot_price=pl.when(doubted).then(least).otherwise(pl.col("spot_price")))


def retires(labels: str) -> str | None:
    """When the machine type ends or has ended (a year, a month or a day), None where no end is known."""
    held = parse_labels(labels)
    return held.get("withdrawn") or held.get("retirement")


def _in_regions(table: pl.DataFrame, usual: Defaults) -> pl.Expr:
    patterns = (*usual.regions, *([usual.home] if usual.home else []))
    places = table.select(pl.col("cloud", "region").cast(pl.String)).unique().rows()
    # Machines of one's own are where they are, and a cloud that a package adds names its regions as it likes.
    ours = {name for name, facts in clouds().items() if not facts.offerings}
    allowed = [region for cloud, region in places if cloud not in ours or _fits(cloud, region, patterns)]
    # …and so is what was reserved.
    return pl.col("region").cast(pl.String).is_in(allowed) | pl.col("reservation").is_not_null()


def _fits(cloud: str, region: str, patterns: tuple[str, ...]) -> bool:
    names = [name for spelled in _spellings(region) for name in (spelled, f"{cloud}/{spelled}")]
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _spellings(region: str) -> Iterator[str]:
    """The region's name, and the same as AWS would begin it: europe-west4 is in eu-*, and so is uksouth."""
    yield region
    if continent(region) == "Europe" and not region.startswith("eu-"):
        yield f"eu-{region.removeprefix('europe-')}"
    if US.search(region):
        yield f"us-{region}"


def _boots(table: pl.DataFrame) -> pl.Expr:
    """Sizes of Azure's first generation go: the images that jobs run on are of the second."""
    return ~_with_labels(table, lambda text: parse_labels(text).get("generation") == "1")


def _in_the_open(table: pl.DataFrame) -> pl.Expr:
    """Sizes for confidential computing go: what they do besides is done by others without their limits."""
    return ~_with_labels(table, lambda text: "confidential" in parse_labels(text))


def _sold_after(table: pl.DataFrame, day: date) -> pl.Expr:
    return ~_with_labels(table, lambda text: (retires(text) or "9999") <= day.isoformat())


def _with_labels(table: pl.DataFrame, fits: Callable[[str], bool]) -> pl.Expr:
    held = [text for text in table["labels"].unique().to_list() if text is not None and fits(text)]
    return pl.col("labels").is_in(pl.Series(held, dtype=pl.Categorical()).implode()).fill_null(False)


def at_home(frame: pl.DataFrame, usual: Defaults) -> NDArray[np.bool_]:
    """(N,) whether each row is in the home region."""
    if usual.home_place is None:
        return np.zeros(frame.height, dtype=bool)
    cloud, region = usual.home_place
    here = (pl.col("cloud").cast(pl.String) == cloud) & (pl.col("region").cast(pl.String) == region)
    held: NDArray[np.bool_] = frame.select(here.alias("here"))["here"].to_numpy()
    return held


def spot_day(cloud: str, as_of: date) -> date:
    """The day of a row's spot price: the row's own, but in the snapshot some are older than what they stand beside."""
    known = clouds().get(cloud)
    older = known.embedded_spot if known is not None else None
    return min(as_of, older) if older is not None and as_of <= SNAPSHOT_DAY else as_of


def _spot_day() -> pl.Expr:
    """:func:`spot_day` of each row."""
    older = {name: facts.embedded_spot for name, facts in clouds().items() if facts.embedded_spot is not None}
    told = pl.col("cloud").cast(pl.String).replace_strict(older, default=None, return_dtype=pl.Date)
    return pl.when(pl.col("as_of") <= SNAPSHOT_DAY).then(pl.min_horizontal("as_of", told)).otherwise(pl.col("as_of"))
