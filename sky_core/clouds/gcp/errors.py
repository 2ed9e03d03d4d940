"""What Google Cloud's refusals mean, sorted into the :class:`~sky_core.errors.CloudError` family.

Sources: https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-vm-creation (codes of operations),
https://cloud.google.com/compute/docs/resource-error and the reasons of HTTP errors; for TPUs the canonical codes
of google.rpc. A stock-out is never an HTTP error: the call succeeds and its operation fails.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

import requests
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.api_core.retry import Retry, if_transient_error
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.cloud.compute_v1.types import Error, Operation

from sky_core.clouds.base import REFUSALS
from sky_core.clouds.reservations import LOOK
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

log = logging.getLogger(__name__)

CALLED = re.compile(r"^[A-Z]+ https?://\S+: ")  # what google-api-core puts before the words of an HTTP error
ZONE_CAPACITY = frozenset(
    {
        "ZONE_RESOURCE_POOL_EXHAUSTED",
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        "RESOURCE_POOL_EXHAUSTED",
        "GPU_STOCKOUT",
        "VM_MIN_COUNT_NOT_REACHED",
        "insufficientCapacity",
        "UNSUPPORTED_OPERATION",  # what an insert says when the machine was preempted while it was being made
    }
)
REGION_CAPACITY = frozenset({"REGION_RESOURCE_POOL_EXHAUSTED"})
NO_ADDRESS = "External IP resource pool is exhausted"  # comes under several codes
QUOTA_CODES = frozenset({"QUOTA_EXCEEDED", "quotaExceeded", "limitExceeded", "IP_SPACE_EXHAUSTED"})
THROTTLE_CODES = frozenset(
    {
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "RATE_LIMIT_EXCEEDED",
        "RESOURCE_OPERATION_RATE_EXCEEDED",
        "operationRateExceeded",
        "RESOURCE_NOT_READY",
    }
)
AUTH_CODES = frozenset({"PERMISSIONS_ERROR", "SERVICE_ACCOUNT_ACCESS_DENIED"})  # come with status 0 and 400
POLICY_CODES = frozenset(
    {"conditionNotMet", "CONDITION_NOT_MET"}
)  # of an organisation's constraint, or of something else
# Texts, one around a stock-out's code, that tell of a machine which no zone will ever start so.
NEVER = ("features are not compatible", "can not be used without accelerator")
# Texts of inserts that name a reservation, as the cluster autoscaler of Kubernetes tells them apart: it is full, or
# holds another kind of machine; and it is not there, not ready, or takes all that fits and cannot be named.
FULL_RESERVATION = re.compile(
    r"Specified reservation .* does not have available resources|No available resources in specified reservations"
)
NO_RESERVATION = re.compile(
    r"Specified reservations? .* (does|do) not exist|requires reservation to be in READY state"
    r"|can not be targeted as specificReservationRequired is not set"
)
# Texts about what the request itself names: its image, its disk.
USED = frozenset({"alreadyExists", "ALREADY_EXISTS", "EXTERNAL_RESOURCE_NOT_FOUND"})
OWN = ("/global/images/", "cannot be smaller than the image size", "sourceImage")
NETWORK = "make the network default, or name a network and a subnet in [clouds.gcp.network] of config.toml"
DISABLED = frozenset({"accessNotConfigured", "SERVICE_DISABLED", "billingNotEnabled"})
# For calls that may be made twice: reads, deletes, waits.
RETRY = Retry(predicate=if_transient_error, initial=0.2, maximum=2.0, timeout=10.0)
LOGIN = "run: gcloud auth application-default login; with a service account, check its key and that it is enabled"


def sort_code(code: str, status: int, message: str) -> CloudError:
    """The error for a reason or operation code and an HTTP status (0 where there is none)."""
    if any(words in message for words in NEVER):
        return InvalidRequest(message, scope="type", code=code)
    if FULL_RESERVATION.search(message):
        return CapacityError(message, scope="reservation", code=code)
    if NO_RESERVATION.search(message):
        return InvalidRequest(message, scope="reservation", code=code, cure=LOOK)
    if code in REGION_CAPACITY or NO_ADDRESS in message:
        return CapacityError(message, scope="region", code=code)
    if code in ZONE_CAPACITY:
        return CapacityError(message, scope="zone", code=code)
    if code in QUOTA_CODES:
        return QuotaError(message, scope=_reach_of_quota(message), code=code)
    if code in THROTTLE_CODES or status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(message, code=code)
    if _is_not_sold_here(status, message):
        return CapacityError(message, scope="zone", code=code)  # another zone may sell it
    if code in AUTH_CODES or code in POLICY_CODES or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _refused_right(code, status, message)
    if status == HTTPStatus.NOT_FOUND and "serviceAccount" in message:
        cure = "make the project's default service account anew"
        return AuthError(message, code=code, cure=cure)
    if "global/networks/" in message or "subnetwork" in message:
        return NotSetUp(message, scope="cloud" if "global/networks/" in message else "region", code=code, cure=NETWORK)
    if code in USED or status == HTTPStatus.CONFLICT or any(words in message for words in OWN):
        return of_its_own(InvalidRequest(message, scope="cloud", code=code))
    if 400 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:
        return InvalidRequest(message, code=code)
    return UnknownOutcome(message, code=code)


def _reach_of_quota(message: str) -> Scope:
    if "ALL_REGIONS" in message:
        return "cloud"
    return "family" if re.search(r"Limit: 0(\.0)? ", message) else "region"


def _is_not_sold_here(status: int, message: str) -> bool:
    if status == HTTPStatus.NOT_FOUND:
        return any(kind in message for kind in ("machineTypes/", "acceleratorTypes/", "accelerator type"))
    return status == HTTPStatus.BAD_REQUEST and "field 'resource.machineType'" in message


def _refused_right(code: str, status: int, message: str) -> CloudError:
    """The error for a missing login or role, or for an organisation's policy, which may be about one place only."""
    if status == HTTPStatus.UNAUTHORIZED:
        return AuthError(message, code=code, cure=LOGIN)
    if code in POLICY_CODES and "constraints/" not in message:
        return InvalidRequest(message, code=code)
    if code in DISABLED:
        return NotSetUp(message, code=code, cure="enable the API and billing in the project, as the message says")
    if "storage.buckets" in message:  # a name that somebody else took; each region has its own
        return AuthError(message, scope="region", code=code, cure="set another bucket_prefix in [clouds.gcp]")
    if "constraints/gcp.resourceLocations" in message:
        return AuthError(message, scope="region", code=code, cure="the organisation allows other locations")
    if "constraints/compute.vmExternalIpAccess" in message:
        cure = "set public_addresses = false in [clouds.gcp.network] of config.toml"
        return AuthError(message, code=code, cure=cure)
    return AuthError(message, code=code, cure="grant the role, enable the API or change the policy that it names")


def operation_error(operation: Operation) -> CloudError | None:
    """Why a finished Compute operation failed, or None if it did not."""
    if not operation.error.errors:
        return None
    error = operation.error.errors[0]
    sorted_error = sort_code(error.code, operation.http_error_status_code, error.message)
    if isinstance(sorted_error, QuotaError):
        sorted_error.scope = _quota_scope(error, sorted_error.scope)
    return sorted_error


def _quota_scope(error: Error | object, default: Scope) -> Scope:
    for detail in getattr(error, "error_details", ()):
        dimensions = detail.quota_info.dimensions
        if dimensions:
            return "zone" if "zone" in dimensions else "region"
    return default


def tpu_error(code: int, message: str) -> CloudError:
    """Why a TPU operation failed: ``code`` is a google.rpc.Code.

    RESOURCE_EXHAUSTED (8) stands for stock-out and for quota; only the message tells them apart.
    """
    if code == 8 and "quota" in message.lower():
        return QuotaError(message, scope="zone" if "zone" in message else "region", code="RESOURCE_EXHAUSTED")
    if code in (8, 9) and ("capacity" in message.lower() or code == 8):
        return CapacityError(message, scope="zone", code="RESOURCE_EXHAUSTED" if code == 8 else "FAILED_PRECONDITION")
    if code == 3 and "PREEMPTED" in message:  # taken back while it was being made
        return CapacityError(message, scope="zone", code="PREEMPTED")
    if code in (7, 16):
        return _tpu_right(AuthError(message, code=str(code), cure=LOGIN))
    if code in (3, 5, 9):
        return InvalidRequest(message, code=str(code))
    return UnknownOutcome(message, code=str(code))


@contextmanager
def cloud_errors(what: str) -> Iterator[None]:
    """Turn whatever Google's libraries raise inside into a CloudError that says what was being done."""
    try:
        yield
    except (DefaultCredentialsError, RefreshError) as error:
        raise AuthError(f"{what}: {error}", cure=LOGIN) from error
    except GoogleAPICallError as error:
        raise sort_call(error, what) from error
    except RetryError as error:
        if isinstance(error.cause, GoogleAPICallError):
            raise sort_call(error.cause, what) from error
        raise UnknownOutcome(f"{what}: {error.cause}", code=type(error.cause).__name__) from error
    except (requests.RequestException, TransportError, GoogleAuthError) as error:
        raise UnknownOutcome(f"{what}: {error}", code=type(error).__name__) from error


@contextmanager
def tpu_errors(what: str) -> Iterator[None]:
    """:func:`cloud_errors` for the TPU API, whose refusals say nothing about Compute Engine's machines."""
    try:
        with cloud_errors(what):
            yield
    except AuthError as error:
        raise _tpu_right(error) from error


def _tpu_right(error: AuthError) -> AuthError:
    """A missing right to use TPUs: in a zone that is closed to the project, or the API as a whole."""
    if "Location" in str(error) and "is not found or access is unauthorized" in str(error):
        error.scope = "zone"
    elif error.code != "UNAUTHENTICATED" and error.code != "authError":
        error.scope = "type"
    return error


@contextmanager
def dataproc_errors(what: str) -> Iterator[None]:
    """:func:`cloud_errors` for Dataproc, whose refusals say nothing about Compute Engine's machines either."""
    try:
        with cloud_errors(what):
            yield
    except AuthError as error:
        if error.code not in ("UNAUTHENTICATED", "authError"):
            error.scope = "type"
        raise
    except InvalidRequest as error:
        raise dataproc_end(str(error)) or error from error


def dataproc_end(message: str) -> CloudError | None:
    """What the words about a cluster that has not come about say of its launch; None if they say nothing of it."""
    if "quota" in message.lower():
        return QuotaError(message, scope="region", code="QUOTA_EXCEEDED")
    if "enough resources available" in message or any(code in message for code in ZONE_CAPACITY):
        return CapacityError(message, scope="zone", code="ZONE_RESOURCE_POOL_EXHAUSTED")
    return None


def sort_call(error: GoogleAPICallError, what: str) -> CloudError:
    """The error for a failed HTTP call of Compute (its ``reason``) or TPU (its canonical code)."""
    message = f"{what}: {CALLED.sub('', error.message)}"
    status = int(error.code or 0)
    if _is_tpu_quota(error.details):
        return QuotaError(message, scope="zone" if "zone" in message else "region", code="RESOURCE_EXHAUSTED")
    return sort_code(_reason(error), status, message)


def _reason(error: GoogleAPICallError) -> str:
    for entry in error.errors or ():
        if isinstance(entry, dict) and entry.get("reason"):
            return str(entry["reason"])
    return str(error.reason or getattr(error.grpc_status_code, "name", "") or "")


def _is_tpu_quota(details: Sequence[object] | None) -> bool:
    return any(type(detail).__name__ == "QuotaFailure" for detail in details or ())


@contextmanager
def all_or_nothing(made: Collection[str], undo: Callable[[Collection[str]], None]) -> Iterator[None]:
    """Launch a gang inside, noting what was ``made``; a refusal of one machine undoes the others.

    Raises:
        CloudError: the refusal, which is not settled if the others could not be undone.
        UnknownOutcome: instead of Throttled, if something was made. The same call may then be made again: it takes up
            what is there.
    """
    try:
        yield
    except REFUSALS as refusal:
        try:
            undo(made)
        except CloudError as error:
            refusal.settled = False
            log.warning("taking back %s failed: %s", ", ".join(made), error)
        raise
    except Throttled as error:
        if not made:
            raise
        raise UnknownOutcome(f"{error}; until then were made: {', '.join(made)}", code=error.code) from error
