"""Azure's error codes sorted into the CloudError family.

Only ``error.code`` is trusted: the same refusal arrives as a synchronous 409, or as status 200 of an operation that
failed later. Codes: https://learn.microsoft.com/en-us/azure/azure-resource-manager/troubleshooting/common-deployment-errors
and https://learn.microsoft.com/en-us/troubleshoot/azure/virtual-machines/windows/allocation-failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from sky_core.errors import (
    AuthError,
    CapacityError,
    CloudError,
    InvalidRequest,
    NotSetUp,
    QuotaError,
    Scope,
    Throttled,
    UnknownOutcome,
    of_its_own,
)

CAPACITY = {
    "SkuNotAvailable",
    "AllocationFailed",
    "ZonalAllocationFailed",
    "OverconstrainedAllocationRequest",
    "OverconstrainedZonalAllocationRequest",
    "NotAvailableForSubscription",
}
# A policy or the subscription's own kind closes a region; the others go on working.
CLOSED_REGION = {"RequestDisallowedByPolicy", "RequestDisallowedByAzure", "LocationNotAvailableForResourceGroup"}
# A machine's size and image that do not go together, wherever; and Spot that a size is not sold as.
NEVER = ("cannot boot", "only supports a CPU Architecture", "Spot / low priority is not supported")
OTHER_PLACE = "InvalidResourceGroupLocation"  # an earlier request of this token was for another region
WRONG_FOR_ALL = {"StorageAccountAlreadyTaken", "IPv4BasicSkuPublicIpCountLimitReached"}
# Of the image that the request names.
OWN = {"PlatformImageNotFound", "VMMarketplaceInvalidInput", "ResizeDiskError", "OSProvisioningClientError"}
NO_SUCH_SIZE_HERE = "is not available in the current region"  # comes as InvalidParameter
QUOTA = {"QuotaExceeded", "ResourceQuotaExceeded", "PublicIPCountLimitReached", "SubnetIsFull"}
LOGIN = "log in with: az login, or set AZURE_CLIENT_ID and its secret"
NOT_LOGGED_IN = {
    "ExpiredAuthenticationToken",
    "InvalidAuthenticationToken",
    "InvalidAuthenticationTokenTenant",
}
AUTH = {
    "AuthenticationFailed",
    "AuthorizationFailed",
    "LinkedAuthorizationFailed",
    "ReadOnlyDisabledSubscription",
    "SubscriptionNotFound",
    "ScopeLocked",
    "AuthorizationPermissionMismatch",
    "AuthorizationFailure",
    "KeyBasedAuthenticationNotPermitted",
}
NOT_REGISTERED = "MissingSubscriptionRegistration"
UNCLEAR = "OSProvisioningTimedOut"  # it may run all the same, and costs
THROTTLED = {
    "AnotherOperationInProgress",
    "OperationPreempted",
    "ResourceGroupBeingDeleted",  # an earlier attempt under the same token is being cleared away
    "RetryableError",
    "SubscriptionRequestsThrottled",
    "TooManyRequests",
}


def refusal(code: str, message: str, *, zoned: bool = False, status: int | None = None) -> CloudError:
    """The error that ``code`` means.

    Args:
        zoned: Whether the request named a zone, which is then all that a lack of capacity tells about.
        status: HTTP status of the reply, None for a creation that was accepted and failed later: nothing of it
            is left to hope for, and what is not understood is taken for a lack of working machines.
    """
    text = f"Azure: {code}: {message}" if code else f"Azure: {message}"
    if code in CAPACITY:
        return CapacityError(text, scope="zone" if zoned or "Zonal" in code else "region", code=code)
    if NO_SUCH_SIZE_HERE in message:
        return CapacityError(text, scope="region", code=code)
    # OperationNotAllowed is the code of exceeded quotas, but of other things as well; only its text tells them apart.
    if code in QUOTA or (code == "OperationNotAllowed" and "quota" in message.lower()):
        return QuotaError(text, scope=_reach_of_quota(message), code=code)
    if code in CLOSED_REGION:  # which does not say what of a resource it forbids
        cure = "choose another region, or change the policy; where it forbids public addresses, set " \
            "public_addresses = false in [clouds.azure.network] of config.toml"  # fmt: skip
        return AuthError(text, scope="region", code=code, cure=cure)
    if code == NOT_REGISTERED:
        cure = f"once for the subscription: az provider register --namespace {namespace_of(message)}"
        return NotSetUp(text, code=code, cure=cure)
    if code in NOT_LOGGED_IN or status == 401:
        return AuthError(text, code=code, cure=LOGIN)
    if code in AUTH:
        return AuthError(text, code=code, cure="check the credentials and the subscription's role assignments")
    if code in THROTTLED or status == 429:
        return Throttled(text, code=code)
    if code in OWN:
        return of_its_own(InvalidRequest(text, scope="cloud", code=code))
    if any(words in message for words in NEVER):
        return InvalidRequest(text, scope="type", code=code)
    if code == OTHER_PLACE:
        return of_its_own(CapacityError(text, scope="region", code=code))
    if code in WRONG_FOR_ALL or "publicKeys.keyData" in message:
        return InvalidRequest(text, scope="cloud", code=code)
    if code == UNCLEAR:
        return UnknownOutcome(text, code=code)
    if status is None:
        return CapacityError(text, scope="zone" if zoned else "region", code=code)
    if status == 408 or status >= 500 or status < 400:
        return UnknownOutcome(text, code=code)
    return InvalidRequest(text, code=code)


def namespace_of(message: str) -> str:
    """The resource provider that a text names, such as ``Microsoft.Network``."""
    found = re.search(r"Microsoft\.\w+", message)
    return found[0] if found else "…"


def _reach_of_quota(message: str) -> Scope:
    """Of a family of which there is none at all, no size can be had; else a smaller one may."""
    return "family" if re.search(r"Current Limit: 0\b", message) and "Family" in message else "region"


def translate(error: AzureError, *, zoned: bool = False) -> CloudError:
    """The CloudError that an exception of an Azure SDK means."""
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        code = (error.error.code if error.error else None) or ""
        message = (error.error.message if error.error else None) or error.reason or "no details"
        return refusal(code, message, zoned=zoned, status=error.status_code)
    if isinstance(error, ClientAuthenticationError):  # no token was to be had
        return AuthError(f"Azure: {error.message}", cure=LOGIN)
    return UnknownOutcome(f"Azure does not answer: {error.message}")


@contextmanager
def cloud_errors(*, zoned: bool = False) -> Iterator[None]:
    """Raise what the Azure SDKs raise as :class:`~sky_core.errors.CloudError`."""
    try:
        yield
    except AzureError as error:
        raise translate(error, zoned=zoned) from error
