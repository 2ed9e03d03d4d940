"""How each cloud words what it refuses to an account: its API asks here before it does anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sky_sandbox.accounts import OPT_IN, Account

Refusal = tuple[str, str]  # code and message


def aws_refusal(
    account: Account, service: str, region: str, action: str, market: str, names_subnet: bool, needs: Iterable[str]
) -> Refusal | None:
    """What AWS says to a call, or None to let it through.

    Args:
        names_subnet: Whether a launch names one, which it need not where there is a default VPC.
        needs: The permissions that the call takes.
    """
    query = service in ("ec2", "sts", "iam")
    if region in OPT_IN and not account.opted_in:  # just as if the credentials were wrong
        code = {"ec2": "AuthFailure", "sts": "InvalidClientTokenId"}.get(service, "UnrecognizedClientException")
        return code, "The security token included in the request is invalid."
    if lacking := next(filter(account.lacks, needs), None):
        codes = {"ec2": "UnauthorizedOperation", "sts": "AccessDenied", "iam": "AccessDenied"}
        why = f"because no identity-based policy allows the {lacking} action"
        return codes.get(service, "AccessDeniedException"), f"User is not authorized to perform: {lacking} {why}"
    if account.denies(region) and service not in ("sts", "iam"):
        code = "UnauthorizedOperation" if query else "AccessDeniedException"
        return code, (
            "You are not authorized to perform this operation. User is not authorized to perform: "
            f"{service}:{action} with an explicit deny in a service control policy"
        )
    if action == "RunInstances" and market == "spot" and not account.spot_role:
        return "AuthFailure.ServiceLinkedRoleCreationNotPermitted", (
            "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances."
        )
    if action == "RunInstances" and not names_subnet and not account.default_network:
        return "VPCIdNotSpecified", "No default VPC for this user."
    return None


def gcp_refusal(
    account: Account, action: str, region: str, network: str, public: bool, needs: Iterable[str]
) -> tuple[int, str, str] | None:
    """What Google says: status, reason and message.

    ``network`` and ``public`` are those of a machine's interface; ``needs`` the permissions that the call takes.
    """
    if lacking := next(filter(account.lacks, needs), None):
        return 403, "forbidden", f"Required '{lacking}' permission for the project"
    if action.startswith(("nodes.", "queuedResources.")) and not account.registered:
        return (
            403,
            "forbidden",
            "Cloud TPU API has not been used in project before or it is disabled (SERVICE_DISABLED)",
        )
    creates = action in ("instances.insert", "nodes.create", "queuedResources.create")
    if creates and account.denies(region):
        return (
            412,
            "conditionNotMet",
            f"Constraint constraints/gcp.resourceLocations violated: {region} is not allowed.",
        )
    needs_network = action in ("instances.insert", "firewalls.insert") and "networks/default" in network
    if needs_network and not account.default_network:
        field = "resource.networkInterfaces[0].network"
        why = "The referenced network resource cannot be found."
        return 400, "invalid", f"Invalid value for field '{field}': 'global/networks/default'. {why}"
    if creates and public and not account.public_addresses:
        why = "Add instance to the constraint to use external IP with it."
        return 412, "conditionNotMet", f"Constraint constraints/compute.vmExternalIpAccess violated for project. {why}"
    return None


PROJECT_OF = re.compile(r"(?:^|/)projects/([^/]+)/")


def host_refusal(
    account: Account, project: str, network: str, subnetwork: str, needs: Sequence[str]
) -> tuple[int, str, str] | None:
    """What Google says where a network is another project's: https://cloud.google.com/vpc/docs/shared-vpc.

    ``project`` is the one that the call is about, ``network`` and ``subnetwork`` what its body names.
    """
    hosts = {shared.partition("/")[0] for shared in account.shared_networks}
    if project in hosts:
        if account.network_admin or needs[0] == "compute.networks.get":
            return None
        return 403, "forbidden", f"Required '{needs[0]}' permission for 'projects/{project}'"
    named = [found[1] for found in map(PROJECT_OF.search, (subnetwork, network)) if found]
    if set(named) <= {project}:
        return None
    whole = f"{named[-1]}/{network.rpartition('/')[2]}"
    if not hosts.issuperset(named) or (network and whole not in account.shared_networks):
        return 403, "forbidden", f"Required 'compute.subnetworks.use' permission for '{subnetwork or network}'"
    if not subnetwork:
        why = "The network interface must specify a subnet if the network resource is in custom subnet mode."
        return 400, "invalid", f"Invalid value for field 'resource.networkInterfaces[0]': '{network}'. {why}"
    return None


# What a new subscription has to be registered for.
NEW_WITHOUT = ("Microsoft.Network", "Microsoft.Compute", "Microsoft.Storage", "Microsoft.ManagedIdentity")


def azure_refusal(
    account: Account, action: str, kind: str, region: str, registered: bool, needs: Iterable[str]
) -> Refusal | None:
    """What Azure says to a call about a resource of ``kind`` ("Microsoft.Network/virtualNetworks")."""
    if lacking := next(filter(account.lacks, needs), None):
        return "AuthorizationFailed", f"The client does not have authorization to perform action '{lacking}'."
    if not action.endswith(".put") or action == "resourceGroups.put":
        return None
    namespace = kind.partition("/")[0]
    if namespace in NEW_WITHOUT and not registered:
        return "MissingSubscriptionRegistration", (
            f"The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found "
            "for how to register subscriptions."
        )
    closed = account.denies(region) or (kind.endswith("publicIPAddresses") and not account.public_addresses)
    if closed:
        return "RequestDisallowedByPolicy", f"Resource '{kind}' was disallowed by policy. Policy identifiers: '[…]'"
    return None
