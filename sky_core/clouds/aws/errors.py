"""What AWS's refusals mean, sorted into the :class:`~sky_core.errors.CloudError` family.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

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

# "Unsupported" is how EC2 says that a zone does not sell the type.
CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
        "InsufficientReservedInstanceCapacity",
        "UnfulfillableCapacity",
        "SpotMaxPriceTooLow",
        "Unsupported",
        "Server.InsufficientInstanceCapacity",
    }
)
QUOTA = frozenset(
    {
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "VolumeLimitExceeded",
        "MaxIOPSLimitExceeded",
        "Client.VolumeLimitExceeded",
        "PendingVerification",
        "SecurityGroupLimitExceeded",
    }
)
# Of a launch that names a reservation: it is full, or does not fit; and there is none of that id, or none any more.
FULL_RESERVATION = "ReservationCapacityExceeded"
NO_RESERVATION = "InvalidCapacityReservationId."
FULL_SUBNET = "InsufficientFreeAddressesInSubnet"
# Of the region as this account has it: machines of no type can be launched there.
MISSING_NETWORK = frozenset({"VPCIdNotSpecified", "MissingInput", "InvalidSubnetID.NotFound"})
FULL_GROUP = "RulesPerSecurityGroupLimitExceeded"
# Of what the request names: an image of this region, or a token that has been used.
UNKNOWN_IMAGE = frozenset({"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidAMIID.Malformed"})
SMALL_DISK = "InvalidBlockDeviceMapping"
USED_TOKEN = frozenset({"IdempotentInstanceTerminated", "IdempotentParameterMismatch"})
# Texts that come as InvalidParameterValue, of a type that no zone will ever start so.
NEVER = ("for InstanceType", "does not match the architecture")
# Reasons of an end that are refusals: EC2 accepts a launch before it looks at disks and keys.
LATE = frozenset(
    {
        "Client.InternalError",
        "Client.VolumeLimitExceeded",
        "Server.InsufficientInstanceCapacity",
        "Server.InternalError",
    }
)
LATE_POLICY = "Client.InternalError"  # of a machine that could not start: most often a disk key it may not use
AUTH = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
        "Client.InternalError",
        "Blocked",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
    }
)
# What a wrong key is answered everywhere, and a good one in a region that the account has not opted in to.
PERHAPS_REGIONAL = frozenset({"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "OptInRequired"})
NO_SPOT_ROLE = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
SERVICE_CONTROL_POLICY = "explicit deny in a service control policy"
# Failures of a service that come without a status of 500: EMR's with 400, EC2's as the reason of an end.
UNCLEAR = frozenset({"Server.InternalError", "InternalServerException", "InternalServerError", "InternalFailure"})
# "InvalidInstanceID.NotFound": EC2 is eventually consistent, and we ask to end only what it has just shown.
THROTTLED = frozenset(
    {
        "InvalidInstanceID.NotFound",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    }
)
ENDED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
LOGIN = "run: aws configure, or set AWS_PROFILE"
LOGIN_AGAIN = "the login has ended; run: aws sso login, or get a session anew from where you got this one"
NETWORK = "make a default VPC, or name a VPC and a subnet in [clouds.aws.network] of config.toml"
NONE_AT_ALL = "limit of 0 "  # of vCPUs of this family, in this market


def sort_code(code: str, status: int, message: str) -> CloudError:
    """The error for an error code and the HTTP status it came with."""
    text = f"{code}: {message}"
    if code in CAPACITY:
        return CapacityError(text, scope="zone", code=code)
    if code == FULL_RESERVATION:
        return CapacityError(text, scope="reservation", code=code)
    if code in QUOTA or code == FULL_SUBNET:
        scope: Scope = "zone" if code == FULL_SUBNET else "family" if NONE_AT_ALL in message else "region"
        return QuotaError(text, scope=scope, code=code)
    if code in USED_TOKEN:
        return of_its_own(CapacityError(text, scope="zone", code=code))
    if code in THROTTLED or status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(text, code=code)
    if code in AUTH or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _auth_error(code, text)
    if code == FULL_GROUP:
        cure = "remove rules of addresses that are no longer yours from the security group skyloom"
        return InvalidRequest(text, scope="region", code=code, cure=cure)
    if code in MISSING_NETWORK:
        return NotSetUp(text, scope="region", code=code, cure=NETWORK)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or code in UNCLEAR:
        return UnknownOutcome(text, code=code)
    return _invalid(code, text)


def sort_end(code: str, message: str) -> CloudError | None:
    """What the reason of a machine's end says of a launch that was accepted; None if it says nothing of it."""
    return sort_code(code, HTTPStatus.OK, message) if code in LATE else None


def _invalid(code: str, text: str) -> InvalidRequest:
    if code == "ParameterNotFound":  # of a name of ours: this region has no such image for anybody
        return InvalidRequest(text, scope="region", code=code)
    if code in UNKNOWN_IMAGE or code == SMALL_DISK:
        return of_its_own(InvalidRequest(text, scope="region", code=code, cure="images of AWS differ by region"))
    if code.startswith(NO_RESERVATION):
        return InvalidRequest(text, scope="reservation", code=code, cure=LOOK)
    if code == "BucketAlreadyExists":
        return InvalidRequest(text, scope="region", code=code, cure="set another bucket_prefix in [clouds.aws]")
    if any(words in text for words in NEVER):
        return InvalidRequest(text, scope="type", code=code)
    return InvalidRequest(text, code=code)


def _auth_error(code: str, text: str) -> AuthError:
    if code == NO_SPOT_ROLE:  # on-demand machines are to be had all the same
        cure = "once for the account: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
        return AuthError(text, scope="market", code=code, cure=cure)
    if SERVICE_CONTROL_POLICY in text:  # guard rails deny regions; the rest of the account goes on working
        return AuthError(text, scope="region", code=code, cure="ask the organisation's administrator")
    if code == LATE_POLICY:
        return AuthError(text, scope="region", code=code, cure="let EC2 use the key that encrypts this region's disks")
    if code == "UnauthorizedOperation":
        return AuthError(text, code=code, cure="grant the permission that the message names")
    return AuthError(text, code=code, cure=LOGIN_AGAIN if code in ENDED else LOGIN)


@contextmanager
def sorted_errors() -> Iterator[None]:
    """Turn the SDK's exceptions into ours.

    Raises:
        CloudError: of the fitting class, for any exception of botocore.
    """
    try:
        yield
    except ClientError as error:
        details = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise sort_code(str(details.get("Code", "")), status, str(details.get("Message", ""))) from error
    except (
        NoCredentialsError,
        PartialCredentialsError,
        CredentialRetrievalError,
        ProfileNotFound,
    ) as error:
        raise AuthError(f"AWS: {error}", cure=LOGIN) from error
    except (SSOError, TokenRetrievalError) as error:
        raise AuthError(f"AWS: {error}", cure=LOGIN_AGAIN) from error
    except (HTTPClientError, ConnectionError, ResponseParserError) as error:
        raise UnknownOutcome(f"AWS: {error}") from error
    except BotoCoreError as error:
        raise InvalidRequest(f"AWS: {error}") from error
