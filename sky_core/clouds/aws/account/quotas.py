"""A look at EC2's quotas before a launch: a new account has none for accelerators, and would learn it type by type.

Quotas count vCPUs by family and market, one of each for a region. They are known by their names
(https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from sky_core.clouds.aws.session import Session
from sky_core.errors import CloudError, QuotaError

FAMILIES: Mapping[str, str] = {"g": "G and VT", "gr": "G and VT", "vt": "G and VT", "p": "P", "inf": "Inf",
                               "trn": "Trn", "dl": "DL", "f": "F"}  # fmt: skip
SERIES = re.compile(r"^[a-z]+?(?=\d)")
KEPT_S = 600.0
ASK = "https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas"


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
        series = SERIES.match(instance_type)
        family = FAMILIES.get(series[0]) if series else None
        if family is None:
            return
        name = f"All {family} Spot Instance Requests" if use_spot else f"Running On-Demand {family} instances"
        try:
            limit = self.limits(region).get(name)
        except CloudError:
            self._known[region] = time.monotonic(), {}
            return
        if limit == 0:
            error = QuotaError(f"{region}: the quota {name!r} is 0", scope="family", code="VcpuLimitExceeded")
            error.cure = f"ask for it: {ASK}"
            looks = self._session.each_region(self.limits, None)
            error.elsewhere = tuple(other for other, limits in looks.items() if limits.get(name) == 0)
            raise error
