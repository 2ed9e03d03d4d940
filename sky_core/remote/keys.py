"""One secret for a whole team: SSH client key, host keys and the seal on secret values all derive from it.

Hosts that share the key (``$SKYLOOM_HOME/key``, ``key_file`` in config.toml, or ``SKYLOOM_KEY``) can log in to each
other's machines and open each other's secrets, so that any of them may go on with a job that another one began.

Host keys are derived from the cluster's token, not stored: a relaunch with the same token must send the cloud the
same user data, or the cloud takes it for another request (EC2: IdempotentParameterMismatch).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sky_core.errors import SealBroken, SpecError

if TYPE_CHECKING:
    from sky_core.config import Settings

KEY_TYPE = b"ssh-ed25519"
KEY_BYTES = 32
NONCE_BYTES = 12
MAKE_ONE = "make one with: openssl rand -base64 32"


class Identity(Protocol):
    """Who logs in to a job's machines, and who they have to be."""

    @property
    def client_key(self) -> str:
        """The private key (OpenSSH PEM) that logs in."""

    def host_key(self, token: str) -> str:
        """The private host key (OpenSSH PEM) of the cluster with that token: the same text each time."""


@dataclass(frozen=True)
class TeamKey:
    """What the hosts of a team have in common.

    Attributes:
        secret: 32 random bytes; never printed, never stored but in the key's own file.
    """

    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str, source: str) -> TeamKey:
        """The key that ``text`` spells: 32 bytes in base64, of either alphabet.

        Raises:
            SpecError: if it spells none; ``source`` says where the text stands.
        """
        try:
            secret = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != KEY_BYTES:
            raise SpecError(f"{source}: not a key: it has to be {KEY_BYTES} bytes in base64", cure=MAKE_ONE)
        return cls(secret)

    @classmethod
    def new(cls) -> TeamKey:
        """A key that nobody else has."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @property
    def text(self) -> str:
        """The key as it stands in its file or variable."""
        return base64.urlsafe_b64encode(self.secret).decode()

    @cached_property
    def id(self) -> str:
        """A short fingerprint, safe to show and to store: jobs keep it to know who may drive them."""
        return self._derive("id").hex()[:12]

    @cached_property
    def client_key(self) -> str:
        """The private key (OpenSSH PEM) that logs in to machines."""
        return _openssh_pem(Ed25519PrivateKey.from_private_bytes(self._derive("ssh client")))

    def host_key(self, token: str) -> str:
        """The private host key (OpenSSH PEM) of the cluster with that token: the same text each time."""
        return _openssh_pem(Ed25519PrivateKey.from_private_bytes(self._derive(f"ssh host {token}")))

    def seal(self, values: Mapping[str, str], job_id: str) -> str:
        """Values that only this key opens, and only as those of this job."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._box.encrypt(nonce, json.dumps(dict(values)).encode(), job_id.encode())
        return base64.b64encode(nonce + sealed).decode()

    def unseal(self, sealed: str, job_id: str) -> dict[str, str]:
        """What :meth:`seal` was given for that job.

        Raises:
            SealBroken: if it was sealed by another key or for another job, or was tampered with.
        """
        data = base64.b64decode(sealed)
        try:
            plain = self._box.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], job_id.encode())
        except (InvalidTag, ValueError):
            raise SealBroken(f"{job_id}: its secrets cannot be opened with the key {self.id}") from None
        values: dict[str, str] = json.loads(plain)
        return values

    @cached_property
    def _box(self) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(self._derive("seal"))

    def _derive(self, purpose: str) -> bytes:
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"skyloom {purpose}".encode()).derive(self.secret)


@dataclass(frozen=True)
class HomeKeys:
    """The keys that earlier versions drew for one home: what they launched is still reached with them."""

    folder: Path

    @property
    def client_key(self) -> str:
        """The private key (OpenSSH PEM) that logs in to machines."""
        return (self.folder / "id_ed25519").read_text()

    def host_key(self, token: str) -> str:
        """The private host key (OpenSSH PEM) of the cluster with that token: the same text each time."""
        seed = (self.folder / "host_seed").read_bytes()
        return _openssh_pem(
            Ed25519PrivateKey.from_private_bytes(hmac.new(seed, token.encode(), hashlib.sha256).digest())
        )


def team_key(settings: Settings) -> TeamKey:
    """The key that the settings lead to; the home's own is made when it is first needed.

    Raises:
        SpecError: if there is no key where the settings say, or it is none.
    """
    if settings.key is not None:
        return TeamKey.parse(settings.key.get_secret_value(), "SKYLOOM_KEY")
    if settings.key_file is None:
        path = _made_once(settings.home / "key", lambda: f"{TeamKey.new().text}\n".encode())
        return TeamKey.parse(path.read_text(), str(path))
    try:
        text = settings.key_file.expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"key_file: {settings.key_file}: {error}", cure=MAKE_ONE) from None
    return TeamKey.parse(text, str(settings.key_file))


def home_keys(home: Path) -> HomeKeys | None:
    """The keys of an earlier version, if it left any in this home."""
    folder = home / "ssh"
    return HomeKeys(folder) if (folder / "host_seed").exists() and (folder / "id_ed25519").exists() else None


def identity(settings: Settings, key_id: str | None) -> Identity:
    """Whose keys the machines of a job bear: ``key_id`` is None for jobs that an earlier version submitted."""
    older = home_keys(settings.home) if key_id is None else None
    return older or team_key(settings)


def client_keys(settings: Settings) -> tuple[str, ...]:
    """The private keys to log in with, the present one first."""
    older = home_keys(settings.home)
    return (team_key(settings).client_key, *([older.client_key] if older else []))


def _made_once(path: Path, make: Callable[[], bytes]) -> Path:
    """Create a secret file unless it exists. Of two processes that come at once, both get the first one's."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent) as whole:  # made with mode 0600
            whole.write(make())
            whole.flush()
            os.fsync(whole.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(whole.name, path)
    return path


def _openssh_pem(key: Ed25519PrivateKey) -> str:
    """The key in OpenSSH's own format, byte for byte reproducible.

    The format (https://cvsweb.openbsd.org/src/usr.bin/ssh/PROTOCOL.key) has a "check" number that other writers
    draw at random; here it comes from the key.
    """
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    check = hashlib.sha256(b"check" + seed).digest()[:4]
    private = check * 2 + _strings(KEY_TYPE, public, seed + public, b"")
    private += bytes(range(1, 1 + -len(private) % 8))
    header = b"openssh-key-v1\0" + _strings(b"none", b"none", b"") + struct.pack(">I", 1)
    body = base64.b64encode(header + _strings(_strings(KEY_TYPE, public), private)).decode()
    lines = [body[start : start + 70] for start in range(0, len(body), 70)]
    return "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])


def _strings(*values: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(value)) + value for value in values)
