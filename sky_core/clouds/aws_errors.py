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

# "Unsupported" and "MissingInput" are how EC2 says that a zone does not sell the type or has no default subnet.
CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
        "InsufficientReservedInstanceCapacity",
        "UnfulfillableCapacity",
        "SpotMaxPriceTooLow",
        "Unsupported",
        "MissingInput",
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
        "RulesPerSecurityGroupLimitExceeded",
        "SecurityGroupLimitExceeded",
    }
)
AUTH = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
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
# "InvalidInstanceID.NotFound": EC2 is eventually consistent, and we ask to end only what it has just shown.
THROTTLED = frozenset(
    {
        "InvalidInstanceID.NotFound",
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
    if code in QUOTA:
        return QuotaError(text, scope="region", code=code)
    if code in THROTTLED or status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(text, code=code)
    if code in AUTH or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return AuthError(text, code=code, cure=LOGIN)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnknownOutcome(text, code=code)
    return InvalidRequest(text, code=code)


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
    except (HTTPClientError, ResponseParserError) as error:
        raise UnknownOutcome(f"AWS: {error}") from error
    except BotoCoreError as error:
        raise InvalidRequest(f"AWS: {error}") from error
