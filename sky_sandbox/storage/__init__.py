"""One object store on loopback that speaks S3, GCS and Azure Blob, for the clouds' real client libraries.

Serve :func:`app` at the root of a port ``P`` of its own. Clients reach it by:

- S3 (boto3, s3fs): ``endpoint_url="http://127.0.0.1:P"``, path-style addresses;
- GCS (gcsfs, google-cloud-storage): ``endpoint_url="http://127.0.0.1:P"``, ``token="anon"``;
- GCS by its XML API (obstore): ``base_url="http://127.0.0.1:P"`` and any bearer token;
- Azure Blob (adlfs, azure-storage-blob): ``BlobEndpoint=http://127.0.0.1:P/<account>``, any account and key.

The three are separate worlds: a bucket made through one API is not seen by the others. Credentials are checked if the
store is given the :class:`~sky_sandbox.logins.Logins` that its clouds lend.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from sky_sandbox.gcp.login import LENT, Bearer
from sky_sandbox.logins import Logins
from sky_sandbox.storage.blob import Blob
from sky_sandbox.storage.gates import blob_refusal, gcs_refusal, gcs_xml_refusal, s3_refusal
from sky_sandbox.storage.gcs import Gcs
from sky_sandbox.storage.gcs_xml import GcsXml
from sky_sandbox.storage.objects import Objects
from sky_sandbox.storage.outages import Outages
from sky_sandbox.storage.s3 import S3

GSUTIL_UPLOADS = "/resumable/upload/storage/v1/"  # its older name for the beginning of a resumable upload
GCS_PATHS = ("/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/", "/batch/storage/v1")


def app(
    root: Path,
    outages: Outages | None = None,
    logins: Logins | None = None,
    google: Bearer | None = None,
    lacks: Callable[[str], bool] = lambda permission: False,
    hierarchical: Callable[[], bool] = lambda: True,
) -> Starlette:
    """The object store over the folder ``root``, as an ASGI application. What it holds survives a restart.

    ``google`` says whose Google's tokens are, as far as ``logins`` do not. ``lacks`` tells of a permission whether the
    account's own login is without it, ``hierarchical`` whether Azure's account has folders.
    """
    objects = Objects(root)
    bearer = google or (lambda token: "unknown" if logins is None else logins.bearer(token, LENT))
    s3, gcs, gcs_xml, blob = S3(objects), Gcs(objects), GcsXml(objects), Blob(objects, hierarchical)

    def there(bucket: str, key: str) -> bool:
        return objects.get("s3", bucket, key) is not None

    def region(bucket: str) -> str | None:
        found = objects.buckets("s3").get(bucket)
        return None if found is None else found[0] or s3.first_region

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = scope["raw_path"].decode()  # undecoded: GCS writes "/" within object names as %2F
        path = path.removeprefix("/resumable") if path.startswith(GSUTIL_UPLOADS) else path
        try:
            if outages is not None and outages.hit(path):
                response = Response(status_code=503)
            elif path.startswith(GCS_PATHS):
                refusal = None if logins is None else await gcs_refusal(request, path, bearer, lacks)
                response = refusal or await gcs.answer(request, path)
            elif "x-ms-version" in request.headers:  # every request of Azure's clients carries it
                refusal = None if logins is None else blob_refusal(request, path, hierarchical())
                response = refusal or await blob.answer(request, path)
            elif request.headers.get("authorization", "").startswith("Bearer "):
                refusal = None if logins is None else gcs_xml_refusal(request, path, bearer, lacks)
                response = refusal or await gcs_xml.answer(request, path)
            else:
                refusal = None if logins is None else await s3_refusal(request, path, logins, there, lacks, region)
                response = refusal or await s3.answer(request, path)
        except ClientDisconnect:
            response = Response(status_code=400)
        await response(scope, receive, send)

    return Starlette(routes=[Mount("/", app=serve)])
