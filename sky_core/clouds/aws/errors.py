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

from sky_core.errors import (
    AuthError,
    CapacityError,
    CloudError,
    InvalidRequest,
    QuotaError,
    Throttled,
    UnknownOutcome,
)

# "Unsupported" is how EC2 says that a zone does not sell the type. A token whose machines have ended gives no others.
CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
        "InsufficientReservedInstanceCapacity",
        "UnfulfillableCapacity",
        "SpotMaxPriceTooLow",
        "Unsupported",
        "IdempotentInstanceTerminated",
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
        "PendingVerification",
        "SecurityGroupLimitExceeded",
    }
)
FULL_SUBNET = "InsufficientFreeAddressesInSubnet"
# Of the region as this account has it: machines of no type can be launched there.
MISSING_NETWORK = frozenset({"VPCIdNotSpecified", "MissingInput", "InvalidSubnetID.NotFound"})
FULL_GROUP = "RulesPerSecurityGroupLimitExceeded"
AUTH = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
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
LOGIN = "run: aws configure, or set AWS_PROFILE"


def sort_code(code: str, status: int, message: str) -> CloudError:
    """The error for an error code and the HTTP status it came with."""
    text = f"{code}: {message}"
    if code in CAPACITY:
        return CapacityError(text, scope="zone", code=code)
    if code in QUOTA or code == FULL_SUBNET:
        return QuotaError(text, scope="zone" if code == FULL_SUBNET else "region", code=code)
    if code in THROTTLED or status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(text, code=code)
    if code in AUTH or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _auth_error(code, text)
    if code == FULL_GROUP:
        cure = "remove rules of addresses that are no longer yours from the security group skyloom"
        return InvalidRequest(text, scope="region", code=code, cure=cure)
    if code in MISSING_NETWORK:
        return InvalidRequest(text, scope="region", code=code, cure="the region needs a default VPC with a subnet")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnknownOutcome(text, code=code)
    return InvalidRequest(text, code=code)


def _auth_error(code: str, text: str) -> AuthError:
    if code == NO_SPOT_ROLE:  # on-demand machines are to be had all the same
        cure = "once for the account: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
        return AuthError(text, scope="market", code=code, cure=cure)
    if SERVICE_CONTROL_POLICY in text:  # guard rails deny regions; the rest of the account goes on working
        return AuthError(text, scope="region", code=code, cure="ask the organisation's administrator")
    if code == "UnauthorizedOperation":
        return AuthError(text, code=code, cure="grant the permission that the message names")
    return AuthError(text, code=code, cure=LOGIN)


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
        SSOError,
        TokenRetrievalError,
    ) as error:
        raise AuthError(f"AWS: {error}", cure=LOGIN) from error
    except (HTTPClientError, ConnectionError, ResponseParserError) as error:
        raise UnknownOutcome(f"AWS: {error}") from error
    except BotoCoreError as error:
        raise InvalidRequest(f"AWS: {error}") from error
