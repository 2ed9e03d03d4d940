"""A look at EC2's quotas before a launch: a new account has none for accelerators, and would learn it type by type.

Quotas count vCPUs by family and market, one of each for a region. Their names tell their families, or generations of
one (https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping

from sky_core.clouds.aws.session import Session
from sky_core.errors import CloudError, QuotaError
from sky_core.facts.aws import FACTS

ALIASES: Mapping[str, str] = {"gr": "g"}
SERIES = re.compile(r"^(?P<family>[a-z]+?)(?P<generation>\d+)")
ON_DEMAND, SPOT = re.compile(r"^Running On-Demand (.+) instances$"), re.compile(r"^All (.+) Spot Instance Requests$")
KEPT_S = 600.0


def quota_of(names: Iterable[str], instance_type: str, use_spot: bool) -> str | None:
    """Which of the quotas' names is of a type's family: ``All P4, P3 and P2 Spot Instance Requests`` of ``p4d``."""
    series = SERIES.match(instance_type)
    if series is None:
        return None
    family = ALIASES.get(series["family"], series["family"])
    found: dict[str, str] = {}
    for name in names:
        if told := (SPOT if use_spot else ON_DEMAND).match(name):
            found |= {one.lower(): name for one in re.split(r", | and | \(|\)", told[1])}
    return found.get(family + series["generation"]) or found.get(family)


class Quotas:
    """What each region lets the account have, asked for once in a while."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, tuple[float, Mapping[str, float]]] = {}

    def limits(self, region: str) -> Mapping[str, float]:
        """vCPUs by the quota's name.

        Raises:
            CloudError: if they cannot be had.
        """
        at, limits = self._known.get(region, (0.0, {}))
        if not at or time.monotonic() > at + KEPT_S:
            with self._session.errors(region):
                pages = self._session.client("service-quotas", region).get_paginator("list_service_quotas")
                found = [quota for page in pages.paginate(ServiceCode="ec2") for quota in page["Quotas"]]
            limits = {quota["QuotaName"]: float(quota["Value"]) for quota in found}
            self._known[region] = time.monotonic(), limits
        return limits

    def refuse_none(self, region: str, instance_type: str, use_spot: bool) -> None:
        """Refuse what there is a quota of none for; where that cannot be told, nothing.

        Raises:
            QuotaError: before anything is asked for.
        """
        try:
            limits = self.limits(region)
        except CloudError:
            self._known[region] = time.monotonic(), {}
            return
        name = quota_of(limits, instance_type, use_spot)
        if name is not None and limits[name] == 0:
            error = QuotaError(f"{region}: the quota {name!r} is 0", scope="family", code="VcpuLimitExceeded")
            error.cure = f"ask for it: {FACTS.quotas}"
            looks = self._session.each_region(self.limits, None)
            error.elsewhere = tuple(other for other, limits in looks.items() if limits.get(name) == 0)
            raise error
