"""Accelerator names: one spelling per device, whatever the user types. And what can only be a slip in any name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sky_core.errors import SpecError, UnknownAccelerator
from sky_core.facts import clouds
from sky_core.home import INVENTORY, default_home
from sky_core.spec import Resources, did_you_mean

# What other clouds sell and these three do not, squeezed as names are: a file that lists them for another broker is
# not misspelt. From the accelerators of SkyPilot's catalogs.
ELSEWHERE = frozenset({
    "a16", "a30", "a40", "a4000", "a4500", "a5000", "a6000", "rtxa4000", "rtxa4500", "rtxa5000", "rtxa6000", "a800",
    "gh200", "h20", "h800", "h100nvl", "h100sxm", "h200sxm", "b200sxm", "l20", "l40", "mi100", "mi250", "mi250x",
    "mi300", "mi325x", "mi355x", "gaudi2", "gaudi3", "rtx2080ti", "rtx3060", "rtx3070", "rtx3080", "rtx3080ti",
    "rtx3090", "rtx3090ti", "rtx4000", "rtx4070", "rtx4080", "rtx4090", "rtx5000", "rtx5080", "rtx5090", "rtx6000",
    "rtx4000ada", "rtx5000ada", "rtx6000ada", "rtxpro4000", "rtxpro5000", "gtx1080ti", "titanrtx", "titanv", "p40",
})  # fmt: skip

REFRESHED = "catalog"  # the folder of a home that has what a refresh has found
VENDOR_WORDS = re.compile(r"^(nvidia|tesla|google|aws|amd|instinct|geforce|habana)[-_ ]*", re.IGNORECASE)
ALIASES = {
    "a10040gb": "a100",
    "h10080gb": "h100",
    "v10016gb": "v100",
    "inf1": "inferentia",
    "inferentia1": "inferentia",
    "inf2": "inferentia2",
    "trn1": "trainium",
    "trainium1": "trainium",
    "trn2": "trainium2",
    "gaudihl205": "gaudi",
    "rtxpro6000server": "rtxpro6000",
    "tpuv5lite": "tpuv5e",
}

DEVICE_MEMORY_GIB = {
    "A10": 24, "A100": 40, "A100-80GB": 80, "A10G": 24, "B200": 180, "B300": 288, "Gaudi": 32, "GB200": 186,
    "H100": 80, "H100-MEGA": 80, "H200": 141, "Inferentia": 8, "Inferentia2": 32, "K80": 12, "L4": 24, "L40S": 48,
    "M60": 8, "MI300X": 192, "P100": 16, "P4": 8, "RTXPRO4500": 32, "RTXPRO6000": 96, "RadeonProV520": 8, "T4": 16,
    "T4g": 16, "Trainium": 32, "Trainium2": 96, "V100": 16, "V100-32GB": 32,
}  # fmt: skip
"""GiB of one accelerator, from the vendors' data sheets (a slice has its share of it)."""

OTHER_MAKERS = ("tpu", "gaudi", "mi", "radeon", "instinct")
"""How the names of accelerators begin that are neither NVIDIA's nor of AWS' own."""

TPU = re.compile(r"^tpu-(?P<generation>v\d+[ep]?)-(?P<size>\d+)$")
GOOGLES_OWN = re.compile(r"^v\d(e|p|litepod)?-\d+$", re.IGNORECASE)
"""What Google's API calls accelerator types of TPUs: ``v6e-8``, ``v5litepod-16``."""
TPU_CHIP_MEMORY_GIB = {"v2": 16, "v3": 32, "v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}
TPU_CORES_PER_NAMED_CHIP = {"v2": 2, "v3": 2, "v4": 2, "v5p": 2}
"""v2 to v4 and v5p slices are named by cores, two a chip; v5e and v6e by chips (Cloud TPU documentation)."""


def squeeze(name: str) -> str:
    """The part of a name that tells devices apart: ``"TPU v3-8"`` and ``"tpu-v3-8"`` agree."""
    stripped = name.strip()
    while (shorter := VENDOR_WORDS.sub("", stripped)) not in (stripped, ""):
        stripped = shorter
    if GOOGLES_OWN.match(stripped):
        stripped = f"tpu-{stripped}"
    plain = re.sub(r"[^a-z0-9]", "", stripped.lower()).replace("tpuv5litepod", "tpuv5e")  # as Google's own API has it
    return ALIASES.get(plain, plain)


def resolve(name: str, known: Iterable[str], task: str = "") -> str:
    """The catalog's spelling of an accelerator; an error names the task, if one is given.

    Raises:
        UnknownAccelerator: if ``known`` has none like it, suggesting the nearest.
    """
    by_plain = {squeeze(item): item for item in known}
    plain, field = squeeze(name), f"Task.{task}: accelerators" if task else "accelerators"
    if plain in by_plain:
        return by_plain[plain]
    if plain in ELSEWHERE:
        raise UnknownAccelerator(
            f"{field}: {name!r} is sold by other clouds, by none of those in the catalog",
            cure="add one that is sold, as in accelerators: [MI300X:8, A100:8]; skyloom catalog show lists them",
        )
    cure = _alike(plain, by_plain) or "'skyloom catalog show' lists what there is"
    from sky_core.catalog.snapshot import read_sources  # brings polars; a DAG file needs names only

    day = max(source["as_of"] for source in read_sources().values())
    raise UnknownAccelerator(f"{field}: {name!r} is not in our snapshot of {day}", cure=cure)


def only_elsewhere(name: str, known: Iterable[str]) -> bool:
    """Whether it is an accelerator that clouds sell, none of them in the catalog."""
    plain = squeeze(name)
    return plain in ELSEWHERE and plain not in map(squeeze, known)


@cache
def embedded() -> Mapping[str, Any]:
    """``accelerators``, and ``regions`` and ``zones`` by cloud, of the snapshot: where polars may not be loaded."""
    names: Mapping[str, Any] = json.loads((Path(__file__).parent / "data" / "names.json").read_text())
    return names


def slip(wanted: Resources) -> SpecError | None:
    """The first name that the snapshot does not have, where it has one like it; None where all may be meant."""
    for name in filter(_is_plain, wanted.cloud):
        if name not in clouds() and (cure := cloud_meant(name)):
            return SpecError(f"cloud: there is none called {name!r}", cure=cure)
    for field, said in (("region", wanted.region), ("zone", wanted.zone)):
        places = embedded()[f"{field}s"]
        known = [place for cloud in wanted.cloud or places for place in places.get(cloud, ())]
        for name in filter(_is_plain, said):
            if name.lower() not in known and (cure := did_you_mean(name.lower(), known)):
                return SpecError(f"{field}: there is none called {name!r}", cure=cure)
    sold = {squeeze(name): name for name in embedded()["accelerators"]}
    for name, _ in wanted.accelerators:
        plain = squeeze(name)
        if plain not in sold and plain not in ELSEWHERE and not TPU.match(name) and (cure := _alike(plain, sold)):
            return UnknownAccelerator(f"accelerators: there is none called {name!r}", cure=cure)
    return None


def more_is_known(home: Path | None = None) -> bool:
    """Whether a home, or a package that is installed, may have names that the snapshot has not."""
    home = home or default_home()
    return len(clouds()) > len(embedded()["regions"]) or any((home / name).exists() for name in (INVENTORY, REFRESHED))


def cloud_meant(name: str) -> str:
    """A cure for the name of a cloud that there is none of: "did you mean aws?", or ""."""
    meant = [known for known, facts in clouds().items() if name in facts.also_called]
    return f"did you mean {meant[0]}?" if meant else did_you_mean(name, clouds())


def _is_plain(pattern: str) -> bool:
    return not any(mark in pattern for mark in "*?[")


def _alike(plain: str, sold: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(plain, sold, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(sold[item] for item in close)}?" if close else ""


def tpu_slice(name: str) -> tuple[str, int] | None:
    """Generation and chips of a TPU slice (``"tpu-v3-8"`` is v3 with 4 chips), or None if it is no TPU."""
    match = TPU.match(name)
    if match is None:
        return None
    return match["generation"], int(match["size"]) // TPU_CORES_PER_NAMED_CHIP.get(match["generation"], 1)


def tool(name: str) -> Literal["nvidia-smi", "neuron-ls", ""]:
    """The command by which a machine lists these accelerators; "" for those of other makers, and TPUs."""
    if name.startswith(("Inferentia", "Trainium")):
        return "neuron-ls"
    return "" if name.lower().startswith(OTHER_MAKERS) else "nvidia-smi"


def device_memory_gib(name: str) -> float | None:
    """GiB of device memory of one accelerator; of all its chips for a TPU slice; None where unknown."""
    tpu = tpu_slice(name)
    per_device, devices = (DEVICE_MEMORY_GIB.get(name), 1) if tpu is None else (TPU_CHIP_MEMORY_GIB.get(tpu[0]), tpu[1])
    return None if per_device is None else float(per_device * devices)
