"""Resource providers: what a subscription has to be registered for before anything of theirs can be made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from starlette.responses import JSONResponse, Response

from sky_sandbox.accounts import Account
from sky_sandbox.accounts.quotas import azure_usages
from sky_sandbox.accounts.refusals import azure_refusal
from sky_sandbox.accounts.rights import azure_needs
from sky_sandbox.azure.wire import ArmError, Call

PROVIDER = re.compile(r"^/subscriptions/[^/]+/providers/(?P<namespace>[^/]+)(?:/register)?$")
RIGHTS = re.compile(r"^/subscriptions/[^/]+/providers/Microsoft.Authorization/permissions$")
# https://learn.microsoft.com/azure/reliability/regions-list, as the API spells them
LOCATIONS = (
    "East US", "East US 2", "South Central US", "West US 2", "West US 3", "Australia East", "Southeast Asia",
    "North Europe", "Sweden Central", "UK South", "West Europe", "Central US", "South Africa North", "Central India",
    "East Asia", "Indonesia Central", "Japan East", "Japan West", "Korea Central", "Malaysia West", "New Zealand North",
    "Canada Central", "Austria East", "France Central", "Germany West Central", "Italy North", "Norway East",
    "Poland Central", "Spain Central", "Switzerland North", "Mexico Central", "UAE North", "Brazil South",
    "Chile Central", "Israel Central", "Qatar Central", "North Central US", "West US", "West Central US",
    "South Africa West", "Australia Central", "Australia Southeast", "Korea South", "South India", "West India",
    "Canada East", "France South", "Germany North", "Norway West", "Switzerland West", "UK West", "UAE Central",
    "Brazil Southeast",
)  # fmt: skip
USAGES = re.compile(r"^/subscriptions/[^/]+/providers/Microsoft.Compute/locations/[^/]+/usages$")


@dataclass
class Providers:
    """Which of them were registered by a call for it, in a subscription that began without any."""

    registered: set[str] = field(default_factory=set)

    def answer(self, account: Account, call: Call) -> Response | None:
        """What is told of providers and of usages, or None for a call about something else.

        https://learn.microsoft.com/rest/api/resources/providers, https://learn.microsoft.com/rest/api/compute/usage/list
        """
        if RIGHTS.match(call.path):
            actions = ["*"] if account.allowed is None else list(account.allowed)
            return JSONResponse({"value": [{"actions": actions, "notActions": list(account.forbidden)}]})
        if USAGES.match(call.path):
            return JSONResponse({"value": azure_usages(account)})
        match = PROVIDER.match(call.path)
        if match is None:
            return None
        namespace = match["namespace"]
        if call.method == "POST":
            self.registered.add(namespace)
        state = "Registered" if account.registered or namespace in self.registered else "NotRegistered"
        sold = [{"resourceType": "virtualMachines", "locations": list(LOCATIONS), "apiVersions": ["2024-07-01"]}]
        kinds = sold if namespace == "Microsoft.Compute" else []
        return JSONResponse({"id": call.path, "namespace": namespace, "registrationState": state,
                             "resourceTypes": kinds})  # fmt: skip

    def check(self, account: Account, call: Call) -> None:
        """Refuse what the account is closed to.

        Raises:
            ArmError: in Azure's words.
        """
        region = str(call.body.get("location", "")).lower().replace(" ", "")
        registered = account.registered or call.kind.partition("/")[0] in self.registered
        needs = azure_needs(call.method, call.path, call.kind, call.body)
        if refusal := azure_refusal(account, call.action, call.kind, region, registered, needs):
            raise ArmError(*refusal)
