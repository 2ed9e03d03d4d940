"""What an account is like beside its machines: regions closed to it, services that are off, quotas of none.

Sources: AWS's regions that need opting in to,
https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html; policies that deny regions,
https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps.html; and registration on Azure,
https://learn.microsoft.com/azure/azure-resource-manager/management/resource-providers-and-types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

OPT_IN = frozenset({
    "af-south-1", "ap-east-1", "ap-east-2", "ap-south-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5",
    "ap-southeast-6", "ap-southeast-7", "ca-west-1", "eu-central-2", "eu-south-1", "eu-south-2", "il-central-1",
    "me-central-1", "me-south-1", "mx-central-1",
})  # fmt: skip


@dataclass(frozen=True)
class Account:
    """One account with each cloud.

    Attributes:
        opted_in: Whether AWS's regions that have to be asked for have been.
        denied: Patterns of the regions that a policy of the organisation closes, e.g. ``eu-*``; whatever the cloud.
        registered: Whether Azure's resource providers are registered and Google's TPU API is enabled.
        accelerators: Whether there is any quota for accelerators.
        spot_role: Whether the role that AWS needs for spot is there.
        default_network: Whether AWS and Google have the default network of a fresh account.
        shared_networks: Networks that other projects share with Google's, as ``HOST-PROJECT/NAME``: their subnetworks
            may be used, and their firewall rules are not ours to make…
        network_admin: …unless whoever drives administers the host project, too.
        public_addresses: Whether a policy lets machines have any.
        routed: Whether whoever drives is in the machines' own network, by a VPN say, and reaches private addresses;
            else a bastion does, and nobody else.
        hierarchical: Whether Azure's storage account has a hierarchical namespace.
        access_keys: Whether the clouds take keys and tokens that never end; else whoever drives logs in by IAM Identity
            Center, as a service account, and as a managed identity.
        forbidden: Permissions that whoever drives lacks, by each cloud's names for them.
        allowed: All that whoever drives has, by each cloud's names; None for everything.
    """

    opted_in: bool = True
    denied: tuple[str, ...] = ()
    registered: bool = True
    accelerators: bool = True
    spot_role: bool = True
    default_network: bool = True
    shared_networks: tuple[str, ...] = ()
    network_admin: bool = False
    public_addresses: bool = True
    routed: bool = True
    hierarchical: bool = True
    access_keys: bool = True
    forbidden: tuple[str, ...] = ()
    allowed: tuple[str, ...] | None = None

    def lacks(self, permission: str) -> bool:
        """Whether whoever drives may not do that."""
        return permission in self.forbidden or (self.allowed is not None and permission not in self.allowed)

    def denies(self, region: str) -> bool:
        """Whether a policy closes that region."""
        return any(fnmatchcase(region, pattern) for pattern in self.denied)


PROFILES: Mapping[str, Account] = {
    "easy": Account(),
    "new": Account(opted_in=False, registered=False, accelerators=False, spot_role=False),
    "enterprise": Account(opted_in=False, denied=("ap-*", "asia-*", "*asia*", "japan*"), default_network=False,
                          public_addresses=False),
    "sso": Account(access_keys=False),
    "private": Account(public_addresses=False, routed=False),
}  # fmt: skip
