"""What the principal that drives needs on Azure, as actions of a role, by what it is needed for.

https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations lists them by provider.
"""

from __future__ import annotations

from sky_core.clouds.needs import Need

BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
NEEDS = (
    Need(
        "launching and ending machines, following this machine's address",
        (
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Resources/subscriptions/resourceGroups/write",
            "Microsoft.Resources/subscriptions/resourceGroups/delete",
            "Microsoft.Network/networkSecurityGroups/read",
            "Microsoft.Network/networkSecurityGroups/write",
            "Microsoft.Network/networkSecurityGroups/join/action",
            "Microsoft.Network/virtualNetworks/read",
            "Microsoft.Network/virtualNetworks/write",
            "Microsoft.Network/virtualNetworks/subnets/join/action",
            "Microsoft.Network/publicIPAddresses/read",
            "Microsoft.Network/publicIPAddresses/write",
            "Microsoft.Network/publicIPAddresses/join/action",
            "Microsoft.Network/networkInterfaces/read",
            "Microsoft.Network/networkInterfaces/write",
            "Microsoft.Network/networkInterfaces/join/action",
            "Microsoft.Compute/disks/write",
            "Microsoft.Compute/virtualMachines/read",
            "Microsoft.Compute/virtualMachines/instanceView/read",
            "Microsoft.Compute/virtualMachines/write",
            "Microsoft.Compute/virtualMachines/delete",
        ),
    ),
    Need("sweeping", ("Microsoft.Resources/subscriptions/resources/read",)),
    Need(
        "storage accounts and containers",
        (
            "Microsoft.Storage/storageAccounts/read",
            "Microsoft.Storage/storageAccounts/write",
            "Microsoft.Storage/storageAccounts/blobServices/containers/read",
            "Microsoft.Storage/storageAccounts/blobServices/containers/write",
        ),
    ),
    Need(
        "signing for containers with an account's key, where none is delegated",
        ("Microsoft.Storage/storageAccounts/listKeys/action",),
    ),
    Need(
        "signing with a delegated key instead",
        ("Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",),
        "optional",
    ),
    Need(
        "the rights that such a signature passes on",
        (f"{BLOBS}/read", f"{BLOBS}/write", f"{BLOBS}/delete", f"{BLOBS}/add/action"),
        "optional",
        data=True,
    ),
    Need(
        "machines that can end themselves",
        (
            "Microsoft.ManagedIdentity/userAssignedIdentities/read",
            "Microsoft.ManagedIdentity/userAssignedIdentities/write",
            "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
            "Microsoft.Authorization/roleAssignments/read",
            "Microsoft.Authorization/roleAssignments/write",
        ),
        "optional",
    ),
    Need(
        "machines with an identity of one's own (machine_identity)",
        ("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",),
        "identity",
    ),
    Need(
        "quotas before launching",
        ("Microsoft.Compute/locations/usages/read", "Microsoft.Resources/subscriptions/providers/read"),
        "optional",
    ),
    Need(
        "reserved machines",
        (
            "Microsoft.Compute/capacityReservationGroups/read",
            "Microsoft.Compute/capacityReservationGroups/capacityReservations/read",
            "Microsoft.Compute/capacityReservationGroups/deploy/action",
        ),
        "optional",
    ),
    Need(
        "registering resource providers",
        (
            "Microsoft.Compute/register/action",
            "Microsoft.Network/register/action",
            "Microsoft.Storage/register/action",
            "Microsoft.ManagedIdentity/register/action",
        ),
        "optional",
    ),
    Need(
        "skyloom check --deep",
        ("Microsoft.Authorization/permissions/read", "Microsoft.Resources/subscriptions/providers/read"),
        "optional",
    ),
)
