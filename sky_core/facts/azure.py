"""Microsoft Azure."""

from __future__ import annotations

import re
from datetime import date

from sky_core.facts.base import CloudFacts, CpuMaker, Credentials
from sky_core.facts.reserved import Reservations

# "Azure virtual machine sizes naming conventions"
TYPE = re.compile(r"^Standard_(?P<family>[A-Z]+)\d+(-\d+)?(?P<features>[a-z]*)")


def cpu_maker(instance_type: str) -> CpuMaker | None:
    match = TYPE.match(instance_type)
    if match is None:
        return None
    if "p" in match["features"]:
        return "arm"
    return "amd" if "a" in match["features"] else "intel"


FACTS = CloudFacts(
    name="azure",
    provider="sky_core.clouds.azure.provider:Azure",
    also_called=("microsoft", "ms", "az"),
    on_machine="sky_core.remote.agent.host.clouds.azure",
    sdk=("azure.identity", "azure.mgmt.compute", "azure.mgmt.network", "azure.mgmt.resource", "adlfs"),
    extra="azure",
    embedded_spot=date(2024, 12, 31),
    schemes={"az": "abfs", "abfs": "abfs", "abfss": "abfs"},
    filesystem="adlfs",
    default_region="eastus",
    credentials=Credentials(
        variables=("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT"),
        files=(".azure/msal_token_cache.json", ".azure/azureProfile.json"),
        account="a subscription id (account)",
        account_variables=("AZURE_SUBSCRIPTION_ID",),
    ),
    quotas="https://portal.azure.com/#view/Microsoft_Azure_Capacity/QuotaMenuBlade",
    audit="sky_core.clouds.azure.account.audit:audit",
    prices="sky_core.catalog.refresh.sources.azure:source",
    spot_zones=False,
    one_network=True,
    bills_pending=True,  # https://learn.microsoft.com/azure/virtual-machines/states-billing: what is allocated
    gbit_out=7.0,  # not capped; taken like GCP
    preemptions_per_hour=0.025,  # middle of the lowest published band, "0-5%": documentation, "Spot Virtual Machines"
    cpu_maker=cpu_maker,
    reservations=Reservations(
        called="capacity reservation group",
        name=re.compile(
            r"^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/capacityReservationGroups/[^/]+$",
            re.IGNORECASE,
        ),
        example="/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/capacityReservationGroups/…",
        zonal=False,  # a reservation of no zone is of the region
        held="sky_core.clouds.azure.account.reservations:held",
    ),
    chatty_loggers=("azure",),
)
