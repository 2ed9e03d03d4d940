"""Names of images, as ``docker run`` takes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

HUB, HUB_API = "docker.io", "registry-1.docker.io"
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?$")
NAME = re.compile(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*$")


@dataclass(frozen=True)
class Reference:
    """One image in a registry.

    Attributes:
        registry: Host, with its port where it has one.
        version: A tag, or a digest (``sha256:…``).
    """

    registry: str
    repository: str
    version: str

    @classmethod
    def parse(cls, name: str, server: str = "") -> Reference:
        """What an image's name means; ``server`` stands before names that say no registry.

        https://github.com/distribution/reference

        Raises:
            ValueError: if it is no name of an image.
        """
        server = server.partition("://")[2] or server
        if server and not name.startswith(f"{server.rstrip('/')}/"):
            name = f"{server.rstrip('/')}/{name}"
        rest, at, digest = name.partition("@")
        first, slash, path = rest.partition("/")
        if not slash or not ("." in first or ":" in first or first == "localhost"):
            first, path = HUB, rest
        path, _, tag = path.partition(":")
        if first == HUB and "/" not in path:
            path = f"library/{path}"
        if not (NAME.match(path) and HOST.match(first)) or (at and not digest.startswith("sha256:")):
            raise ValueError(f"{name!r} is not the name of an image: write e.g. docker:ubuntu:24.04")
        return cls(first, path, digest or tag or "latest")

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{'@' if ':' in self.version else ':'}{self.version}"

    @property
    def api(self) -> str:
        """Where the registry is asked. One on this machine has no certificate, as Docker knows."""
        host = HUB_API if self.registry == HUB else self.registry
        bare = host.partition(":")[0]
        return f"{'http' if bare == 'localhost' or bare.startswith('127.') else 'https'}://{host}/v2/{self.repository}"
