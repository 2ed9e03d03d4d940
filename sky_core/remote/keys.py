"""SSH keys: the home's own client key, and a host key for each cluster, derived from the cluster's token.

A relaunch with the same token must send the cloud the same user data, or the cloud takes it for another request
(EC2: IdempotentParameterMismatch). So host keys are derived, not stored: seed = HMAC-SHA256(home seed, token).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

KEY_TYPE = b"ssh-ed25519"


def client_key(home: Path) -> Path:
    """The private key file that logs in to machines, ``<home>/ssh/id_ed25519``, mode 0600; made when missing."""
    return _made_once(home / "ssh" / "id_ed25519", _new_client_key)


def client_public_key(home: Path) -> str:
    """The public key line (``ssh-ed25519 AAAA…``) that machines must authorize."""
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    key = load_ssh_private_key(client_key(home).read_bytes(), password=None)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def host_key(home: Path, token: str) -> str:
    """The private host key (OpenSSH PEM) of the cluster with that token: the same text each time."""
    home_seed = _made_once(home / "ssh" / "host_seed", lambda: secrets.token_bytes(32)).read_bytes()
    seed = hmac.new(home_seed, token.encode(), hashlib.sha256).digest()
    return _openssh_pem(Ed25519PrivateKey.from_private_bytes(seed))


def _new_client_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


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
