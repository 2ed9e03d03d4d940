"""A refusal in EC2's words."""

from __future__ import annotations

import uuid
from typing import Any
from xml.sax.saxutils import escape

from werkzeug.exceptions import HTTPException

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html; all others answer 400.
STATUSES = {
    "AuthFailure": 401,
    "UnauthorizedOperation": 403,
    "Blocked": 403,
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
}


class AwsError(HTTPException):
    """A refusal in EC2's words: an exception inside moto, an answer outside."""

    def __init__(self, code: str, message: str) -> None:
        # moto sends the description as it is.
        super().__init__(
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
            f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
            f"</Error></Errors><RequestID>{uuid.uuid4()}</RequestID></Response>"
        )
        self.code = STATUSES.get(code, 400)

    def get_body(self, environ: Any = None, scope: Any = None) -> str:
        """EC2's error document."""
        return self.description or ""

    def get_headers(self, environ: Any = None, scope: Any = None) -> list[tuple[str, str]]:
        """An XML document."""
        return [("Content-Type", "text/xml;charset=UTF-8")]
