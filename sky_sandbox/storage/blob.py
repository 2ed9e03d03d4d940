"""The Azure Blob dialect: https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api

The first segment of every path is the account; accounts share their containers.
"""

from __future__ import annotations

import re
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from sky_sandbox.storage.folders import IS_FOLDER, folders_of, in_the_way, is_folder, listed_folder
from sky_sandbox.storage.objects import Body, Object, Objects
from sky_sandbox.storage.reply import content, http_date, node, xml

META = "x-ms-meta-"


class Blob:
    """Answers Blob requests. Uncommitted blocks live in memory and end with the process."""

    def __init__(self, objects: Objects, hierarchical: Callable[[], bool]) -> None:
        self._objects, self._hierarchical = objects, hierarchical
        self._blocks: dict[tuple[str, str], dict[str, Body]] = {}

    async def answer(self, request: Request, path: str) -> Response:
        """The reply to one request; ``path`` is still percent-encoded."""
        _, _, rest = path.lstrip("/").partition("/")
        container, _, key = unquote(rest).partition("/")
        response = await self._answer(request, container, key)
        response.headers["x-ms-version"] = request.headers["x-ms-version"]
        response.headers["x-ms-request-id"] = str(uuid.uuid4())
        response.headers["date"] = http_date(time.time())
        return response

    async def _answer(self, request: Request, container: str, key: str) -> Response:
        if request.query_params.get("restype") == "account":
            return self._about()
        if not container:
            return await self._batch(request, "") if request.method == "POST" else self._containers()
        if not key and request.method == "PUT" and "comp" not in request.query_params:
            created = self._objects.create_bucket("blob", container)
            return changed(201, time.time()) if created else error(409, "ContainerAlreadyExists")
        if container not in self._objects.buckets("blob"):
            return error(404, "ContainerNotFound")
        if not key:
            return await self._container(request, container)
        if request.method == "PUT":
            if self._hierarchical() and in_the_way(self._objects, container, key):
                return error(409, "ResourceTypeMismatch")
            return await self._put(request, container, key)
        found = self._objects.get("blob", container, key)
        if found is None and self._hierarchical() and is_folder(self._objects, container, key):
            return self._folder(request)
        if found is None:
            return error(404, "BlobNotFound")
        if request.method == "DELETE":
            self._objects.delete("blob", container, key)
            return Response(status_code=202)
        response = content(request, found, blob_headers(found))
        if response.status_code == 416:
            return error(416, "InvalidRange")
        return response

    def _about(self) -> Response:
        """https://learn.microsoft.com/rest/api/storageservices/get-account-information"""
        told = {"x-ms-sku-name": "Standard_LRS", "x-ms-account-kind": "StorageV2"}
        return Response(status_code=200, headers={**told, "x-ms-is-hns-enabled": str(self._hierarchical()).lower()})

    def _folder(self, request: Request) -> Response:
        """What a folder answers by its name: it looks like an empty blob. It can be deleted when it is one."""
        if request.method == "DELETE":
            return error(409, "DirectoryIsNotEmpty")
        return Response(status_code=200, headers={**changed(200, 0).headers, f"{META}{IS_FOLDER}": "true"})

    # --- containers ------------------------------------------------------------------------------------------

    def _containers(self) -> Response:
        entries = [
            node(
                "Container",
                node("Name", name),
                node("Properties", node("Last-Modified", http_date(created)), node("Etag", '"0x1"')),
            )
            for name, (_, created) in self._objects.buckets("blob").items()
        ]
        return xml(node("EnumerationResults", node("Containers", *entries), node("NextMarker")))

    async def _container(self, request: Request, container: str) -> Response:
        query = request.query_params
        if request.method == "DELETE":
            self._objects.drop_bucket("blob", container, with_objects=True)
            return Response(status_code=202)
        if request.method == "POST" and query.get("comp") == "batch":
            return await self._batch(request, container)
        if query.get("comp") == "list":
            return self._list(container, query)
        return changed(200, self._objects.buckets("blob")[container][1])

    def _list(self, container: str, query: Mapping[str, str]) -> Response:
        page = self._objects.list(
            "blob",
            container,
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            after=unquote(query.get("marker", "")),
            limit=int(query.get("maxresults", "5000")),
        )
        if self._hierarchical() and not query.get("delimiter"):
            after = unquote(query.get("marker", ""))
            ahead = dict(folders_of([key for key, _ in page.objects], query.get("prefix", ""), after))
        else:
            ahead = {}
        blobs: list[ET.Element] = []
        for key, found in page.objects:
            blobs += map(listed_folder, ahead.get(key, ()))
            if not (key.endswith("/") and ahead):  # that one is a folder, and listed as such
                blobs.append(listed(key, found))
        blobs += [node("BlobPrefix", node("Name", name)) for name in page.prefixes]
        return xml(
            node(
                "EnumerationResults",
                node("Blobs", *blobs),
                node("NextMarker", quote(page.next or "")),
                ContainerName=container,
            )
        )

    async def _batch(self, request: Request, container: str) -> Response:
        """Several deletes in one multipart/mixed request, all that adlfs batches."""
        found = re.search(r'boundary="?([^";]+)', request.headers["content-type"])
        assert found, "a multipart request names its boundary"
        boundary, replies = found[1], []
        for part in (await request.body()).decode().split(f"--{boundary}")[1:-1]:
            call = re.search(r"DELETE (\S+)", part)
            number = re.search(r"Content-ID:\s*(\S+)", part, re.IGNORECASE)
            path = unquote(urlsplit(call[1]).path).lstrip("/") if call else ""
            bucket, _, key = path.partition("/")
            if bucket not in self._objects.buckets("blob"):  # with a custom endpoint the account comes first
                bucket, _, key = key.partition("/")
            deleted = self._objects.delete("blob", bucket, key)
            status = "202 Accepted" if deleted else "404 Not Found"
            replies.append(
                f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {number[1] if number else 0}\r\n\r\n"
                f"HTTP/1.1 {status}\r\nx-ms-request-id: {uuid.uuid4()}\r\nContent-Length: 0\r\n\r\n"
            )
        kind = f"multipart/mixed; boundary={boundary}"
        return Response("".join(replies) + f"--{boundary}--\r\n", 202, {"Content-Type": kind})

    # --- blobs -----------------------------------------------------------------------------------------------

    async def _put(self, request: Request, container: str, key: str) -> Response:
        comp, source = request.query_params.get("comp"), request.headers.get("x-ms-copy-source")
        if comp == "block":
            block = await self._objects.receive(request.stream())
            self._blocks.setdefault((container, key), {})[request.query_params["blockid"]] = block
            return Response(status_code=201)
        if comp == "metadata":
            self._objects.describe("blob", container, key, metadata(request))
            return changed(200, time.time())
        if source:
            return self._copy(request, source, container, key)
        if comp == "blocklist":
            body = self._commit(container, key, await request.body())
        else:
            body = await self._objects.receive(request.stream())
        if body is None:
            return error(400, "InvalidBlockList")
        refusal = self._precondition(request, container, key)
        if refusal:
            body.path.unlink()
            return refusal
        kind = request.headers.get("x-ms-blob-content-type", "application/octet-stream")
        put = self._objects.put("blob", container, key, body, content_type=kind, metadata=metadata(request))
        return Response(status_code=201, headers={"x-ms-request-server-encrypted": "true", **tags(put)})

    def _commit(self, container: str, key: str, block_list: bytes) -> Body | None:
        """The blob that a block list names, or None if a block is missing. All uncommitted blocks are dropped."""
        wanted = [element.text or "" for element in ET.fromstring(block_list)]  # noqa: S314
        blocks = self._blocks.get((container, key), {})
        if any(name not in blocks for name in wanted):
            return None
        body = self._objects.join([blocks[name].path for name in wanted])
        for block in self._blocks.pop((container, key), {}).values():
            block.path.unlink()
        return body

    def _precondition(self, request: Request, container: str, key: str) -> Response | None:
        """The refusal of a conditional write (If-None-Match: *, If-Match: etag), or None."""
        found = self._objects.get("blob", container, key)
        if request.headers.get("if-none-match") == "*" and found:
            return error(409, "BlobAlreadyExists")
        wanted = request.headers.get("if-match")
        if wanted and wanted != "*" and (found is None or wanted != tags(found)["ETag"]):
            return error(412, "ConditionNotMet")
        return None

    def _copy(self, request: Request, source: str, container: str, key: str) -> Response:
        _, _, rest = unquote(urlsplit(source).path).lstrip("/").partition("/")
        source_container, _, source_key = rest.partition("/")
        found = self._objects.get("blob", source_container, source_key)
        if found is None:
            return error(404, "BlobNotFound")
        refusal = self._precondition(request, container, key)
        if refusal:
            return refusal
        copied = self._objects.copy("blob", found, container, key)
        status = {"x-ms-copy-id": str(uuid.uuid4()), "x-ms-copy-status": "success"}
        return Response(status_code=202, headers={**status, **tags(copied)})


def metadata(request: Request) -> dict[str, str]:
    return {name.removeprefix(META): value for name, value in request.headers.items() if name.startswith(META)}


def tags(found: Object) -> dict[str, str]:
    return {"ETag": f'"0x{found.generation:X}"', "Last-Modified": http_date(found.modified)}


def blob_headers(found: Object) -> dict[str, str]:
    return {
        **tags(found),
        "x-ms-blob-type": "BlockBlob",
        "x-ms-creation-time": http_date(found.modified),
        "x-ms-lease-state": "available",
        "x-ms-lease-status": "unlocked",
        "x-ms-server-encrypted": "true",
        **{META + name: value for name, value in found.metadata.items()},
    }


def listed(key: str, found: Object) -> ET.Element:
    """One blob of a listing."""
    properties = node(
        "Properties",
        node("Creation-Time", http_date(found.modified)),
        node("Last-Modified", http_date(found.modified)),
        node("Etag", tags(found)["ETag"].strip('"')),
        node("Content-Length", str(found.size)),
        node("Content-Type", found.content_type),
        node("Content-MD5", found.md5_base64),
        node("BlobType", "BlockBlob"),
        node("LeaseStatus", "unlocked"),
        node("LeaseState", "available"),
    )
    described = node("Metadata", *(node(name, value) for name, value in found.metadata.items()))
    return node("Blob", node("Name", key), properties, described)


def changed(status: int, modified: float) -> Response:
    """An empty reply with the tags that container operations carry."""
    return Response(status_code=status, headers={"ETag": '"0x1"', "Last-Modified": http_date(modified)})


def error(status: int, code: str) -> Response:
    return xml(node("Error", node("Code", code), node("Message", code)), status, {"x-ms-error-code": code})
