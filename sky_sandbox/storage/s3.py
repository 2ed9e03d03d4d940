"""The S3 dialect, path-style: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html"""

from __future__ import annotations

import hashlib
import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response

from sky_sandbox.storage.objects import Body, Object, Objects, Service
from sky_sandbox.storage.reply import content, iso_date, node, xml

LEAST_PART = 5 << 20  # bytes, but for the last; of Google's, too
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class S3:
    """Answers S3 requests. Unfinished multipart uploads live in memory and end with the process."""

    service: Service = "s3"
    first_region = "us-east-1"  # of buckets that name none
    vendor = "x-amz-"  # how its headers begin

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._uploads: dict[str, Upload] = {}

    async def answer(self, request: Request, path: str) -> Response:
        """The reply to one request; ``path`` is still percent-encoded."""
        bucket, _, key = unquote(path.lstrip("/")).partition("/")
        query = request.query_params
        if not bucket:
            return self._buckets()
        if not key and request.method == "PUT" and not query:
            return await self._create_bucket(request, bucket)
        if bucket not in self._objects.buckets(self.service):
            return error(404, "NoSuchBucket")
        if not key:
            return await self._bucket(request, bucket)
        if "uploads" in query or "uploadId" in query:
            return await self._multipart(request, bucket, key)
        if request.method == "PUT":
            return await self._put(request, bucket, key)
        if request.method == "DELETE":
            self._objects.delete(self.service, bucket, key)
            return Response(status_code=204)
        if request.method not in ("GET", "HEAD"):
            return error(501, "NotImplemented")
        found = self._objects.get(self.service, bucket, key)
        return content(request, found, self._headers(found)) if found else error(404, "NoSuchKey")

    def _headers(self, found: Object) -> dict[str, str]:
        """What an object's replies say of it."""
        described = {f"{self.vendor}meta-{name}": value for name, value in found.metadata.items()}
        return {"ETag": f'"{found.etag}"', **described}

    # --- buckets ---------------------------------------------------------------------------------------------

    def _buckets(self) -> Response:
        entries = [
            node("Bucket", node("Name", name), node("CreationDate", iso_date(created)))
            for name, (_, created) in self._objects.buckets(self.service).items()
        ]
        owner = node("Owner", node("ID", "sandbox"))
        return xml(node("ListAllMyBucketsResult", owner, node("Buckets", *entries), xmlns=NAMESPACE))

    async def _create_bucket(self, request: Request, bucket: str) -> Response:
        place = re.search(rb"<LocationConstraint>([^<]+)<", await request.body())
        if not self._objects.create_bucket(self.service, bucket, place[1].decode() if place else ""):
            return error(409, "BucketAlreadyOwnedByYou")
        return Response(headers={"Location": f"/{bucket}"})

    async def _bucket(self, request: Request, bucket: str) -> Response:
        query = request.query_params
        location = self._objects.buckets(self.service)[bucket][0]
        if request.method == "HEAD":
            return Response(headers={"x-amz-bucket-region": location or self.first_region})
        if request.method == "DELETE":
            return (
                Response(status_code=204)
                if self._objects.drop_bucket(self.service, bucket)
                else error(409, "BucketNotEmpty")
            )
        if request.method == "POST" and "delete" in query:
            return self._delete_many(bucket, await request.body())
        if request.method != "GET":
            return Response()  # tags, encryption, lifecycle…: accepted, without effect
        if "location" in query:
            return xml(node("LocationConstraint", location, xmlns=NAMESPACE))
        if "versioning" in query:
            return xml(node("VersioningConfiguration", xmlns=NAMESPACE))
        if "uploads" in query:
            return self._list_uploads(bucket, query.get("prefix", ""))
        return self._list(bucket, query)

    def _delete_many(self, bucket: str, body: bytes) -> Response:
        keys = [element.text or "" for element in ET.fromstring(body).iter() if local(element) == "Key"]  # noqa: S314
        for key in keys:
            self._objects.delete(self.service, bucket, key)
        return xml(node("DeleteResult", *(node("Deleted", node("Key", key)) for key in keys), xmlns=NAMESPACE))

    def _list(self, bucket: str, query: Mapping[str, str]) -> Response:
        version2 = query.get("list-type") == "2"
        prefix, limit = query.get("prefix", ""), int(query.get("max-keys", "1000"))
        if version2:
            after = unquote(query.get("continuation-token", "")) or query.get("start-after", "")
        else:
            after = query.get("marker", "")
        page = self._objects.list(
            self.service, bucket, prefix=prefix, delimiter=query.get("delimiter", ""), after=after, limit=limit
        )
        encoded = query.get("encoding-type") == "url"
        spell = quote if encoded else str
        result = node(
            "ListBucketResult",
            node("Name", bucket),
            node("Prefix", spell(prefix)),
            node("MaxKeys", str(limit)),
            node("KeyCount", str(len(page))),
            node("IsTruncated", "true" if page.next else "false"),
            xmlns=NAMESPACE,
        )
        if encoded:
            result.append(node("EncodingType", "url"))
        if page.next and version2:
            result.append(node("NextContinuationToken", quote(page.next)))
        elif page.next:
            result.append(node("NextMarker", spell(page.next)))
        for key, found in page.objects:
            result.append(
                node(
                    "Contents",
                    node("Key", spell(key)),
                    node("LastModified", iso_date(found.modified)),
                    node("ETag", f'"{found.etag}"'),
                    node("Size", str(found.size)),
                    node("StorageClass", "STANDARD"),
                )
            )
        for name in page.prefixes:
            result.append(node("CommonPrefixes", node("Prefix", spell(name))))
        return xml(result)

    # --- objects ---------------------------------------------------------------------------------------------

    async def _put(self, request: Request, bucket: str, key: str) -> Response:
        source = request.headers.get(f"{self.vendor}copy-source")
        if source:
            return self._copy(request, source, bucket, key)
        body = await self._objects.receive(payload(request))
        refusal = self._precondition(request, bucket, key)
        if refusal:
            body.path.unlink()
            return refusal
        put = self._objects.put(
            self.service,
            bucket,
            key,
            body,
            content_type=request.headers.get("content-type", "binary/octet-stream"),
            metadata=metadata(request, self.vendor),
        )
        return Response(headers={"ETag": f'"{put.etag}"'})

    def _precondition(self, request: Request, bucket: str, key: str) -> Response | None:
        """The refusal of a conditional write (If-None-Match: *, If-Match: etag), or None."""
        found = self._objects.get(self.service, bucket, key)
        if request.headers.get("if-none-match") == "*" and found:
            return error(412, "PreconditionFailed")
        wanted = request.headers.get("if-match")
        if wanted and found is None:
            return error(404, "NoSuchKey")
        if wanted and found and wanted.strip('"') != found.etag:
            return error(412, "PreconditionFailed")
        return None

    def _source(self, header: str) -> Object | None:
        bucket, _, key = unquote(header.partition("?")[0]).lstrip("/").partition("/")
        return self._objects.get(self.service, bucket, key)

    def _copy(self, request: Request, source: str, bucket: str, key: str) -> Response:
        found = self._source(source)
        if found is None:
            return error(404, "NoSuchKey")
        put = self._objects.copy(self.service, found, bucket, key)
        if request.headers.get(f"{self.vendor}metadata-directive") == "REPLACE":
            self._objects.describe(self.service, bucket, key, metadata(request, self.vendor))
        return xml(
            node(
                "CopyObjectResult",
                node("ETag", f'"{put.etag}"'),
                node("LastModified", iso_date(put.modified)),
                xmlns=NAMESPACE,
            )
        )

    # --- multipart uploads -----------------------------------------------------------------------------------

    async def _multipart(self, request: Request, bucket: str, key: str) -> Response:
        query = request.query_params
        if "uploads" in query:
            upload_id = uuid.uuid4().hex
            kind = request.headers.get("content-type", "binary/octet-stream")
            self._uploads[upload_id] = Upload(bucket, key, kind, metadata(request, self.vendor))
            return upload_reply("InitiateMultipartUploadResult", bucket, key, node("UploadId", upload_id))
        upload = self._uploads.get(query["uploadId"])
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            return error(404, "NoSuchUpload")
        if request.method == "DELETE":
            self._uploads.pop(query["uploadId"]).discard()
            return Response(status_code=204)
        if request.method == "GET":
            parts = [
                node("Part", node("PartNumber", str(n)), node("ETag", f'"{p.md5.hex()}"'), node("Size", str(p.size)))
                for n, p in sorted(upload.parts.items())
            ]
            return upload_reply("ListPartsResult", bucket, key, node("IsTruncated", "false"), *parts)
        if request.method == "PUT":
            return await self._part(request, upload, int(query["partNumber"]))
        return self._complete(request, query["uploadId"], upload, await request.body())

    async def _part(self, request: Request, upload: Upload, number: int) -> Response:
        source = request.headers.get(f"{self.vendor}copy-source")
        if source is None:
            part = upload.add(number, await self._objects.receive(payload(request)))
            return Response(headers={"ETag": f'"{part.md5.hex()}"'})
        found = self._source(source)
        if found is None:
            return error(404, "NoSuchKey")
        wanted = re.match(r"bytes=(\d+)-(\d+)", request.headers.get(f"{self.vendor}copy-source-range", ""))
        start, stop = (int(wanted[1]), int(wanted[2]) + 1) if wanted else (0, found.size)
        part = upload.add(number, self._objects.join([(found.path, start, stop - start)]))
        return xml(
            node(
                "CopyPartResult",
                node("ETag", f'"{part.md5.hex()}"'),
                node("LastModified", iso_date(found.modified)),
                xmlns=NAMESPACE,
            )
        )

    def _complete(self, request: Request, upload_id: str, upload: Upload, body: bytes) -> Response:
        elements = ET.fromstring(body).iter()  # noqa: S314
        numbers = [int(element.text or "0") for element in elements if local(element) == "PartNumber"]
        if not numbers or any(number not in upload.parts for number in numbers):
            return error(400, "InvalidPart")
        refusal = self._precondition(request, upload.bucket, upload.key)
        if refusal:
            return refusal
        parts = [upload.parts[number] for number in numbers]
        if any(part.size < LEAST_PART for part in parts[:-1]):
            return error(400, "EntityTooSmall")
        # How S3 makes the ETag of a multipart upload: the MD5 of the parts' MD5s, a dash and their number.
        etag = hashlib.md5(b"".join(p.md5 for p in parts), usedforsecurity=False).hexdigest() + f"-{len(parts)}"
        whole = self._objects.join([part.path for part in parts])
        self._objects.put(
            self.service,
            upload.bucket,
            upload.key,
            whole,
            etag=etag,
            content_type=upload.content_type,
            metadata=upload.metadata,
        )
        self._uploads.pop(upload_id).discard()
        return upload_reply("CompleteMultipartUploadResult", upload.bucket, upload.key, node("ETag", f'"{etag}"'))

    def _list_uploads(self, bucket: str, prefix: str) -> Response:
        entries = [
            node("Upload", node("Key", upload.key), node("UploadId", upload_id))
            for upload_id, upload in self._uploads.items()
            if upload.bucket == bucket and upload.key.startswith(prefix)
        ]
        truncated = node("IsTruncated", "false")
        return xml(node("ListMultipartUploadsResult", node("Bucket", bucket), truncated, *entries, xmlns=NAMESPACE))


class Upload:
    """A multipart upload under way."""

    def __init__(self, bucket: str, key: str, content_type: str, metadata: Mapping[str, str]) -> None:
        self.bucket, self.key, self.content_type, self.metadata = bucket, key, content_type, metadata
        self.parts: dict[int, Body] = {}

    def add(self, number: int, body: Body) -> Body:
        """Take a part; a part sent again replaces the earlier one."""
        old = self.parts.get(number)
        if old:
            old.path.unlink()
        self.parts[number] = body
        return body

    def discard(self) -> None:
        """Remove the parts' files."""
        for part in self.parts.values():
            part.path.unlink()


def payload(request: Request) -> AsyncIterator[bytes]:
    """The request's content, taken out of the ``aws-chunked`` coding where the client used it."""
    chunked = "aws-chunked" in request.headers.get("content-encoding", "")
    signed = request.headers.get("x-amz-content-sha256", "").startswith("STREAMING")
    return unchunk(request.stream()) if chunked or signed else request.stream()


async def unchunk(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Decode ``size[;signature]\\r\\n bytes \\r\\n`` chunks up to the empty one; trailers are passed over."""
    buffer, left = b"", None
    async for data in stream:
        buffer += data
        while True:
            if left is None:
                line, found, rest = buffer.partition(b"\r\n")
                if not found:
                    break
                left, buffer = int(line.partition(b";")[0], 16), rest
                if left == 0:
                    return
            if len(buffer) < left + 2:
                break
            yield buffer[:left]
            buffer, left = buffer[left + 2 :], None


def metadata(request: Request, vendor: str) -> dict[str, str]:
    mark = f"{vendor}meta-"
    return {name.removeprefix(mark): value for name, value in request.headers.items() if name.startswith(mark)}


def local(element: ET.Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def upload_reply(tag: str, bucket: str, key: str, *more: ET.Element) -> Response:
    return xml(node(tag, node("Bucket", bucket), node("Key", key), *more, xmlns=NAMESPACE))


def error(status: int, code: str, message: str = "") -> Response:
    return xml(
        node("Error", node("Code", code), node("Message", message or code), node("RequestId", "sandbox")), status
    )
