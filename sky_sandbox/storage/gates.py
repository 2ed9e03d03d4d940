"""Who may do what: each request is looked at before it is answered, as its cloud would.

The account's own login may do what whoever drives may. What was lent may do what it was lent for, until it ends. A
Google machine's own account may do what its scopes say; nobody else gets in.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from sky_sandbox.gcp.accounts import MACHINE, denied, scoped
from sky_sandbox.gcp.login import Bearer
from sky_sandbox.logins import Login, Logins, allows_gcs, allows_s3, signature_holds
from sky_sandbox.storage import blob, gcs, s3

CREDENTIAL = re.compile(r"Credential=([^/,]+)/")
OWN_KEY = "AKIASKYLOOMSANDBOX00"  # as what the AWS API takes; those that begin so are one's own, too
ACCOUNT_KEY = "c2FuZGJveA=="
Lacks = Callable[[str], bool]
Regions = Callable[[str], "str | None"]  # of a bucket; None where there is none


async def s3_refusal(
    request: Request, path: str, logins: Logins, exists: Callable[[str, str], bool], lacks: Lacks, regions: Regions
) -> Response | None:
    """Why S3 refuses a request, or None; ``lacks`` is asked of what one's own login may not do."""
    refusal = await _s3_refusal(request, path, logins, exists, lacks)
    name, _, key = unquote(path.lstrip("/")).partition("/")
    if refusal is not None and request.method == "HEAD" and not key and (region := regions(name)) is not None:
        refusal.headers["x-amz-bucket-region"] = region  # told to everybody
    return refusal


async def _s3_refusal(
    request: Request, path: str, logins: Logins, exists: Callable[[str, str], bool], lacks: Lacks
) -> Response | None:
    found = CREDENTIAL.search(request.headers.get("authorization", "")) or CREDENTIAL.search(
        "Credential=" + unquote(request.query_params.get("X-Amz-Credential", "")))  # fmt: skip
    if found is None:
        return s3.error(403, "AccessDenied")
    bucket, _, key = unquote(path.lstrip("/")).partition("/")
    if found[1].startswith(OWN_KEY):
        lacking = next((action for action, *_ in await _s3_actions(request, bucket, key) if lacks(action)), None)
        return s3.error(403, "AccessDenied", f"User is not authorized to perform: {lacking}") if lacking else None
    login = logins.find(found[1])
    if not isinstance(login, Login):
        return s3.error(400, "ExpiredToken") if login == "expired" else s3.error(403, "InvalidAccessKeyId")
    if request.headers.get("x-amz-security-token") != login.secret:
        return s3.error(403, "InvalidToken")
    wanted = await _s3_actions(request, bucket, key)
    if not all(allows_s3(login, *one) for one in wanted):
        return s3.error(403, "AccessDenied")
    # Who may not list is not told either that there is nothing.
    missing = key and request.method in ("GET", "HEAD") and not exists(bucket, key)
    if missing and not allows_s3(login, "s3:ListBucket", f"arn:aws:s3:::{bucket}"):
        return s3.error(403, "AccessDenied")
    return None


async def _s3_actions(request: Request, bucket: str, key: str) -> list[tuple[str, str, str | None]]:
    """What a request does: action, resource, and the prefix that a list asks for."""
    arn, query = f"arn:aws:s3:::{bucket}", request.query_params
    if not bucket:
        return [("s3:ListAllMyBuckets", "*", None)]
    if not key and request.method == "POST" and "delete" in query:
        names = [one.text or "" for one in ET.fromstring(await request.body()).iter() if s3.local(one) == "Key"]  # noqa: S314
        return [("s3:DeleteObject", f"{arn}/{name}", None) for name in names]
    if not key:
        if request.method in ("GET", "HEAD"):
            return [("s3:ListBucket", arn, query.get("prefix"))]
        return [("s3:CreateBucket" if request.method == "PUT" else "s3:DeleteBucket", arn, None)]
    action = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "DELETE": "s3:DeleteObject"}.get(request.method)
    source = unquote(request.headers.get("x-amz-copy-source", "")).lstrip("/")
    copied = [("s3:GetObject", f"arn:aws:s3:::{source}", None)] if source else []
    return [*copied, (action or "s3:PutObject", f"{arn}/{key}", None)]


async def gcs_refusal(request: Request, path: str, bearer: Bearer, lacks: Lacks) -> Response | None:
    """Why Google Cloud Storage refuses a request, or None; ``lacks`` is asked of what one's own login may not do."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if "upload_id" in request.query_params:
        return None  # a session's URI is its own credential
    if token.startswith(MACHINE):
        if not scoped(token, "devstorage"):
            return gcs.error(403, "Provided scope(s) are not authorized", "forbidden")
        right = _gcs_right(request, path)
        why = f"account does not have {right} access to the Google Cloud Storage object."
        return gcs.error(403, why, "forbidden") if denied(token, right) else None
    login = bearer(token)
    if not isinstance(login, Login):
        return gcs.error(401, "Invalid Credentials", "authError")
    if login.own:
        right = _gcs_right(request, path)
        why = f"account does not have {right} access to the Google Cloud project."
        return gcs.error(403, why, "forbidden") if lacks(right) else None
    parts = [unquote(part) for part in path.partition("/storage/v1/")[2].split("/")]
    bucket = parts[1] if len(parts) > 1 else ""
    if path.startswith("/batch/"):
        asked = re.findall(r"DELETE \S*/b/([^/\s]+)/o/([^?\s]+)", (await request.body()).decode())
        allowed = all(allows_gcs(login, unquote(b), write=True, name=unquote(name)) for b, name in asked)
    elif path.startswith("/upload/"):
        allowed = allows_gcs(login, bucket, write=True, name=await _uploaded(request))
    elif len(parts) > 3:
        allowed = allows_gcs(login, bucket, write=request.method not in ("GET", "HEAD"), name=parts[3])
    elif len(parts) == 3:
        allowed = allows_gcs(login, bucket, write=False, prefix=request.query_params.get("prefix", ""))
    else:
        allowed = False
    return None if allowed else gcs.error(403, "Permission denied on resource (or it may not exist).", "forbidden")


def gcs_xml_refusal(request: Request, path: str, bearer: Bearer, lacks: Lacks) -> Response | None:
    """Why the XML API refuses a request, or None."""
    token = request.headers["authorization"].removeprefix("Bearer ")
    bucket, _, key = unquote(path.lstrip("/")).partition("/")
    if token.startswith(MACHINE):
        if not scoped(token, "devstorage"):
            return s3.error(403, "AccessDenied", "Provided scope(s) are not authorized")
        may = not any(denied(token, right) for right in _gcs_xml_rights(request, key))
        return None if may else s3.error(403, "AccessDenied", "Access denied.")
    login = bearer(token)
    if not isinstance(login, Login):
        return s3.error(401, "AuthenticationRequired", "Authentication required.")
    if login.own:
        lacking = next((right for right in _gcs_xml_rights(request, key) if lacks(right)), None)
        why = f"account does not have {lacking} access to the Google Cloud Storage object."
        return s3.error(403, "AccessDenied", why) if lacking else None
    if key:
        allowed = allows_gcs(login, bucket, write=request.method not in ("GET", "HEAD"), name=key)
        copied = unquote(request.headers.get("x-goog-copy-source", "")).lstrip("/").partition("/")
        allowed = allowed and (not copied[0] or allows_gcs(login, copied[0], write=False, name=copied[2]))
    else:
        allowed = request.method == "GET" and allows_gcs(
            login, bucket, write=False, prefix=request.query_params.get("prefix", "")
        )
    return None if allowed else s3.error(403, "AccessDenied", "Access denied.")


def _gcs_xml_rights(request: Request, key: str) -> list[str]:
    """The permissions that a request takes: https://cloud.google.com/storage/docs/access-control/iam-xml"""
    query = request.query_params
    if not key:
        return ["storage.objects.list" if request.method == "GET" else "storage.buckets.create"]
    if "uploads" in query or "uploadId" in query:
        verb = {"DELETE": "abort", "GET": "listParts"}.get(request.method, "create")
        needed = ["storage.multipartUploads." + verb]
        return [*needed, "storage.objects.create"] if verb == "create" else needed
    verbs = {"GET": "get", "HEAD": "get", "DELETE": "delete"}
    read = ["storage.objects.get"] if "x-goog-copy-source" in request.headers else []
    return [*read, f"storage.objects.{verbs.get(request.method, 'create')}"]


def _gcs_right(request: Request, path: str) -> str:
    """The permission that a request takes: https://cloud.google.com/storage/docs/access-control/iam-json"""
    verb = {"GET": "get", "HEAD": "get", "DELETE": "delete", "POST": "create", "PUT": "create", "PATCH": "update"}
    parts = path.partition("/storage/v1/")[2].split("/")
    if path.startswith("/batch/"):
        return "storage.objects.delete"
    if path.startswith("/upload/") or len(parts) > 3:
        return f"storage.objects.{verb[request.method]}"
    if len(parts) == 3 or (len(parts) == 1 and request.method == "GET"):
        return "storage.objects.list" if len(parts) == 3 else "storage.buckets.list"
    return f"storage.buckets.{verb[request.method]}"


async def _uploaded(request: Request) -> str:
    """The name of the object that an upload begins to make."""
    if "name" in request.query_params:
        return request.query_params["name"]
    body = await request.body()
    found = re.search(rb"\{.*?\}(?=\s*(?:\r?\n|$))", body, re.DOTALL)
    told = json.loads(found[0]) if found else {}
    return str(told.get("name", ""))


def blob_refusal(request: Request, path: str, hierarchical: bool) -> Response | None:
    """Why Azure's Blob service refuses a request, or None."""
    if request.headers.get("authorization", "").startswith("SharedKey "):
        return None
    query = request.query_params
    account, _, rest = path.lstrip("/").partition("/")
    container, _, key = unquote(rest).partition("/")
    if "sig" not in query:
        return blob.error(401, "NoAuthenticationInformation")
    verdict = signature_holds(dict(query), f"{account}/{container}", ACCOUNT_KEY, _blob_right(request, key), key)
    if query.get("sr") == "d" and not hierarchical:
        verdict = "unknown"
    if verdict == "yes":
        return None
    return blob.error(403, "AuthorizationPermissionMismatch" if verdict == "no" else "AuthenticationFailed")


def _blob_right(request: Request, key: str) -> str:
    """The letter that a signature needs: https://learn.microsoft.com/rest/api/storageservices/create-service-sas"""
    if not key:
        return "l" if request.query_params.get("comp") == "list" else "d"
    return {"GET": "r", "HEAD": "r", "DELETE": "d"}.get(request.method, "w")
