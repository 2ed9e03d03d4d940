"""A registry of images on loopback, as the OCI distribution specification has it, and images made of this host's files.

It asks for a token, as the public ones do, and for a login where a repository is private. Each blob's first answer is
cut off in the middle.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOOLS = [
    "bash", "sh", "cat", "ls", "mkdir", "rmdir", "rm", "ln", "cp", "dirname", "realpath", "sleep", "id", "env", "wc",
    "touch", "mv", "head",
]  # fmt: skip
INDEX, MANIFEST = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LOGIN = ("somebody", "a password: with colons")


class Registry:
    """Serves what it is given until it is closed."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.asked: list[tuple[str, str]] = []  # path and range of each blob that was asked for
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def push(self, repository: str, layers: Iterable[bytes], env: Mapping[str, str], tag: str = "latest") -> str:
        """Add an image, packed; returns its name. A repository below ``private/`` asks for the login."""
        about = [self._add(gzip.compress(layer, 1, mtime=0), f"{LAYER}+gzip") for layer in layers]
        config = json.dumps({"config": {"Env": [f"{name}={value}" for name, value in env.items()]}}).encode()
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self._add(config, "config"), "layers": about}
        digest = self._put(repository, MANIFEST, manifest)
        entries = [
            {"digest": "sha256:0", "platform": {"os": "windows", "architecture": "amd64"}},
            {"digest": digest, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": digest, "platform": {"os": "linux", "architecture": "arm64"}},
        ]
        self._put(repository, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, tag)
        return f"{self.host}/{repository}:{tag}"

    def _add(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return {"mediaType": kind, "digest": digest, "size": len(content)}

    def _put(self, repository: str, kind: str, manifest: Mapping[str, Any], tag: str = "") -> str:
        content = json.dumps(manifest).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        for version in (digest, tag):
            self.manifests[repository, version] = (kind, content)
        return digest

    def _handler(registry) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/token?"):
                    self._token()
                    return
                _, _, *repository, kind, version = self.path.split("/")
                name = "/".join(repository)
                if self.headers.get("Authorization") != f"Bearer for {name.partition('/')[0]}":
                    realm = f'Bearer realm="http://{registry.host}/token",service="here",scope="repository:{name}:pull"'
                    self._answer(401, b"", {"WWW-Authenticate": realm})
                elif kind == "manifests" and (name, version) in registry.manifests:
                    media_type, content = registry.manifests[name, version]
                    self._answer(200, content, {"Content-Type": media_type})
                elif kind == "blobs" and version in registry.blobs:
                    self._blob(version)
                else:
                    self._answer(404, b"")

            def _token(self) -> None:
                given = base64.b64encode(":".join(LOGIN).encode()).decode()
                private = "repository%3Aprivate" in self.path
                if private and self.headers.get("Authorization") != f"Basic {given}":
                    self._answer(401, b"")
                    return
                whose = "private" if private else "open"
                self._answer(200, json.dumps({"token": f"for {whose}"}).encode())

            def _blob(self, digest: str) -> None:
                content, wanted = registry.blobs[digest], self.headers.get("Range", "")
                first = not any(digest in path for path, _ in registry.asked)
                registry.asked.append((self.path, wanted))
                start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                self.wfile.write(content[start : len(content) // 2] if first else content[start:])

            def _answer(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *about: Any) -> None:
                pass

        return Handler


def layer(
    *, files: Mapping[str, str] | None = None, links: Mapping[str, str] | None = None, host: Iterable[Path] = ()
) -> bytes:
    """A layer of these files (by path, with their text), links, and files and folders of this host."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for source in host:
            archive.add(source, str(source).lstrip("/"), filter=_plain)
        for path, target in (links or {}).items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
        for path, text in (files or {}).items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    skipped = ("__pycache__", "/test/", "/site-packages/", "/idlelib/", "/ensurepip/", ".a")
    return None if entry.name.endswith(skipped[-1]) or any(part in f"{entry.name}/" for part in skipped[:-1]) else entry


def tools(*more: str) -> list[Path]:
    """The paths on this host of a few commands and of all libraries that they need."""
    found = [Path(path) for name in TOOLS if (path := shutil.which(name, path="/usr/bin:/bin"))] + [
        Path(m) for m in more
    ]
    listed = subprocess.run(["ldd", *map(str, found)], capture_output=True, text=True).stdout
    libraries = {
        word for line in listed.splitlines() for word in line.split() if word.startswith("/") and ":" not in word
    }
    return [*found, *sorted(Path(library) for library in libraries)]
