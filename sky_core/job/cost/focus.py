"""Charges in FOCUS, the FinOps Foundation's format for bills of all clouds, version 1.0: ``skyloom cost --focus``.

What the clouds' own exports know and a plan does not (SKUs, commitments, invoices) has no column here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta

from sky_core.job.cost.charges import Charge

EGRESS = "egress"
PRICING = {"spot": "Dynamic", "on-demand": "Standard", "reserved": "Standard", EGRESS: "Standard"}


def focus_rows(charges: Iterable[Charge], accounts: Mapping[str, str | None]) -> Iterator[dict[str, str]]:
    """A row for each charge.

    Args:
        accounts: The account, project or subscription of each cloud, as far as the settings have it.
    """
    for charge in charges:
        yield _row(charge, accounts.get(charge.cloud) or "")


def _row(charge: Charge, account: str) -> dict[str, str]:
    day = date.fromisoformat(charge.day)
    month = day.replace(day=1)
    next_month = (month + timedelta(days=32)).replace(day=1)
    usd = f"{charge.usd:.10f}"
    data = charge.market == EGRESS
    machines = f"{charge.market} machines kept idle in" if charge.idle else f"{charge.market} machines in"
    what = "data that left" if data else machines
    return {
        "BilledCost": usd,
        "BillingAccountId": account,
        "BillingCurrency": "USD",
        "BillingPeriodStart": _midnight(month),
        "BillingPeriodEnd": _midnight(next_month),
        "ChargeCategory": "Usage",
        "ChargeClass": "",
        "ChargeDescription": f"{charge.task}: {what} {charge.cloud}/{charge.region}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _midnight(day),
        "ChargePeriodEnd": _midnight(day + timedelta(days=1)),
        "ContractedCost": usd,
        "EffectiveCost": usd,
        "InvoiceIssuerName": charge.cloud,
        "ListCost": usd,
        "PricingCategory": PRICING[charge.market],
        "PricingQuantity": "" if data else f"{charge.hours:.10f}",
        "PricingUnit": "" if data else "Hours",
        "ProviderName": charge.cloud,
        "PublisherName": charge.cloud,
        "RegionId": charge.region,
        "ResourceId": charge.job,
        "ServiceCategory": "Networking" if data else "Compute",
        "ServiceName": "Data Transfer" if data else "Virtual Machines",
        "Tags": json.dumps({**charge.labels, **_own_tags(charge)}),
    }


def _own_tags(charge: Charge) -> dict[str, str]:
    """Under a prefix, as FOCUS asks of a provider's: a task's labels keep their names."""
    ours = {"pipeline": charge.pipeline, "run": charge.run, "task": charge.task, "person": charge.person}
    return {f"skyloom:{name}": value for name, value in ours.items()}


def _midnight(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"
