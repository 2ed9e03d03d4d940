"""Which host keys are believed: those pinned by hand, and those of a known_hosts file.

A pin is one text: public key lines as ``ssh-keyscan`` prints them without the host's name, or a fingerprint
``SHA256:…`` as ``ssh-keygen -lf`` does. The file's format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from fnmatch import fnmatchcase
from pathlib import Path

FINGERPRINT = "SHA256:"
SSH_PORT = 22
FAMILIES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}  # an RSA key is called by its hash when it signs


def believes(pin: str, key: bytes) -> bool:
    """Whether a host key, as it goes over the wire, is a pinned one."""
    if pin.startswith(FINGERPRINT):
        digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
        return hmac.compare_digest(pin.removeprefix(FINGERPRINT).rstrip("="), digest)
    return any(key == known for _, known in _keys(pin))


def types(pin: str) -> tuple[str, ...]:
    """The types of key that the host is to be asked for; none for a fingerprint, which tells no type."""
    if pin.startswith(FINGERPRINT):
        return ()
    return tuple(name for kind, _ in _keys(pin) for name in FAMILIES.get(kind, (kind,)))


def is_pin(text: str) -> bool:
    """Whether a text is one."""
    if text.startswith(FINGERPRINT):
        return len(text) > len(FINGERPRINT)
    return bool(_keys(text))


def known(file: Path, host: str, port: int) -> str:
    """What a known_hosts file says of a host, as a pin; "" if nothing, or if there is no such file.

    Keys that are marked as revoked are left out, and so are authorities: a pin is a host's own key.
    """
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    name = host if port == SSH_PORT else f"[{host}]:{port}"
    found = []
    for line in lines:
        fields = line.split()
        if len(fields) >= 3 and not line.startswith(("#", "@")) and _is_of(fields[0], name):
            found.append(f"{fields[1]} {fields[2]}")
    return "\n".join(dict.fromkeys(found))


def _is_of(hosts: str, name: str) -> bool:
    """Whether a line's first field speaks of a host: hashed, or patterns of which none that begins with ! may match."""
    if hosts.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part) for part in hosts.split("|")[2:4])
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
    patterns = hosts.split(",")
    if any(fnmatchcase(name, _literal(pattern[1:])) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(fnmatchcase(name, _literal(pattern)) for pattern in patterns)


def _literal(pattern: str) -> str:
    """Only * and ? are wild there; the brackets of [host]:port are what they are."""
    return pattern.replace("[", "[[]")


def _keys(pin: str) -> list[tuple[str, bytes]]:
    found = []
    for line in pin.splitlines():
        fields = line.split()
        try:
            found.append((fields[0], base64.b64decode(fields[1], validate=True)))
        except (IndexError, binascii.Error, ValueError):
            continue
    return found
