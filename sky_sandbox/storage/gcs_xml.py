"""The GCS dialect, XML API: https://cloud.google.com/storage/docs/xml-api/overview

It is made after S3's, with headers of its own, generations, and bearer tokens; the sandbox serves of it what object
clients use: objects, lists (version 2) and multipart uploads. Buckets are made by the JSON API.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sky_sandbox.storage.gcs import crc32c
from sky_sandbox.storage.objects import Object, Service
from sky_sandbox.storage.s3 import S3, error

OTHERS_HEADERS = "x-amz-"


class GcsXml(S3):
    """Answers XML requests with the objects of the JSON API."""

    service: Service = "gcs"
    vendor = "x-goog-"

    async def answer(self, request: Request, path: str) -> Response:
        """See :meth:`S3.answer`. Headers of S3's are refused next to a bearer token, as Google does."""
        if any(name.startswith(OTHERS_HEADERS) for name in request.headers):
            return error(400, "InvalidArgument", "x-amz- headers go with an S3 signature")
        return await super().answer(request, path)

    async def _create_bucket(self, request: Request, bucket: str) -> Response:
        return error(501, "NotImplemented", "buckets are made by the JSON API")

    def _headers(self, found: Object) -> dict[str, str]:
        return {
            **super()._headers(found),
            "x-goog-generation": str(found.generation),
            "x-goog-metageneration": "1",
            "x-goog-hash": f"crc32c={crc32c(found.path)},md5={found.md5_base64}",
            "x-goog-stored-content-length": str(found.size),
        }

    def _precondition(self, request: Request, bucket: str, key: str) -> Response | None:
        """The refusal of a conditional write, or None. Generation 0 means "create"."""
        wanted = request.headers.get("x-goog-if-generation-match")
        found = self._objects.get(self.service, bucket, key)
        if wanted is not None and int(wanted) != (found.generation if found else 0):
            return error(412, "PreconditionFailed")
        return None
