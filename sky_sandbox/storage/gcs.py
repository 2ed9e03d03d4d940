"""The GCS dialect, JSON API v1: https://cloud.google.com/storage/docs/json_api/v1"""

from __future__ import annotations

import base64
import functools
import json
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sky_sandbox.storage.objects import Body, Object, Objects
from sky_sandbox.storage.reply import content, iso_date

CONTENT_RANGE = re.compile(r"bytes (?:\*|(\d+)-(\d+))/(\d+|\*)$")


class Gcs:
    """Answers GCS requests. Unfinished resumable uploads live in memory and end with the process."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._uploads: dict[str, Upload] = {}
        self._owners: dict[str, str] = {}  # project by bucket; those from before a restart are whoever's asks

    async def answer(self, request: Request, path: str) -> Response:
        """The reply to one request; ``path`` is still percent-encoded."""
        if path.startswith("/batch/"):
            return await self._batch(request)
        parts = [unquote(part) for part in path.partition("/storage/v1/")[2].split("/")]
        if parts == ["b"]:
            return await self._buckets(request)
        bucket = parts[1]
        if bucket not in self._objects.buckets("gcs"):
            return error(404, "The specified bucket does not exist.", "notFound")
        if len(parts) == 2:
            return self._bucket(request, bucket)
        if path.startswith("/upload/"):
            return await self._upload(request, bucket)
        if len(parts) == 3:
            return self._list(request, bucket)
        return await self._object(request, bucket, parts[3], parts[4:], media=path.startswith("/download/"))

    # --- buckets ---------------------------------------------------------------------------------------------

    async def _buckets(self, request: Request) -> Response:
        if request.method == "POST":
            wanted = await request.json()
            if not self._objects.create_bucket("gcs", wanted["name"], wanted.get("location", "US")):
                return error(409, "Your previous request to create the named bucket succeeded.", "conflict")
            self._owners[wanted["name"]] = request.query_params.get("project", "")
            return JSONResponse(self._bucket_resource(wanted["name"]))
        project, prefix = request.query_params.get("project", ""), request.query_params.get("prefix", "")
        ours = (name for name in self._objects.buckets("gcs") if self._owners.get(name, project) == project)
        found = [self._bucket_resource(name) for name in ours if name.startswith(prefix)]
        return JSONResponse({"kind": "storage#buckets", "items": found})

    def _bucket(self, request: Request, bucket: str) -> Response:
        if request.method == "DELETE":
            if not self._objects.drop_bucket("gcs", bucket):
                return error(409, "The bucket you tried to delete is not empty.", "conflict")
            return Response(status_code=204)
        return JSONResponse(self._bucket_resource(bucket))

    def _bucket_resource(self, name: str) -> dict[str, Any]:
        location, created = self._objects.buckets("gcs")[name]
        return {
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "location": location.upper(),
            "locationType": "region",
            "storageClass": "STANDARD",
            "timeCreated": iso_date(created),
            "updated": iso_date(created),
            "metageneration": "1",
            "etag": "CAE=",
        }

    def _list(self, request: Request, bucket: str) -> Response:
        query = request.query_params
        page = self._objects.list(
            "gcs",
            bucket,
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            after=unquote(query.get("pageToken", "")),
            limit=int(query.get("maxResults", "1000")),
        )
        reply: dict[str, Any] = {
            "kind": "storage#objects",
            "items": [resource(request, bucket, key, found) for key, found in page.objects],
            "prefixes": page.prefixes,
        }
        if page.next:
            reply["nextPageToken"] = quote(page.next)
        return JSONResponse(reply)

    # --- objects ---------------------------------------------------------------------------------------------

    async def _object(self, request: Request, bucket: str, key: str, verb: list[str], *, media: bool) -> Response:
        found = self._objects.get("gcs", bucket, key)
        if verb == ["compose"]:
            return await self._compose(request, bucket, key)
        if found is None:
            return error(404, f"No such object: {bucket}/{key}", "notFound")
        if verb and verb[0] in ("rewriteTo", "copyTo"):
            return self._copy(request, found, verb[0], verb[2], verb[4])
        if request.method == "DELETE":
            refusal = self._precondition(request.query_params, bucket, key)
            if refusal:
                return refusal
            self._objects.delete("gcs", bucket, key)
            return Response(status_code=204)
        if request.method in ("PATCH", "PUT"):
            changes = (await request.json()).get("metadata") or {}
            merged = {**found.metadata, **changes}
            self._objects.describe("gcs", bucket, key, {k: v for k, v in merged.items() if v is not None})
            found = self._objects.get("gcs", bucket, key)
            assert found is not None
        if media or request.query_params.get("alt") == "media":
            hashes = f"crc32c={crc32c(found.path)},md5={found.md5_base64}"
            return content(request, found, {"X-Goog-Generation": str(found.generation), "X-Goog-Hash": hashes})
        return JSONResponse(resource(request, bucket, key, found))

    def _precondition(self, query: Mapping[str, str], bucket: str, key: str) -> Response | None:
        """The refusal of a conditional write, or None. ``ifGenerationMatch=0`` means "create"."""
        wanted = query.get("ifGenerationMatch")
        found = self._objects.get("gcs", bucket, key)
        if wanted is not None and int(wanted) != (found.generation if found else 0):
            return error(412, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")
        return None

    def _copy(self, request: Request, found: Object, verb: str, bucket: str, key: str) -> Response:
        if bucket not in self._objects.buckets("gcs"):
            return error(404, "The specified bucket does not exist.", "notFound")
        refusal = self._precondition(request.query_params, bucket, key)
        if refusal:
            return refusal
        copied = resource(request, bucket, key, self._objects.copy("gcs", found, bucket, key))
        if verb == "copyTo":
            return JSONResponse(copied)
        size = str(found.size)
        done = {"kind": "storage#rewriteResponse", "done": True, "objectSize": size, "totalBytesRewritten": size}
        return JSONResponse({**done, "resource": copied})

    async def _compose(self, request: Request, bucket: str, key: str) -> Response:
        wanted = await request.json()
        sources = [self._objects.get("gcs", bucket, source["name"]) for source in wanted["sourceObjects"]]
        if any(source is None for source in sources):
            return error(404, "A component of the composition does not exist.", "notFound")
        body = self._objects.join([source.path for source in sources if source])
        return self._finish(request, request.query_params, bucket, key, body, wanted.get("destination") or {})

    async def _batch(self, request: Request) -> Response:
        """Several deletes in one multipart/mixed request, all that gcsfs and google-cloud-storage batch."""
        boundary = boundary_of(request)
        replies = []
        for part in (await request.body()).decode().split(f"--{boundary}")[1:-1]:
            call = re.search(r"DELETE (\S+)", part)
            number = re.search(r"Content-ID:\s*<?([^>\r\n]+)>?", part, re.IGNORECASE)
            path = urlsplit(call[1]).path.partition("/b/")[2] if call else ""
            bucket, _, key = path.partition("/o/")
            deleted = self._objects.delete("gcs", unquote(bucket), unquote(key))
            status = "204 No Content" if deleted else "404 Not Found"
            replies.append(
                f"--{boundary}\r\nContent-Type: application/http\r\n"
                f"Content-ID: <response-{number[1] if number else ''}>\r\n\r\n"
                f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n\r\n"
            )
        kind = f"multipart/mixed; boundary={boundary}"
        return Response("".join(replies) + f"--{boundary}--", headers={"Content-Type": kind})

    # --- uploads ---------------------------------------------------------------------------------------------

    async def _upload(self, request: Request, bucket: str) -> Response:
        query = request.query_params
        if "upload_id" in query:
            return await self._resume(request, query["upload_id"])
        if query.get("uploadType") == "resumable":
            described = json.loads(await request.body() or b"{}")
            kind = request.headers.get("x-upload-content-type", "application/octet-stream")
            described = {"contentType": kind, "name": query.get("name"), **described}
            refusal = self._precondition(query, bucket, described["name"])
            if refusal:
                return refusal
            upload_id = uuid.uuid4().hex
            empty = self._objects.join([])
            self._uploads[upload_id] = Upload(bucket, described, dict(query), empty.path)
            where = f"{request.base_url}upload/storage/v1/b/{quote(bucket)}/o"
            return Response(headers={"Location": f"{where}?uploadType=resumable&upload_id={upload_id}"})
        if query.get("uploadType") == "multipart":
            described, data = related(await request.body(), boundary_of(request))
            body = await self._objects.receive(once(data))
        else:
            described = {"contentType": request.headers.get("content-type", "application/octet-stream")}
            body = await self._objects.receive(request.stream())
        return self._finish(request, query, bucket, query.get("name") or described["name"], body, described)

    async def _resume(self, request: Request, upload_id: str) -> Response:
        """One chunk of a resumable upload, or a question how far it has come."""
        upload = self._uploads.get(upload_id)
        if upload is None:
            return error(410, "The upload session is gone.", "gone")
        if request.method == "DELETE":
            self._uploads.pop(upload_id).path.unlink()
            return Response(status_code=499)
        wanted = CONTENT_RANGE.match(request.headers.get("content-range", "bytes 0-0/*"))
        if wanted is None:
            return error(400, "Invalid Content-Range", "invalid")
        if wanted[1] is not None:
            chunk = await self._objects.receive(request.stream())
            upload.append(int(wanted[1]), chunk)
        size = upload.path.stat().st_size
        whole = "content-range" not in request.headers or wanted[3] == str(size)
        if not whole:
            return incomplete(request, size)
        self._uploads.pop(upload_id)
        body = self._objects.join([upload.path])
        upload.path.unlink()
        return self._finish(request, upload.query, upload.bucket, upload.described["name"], body, upload.described)

    def _finish(
        self,
        request: Request,
        query: Mapping[str, str],
        bucket: str,
        key: str,
        body: Body,
        described: Mapping[str, Any],
    ) -> Response:
        refusal = self._precondition(query, bucket, key)
        if refusal:
            body.path.unlink()
            return refusal
        put = self._objects.put(
            "gcs",
            bucket,
            key,
            body,
            content_type=described.get("contentType") or "application/octet-stream",
            metadata=described.get("metadata"),
        )
        return JSONResponse(resource(request, bucket, key, put))


class Upload:
    """A resumable upload under way: what has arrived lies in ``path``."""

    def __init__(self, bucket: str, described: Mapping[str, Any], query: Mapping[str, str], path: Path) -> None:
        self.bucket, self.described, self.query, self.path = bucket, described, query, path

    def append(self, start: int, chunk: Body) -> None:
        """Add a whole chunk; one that was sent before is written over, one that leaves a gap is passed over."""
        if start <= self.path.stat().st_size:
            with self.path.open("r+b") as file:
                file.seek(start)
                file.write(chunk.path.read_bytes())
                file.truncate()
        chunk.path.unlink()


def incomplete(request: Request, size: int) -> Response:
    """ "Go on after these bytes": status 308, or 200 for clients that cannot be answered 308."""
    headers = {"Range": f"bytes=0-{size - 1}"} if size else {}
    if request.headers.get("x-guploader-no-308") == "yes":
        return Response(headers={**headers, "X-HTTP-Status-Code-Override": "308"})
    return Response(status_code=308, headers=headers)


def boundary_of(request: Request) -> str:
    """What stands between the parts; gsutil has it in single quotes, which Google's own servers take as well."""
    found = re.search(r"""boundary=["']?([^"';]+)""", request.headers["content-type"])
    assert found, "a multipart request names its boundary"
    return found[1]


def related(body: bytes, boundary: str) -> tuple[dict[str, Any], bytes]:
    """Description and data of a multipart/related upload, whose lines end in CRLF, or in LF as gcsfs sends them."""
    parts = body.split(b"--" + boundary.encode())
    line_end = b"\r\n" if parts[1].startswith(b"\r\n") else b"\n"
    description, data = (part.partition(line_end * 2)[2].removesuffix(line_end) for part in parts[1:3])
    return json.loads(description), data


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


@functools.lru_cache(maxsize=1 << 16)  # a body never changes, so that its path stands for it
def crc32c(path: Path) -> str:
    """Base64 of the big-endian CRC32C, without which google-cloud-storage refuses a reply."""
    from google_crc32c import Checksum

    checksum = Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            checksum.update(chunk)  # type: ignore[no-untyped-call]
    return base64.b64encode(checksum.digest()).decode()  # type: ignore[no-untyped-call]


def resource(request: Request, bucket: str, key: str, found: Object) -> dict[str, Any]:
    """The object resource: https://cloud.google.com/storage/docs/json_api/v1/objects#resource"""
    host, path = request.base_url, f"storage/v1/b/{quote(bucket)}/o/{quote(key, safe='')}"
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{key}/{found.generation}",
        "selfLink": f"{host}{path}",
        "mediaLink": f"{host}download/{path}?generation={found.generation}&alt=media",
        "name": key,
        "bucket": bucket,
        "size": str(found.size),
        "md5Hash": found.md5_base64,
        "crc32c": crc32c(found.path),
        "etag": found.etag,
        "generation": str(found.generation),
        "metageneration": "1",
        "contentType": found.content_type,
        "timeCreated": iso_date(found.modified),
        "updated": iso_date(found.modified),
        "storageClass": "STANDARD",
        "metadata": dict(found.metadata),
    }


def error(status: int, message: str, reason: str) -> Response:
    details = [{"reason": reason, "message": message, "domain": "global"}]
    return JSONResponse({"error": {"code": status, "message": message, "errors": details}}, status)
