"""A look at Azure's quotas before a launch: a new subscription has none for GPU sizes.

Cores are counted by size family in each region, and those of all Spot machines together
(https://learn.microsoft.com/azure/quotas/per-vm-quota-requests). A family's name is told by the size's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sky_core.clouds.azure.errors import cloud_errors
from sky_core.errors import CloudError, QuotaError
from sky_core.facts.azure import FACTS

# Standard_NC4as_T4_v3: series, cores, features, accelerator, version
SIZE = re.compile(r"^Standard_([A-Z]+)\d+(?:-\d+)?([a-z]*)(?:_([A-Z0-9]+?))?(?:_v(\d+))?$")
ANY = r"([A-Z]+\d+)?"  # accelerator
KEPT_S = 600.0


def family_of(name: str) -> str:
    """A quota's name without what it is spelled with now and then: ``standardNCASv3_T4Family`` is ``NCAST4V3``."""
    return _sorted(re.sub(r"standard|family|[ _]", "", name, flags=re.IGNORECASE))


def family_of_size(size: str) -> re.Pattern[str] | None:
    """What fits the same of the family that a size belongs to, or None if its name says none.

    Families leave out that a size has RDMA or a machine to itself, and name an accelerator that it may leave out:
    ``Standard_ND96asr_v4`` belongs to ``standardNDASv4_A100Family``.
    """
    match = SIZE.match(size)
    if match is None:
        return None
    series, features, accelerator, version = match.groups(default="")
    kept = re.sub("[ri]", "", features).upper()
    return re.compile(f"{series}{kept}{accelerator.upper() or ANY}{f'V{version}' if version else ''}")


def _sorted(name: str) -> str:
    """Names put the accelerator before or after the version."""
    version = re.search(r"V\d+", name.upper())
    rest = name.upper().replace(version[0], "", 1) if version else name.upper()
    return rest + (version[0] if version else "")


def cores_of(size: str) -> int:
    """vCPUs of a size, as its name says: 24 of ``Standard_NC24ads_A100_v4``; 1 of one that does not say."""
    found = re.match(r"Standard_[A-Z]+(\d+)", size)
    return int(found[1]) if found else 1


class Quotas:
    """What each region lets the subscription have.

    ``usage`` are azure-mgmt-compute's operations on usages, ``providers`` azure-mgmt-resource's on resource providers.
    """

    def __init__(self, usage: Any, providers: Any) -> None:
        self._usage, self._providers = usage, providers
        self._known: dict[str, tuple[float, Mapping[str, int]]] = {}

    def limits(self, region: str) -> Mapping[str, int]:
        """Cores by family.

        Raises:
            CloudError: if they cannot be had.
        """
        at, limits = self._known.get(region, (0.0, {}))
        if not at or time.monotonic() > at + KEPT_S:
            with cloud_errors():
                limits = {family_of(str(one.name.value)): int(one.limit) for one in self._usage.list(region)}
            self._known[region] = time.monotonic(), limits
        return limits

    def refuse_none(self, region: str, size: str, use_spot: bool) -> None:
        """Refuse what there is a quota of none for; where that cannot be told, nothing.

        Raises:
            QuotaError: before anything is asked for.
        """
        family = re.compile(family_of("lowPriorityCores")) if use_spot else family_of_size(size)
        needed = cores_of(size) if use_spot else 1  # of Spot there are a few for all families together
        limit = self._limit(region, family)
        if limit is not None and limit < needed:
            what = "of Spot cores" if use_spot else f"of cores of {size}'s family"
            error = QuotaError(f"{region}: the quota {what} is {limit}", scope="family" if limit == 0 else "type",
                               code="QuotaExceeded")  # fmt: skip
            error.cure = f"ask for it: {FACTS.quotas}"
            others = [other for other in self._regions() if other != region]
            with ThreadPoolExecutor(8) as pool:
                limits = pool.map(lambda other: self._limit(other, family), others)
            error.elsewhere = tuple(
                other for other, limit in zip(others, limits, strict=True) if limit is not None and limit < needed
            )
            raise error

    def _limit(self, region: str, family: re.Pattern[str] | None) -> int | None:
        """Cores of a family, or None where that cannot be told."""
        try:
            limits = self.limits(region)
        except CloudError:
            self._known[region] = time.monotonic(), {}
            return None
        return max((limits[name] for name in limits if family and family.fullmatch(name)), default=None)

    def _regions(self) -> list[str]:
        """Where virtual machines are to be had; empty where that cannot be told. It is told as people write it."""
        try:
            with cloud_errors():
                kinds = self._providers.get("Microsoft.Compute").resource_types or ()
        except CloudError:
            return []
        named = [kind.locations or () for kind in kinds if kind.resource_type == "virtualMachines"]
        return [name.lower().replace(" ", "") for names in named for name in names]
