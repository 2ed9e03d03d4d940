"""Which host keys are believed: pinned lines, fingerprints, and what a known_hosts file says."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from sky_core.ssh import pins

KEY = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes(range(32))
OTHER = KEY[:-1] + b"\xff"
LINE = f"ssh-ed25519 {base64.b64encode(KEY).decode()}"
PRINT = "SHA256:" + base64.b64encode(hashlib.sha256(KEY).digest()).decode().rstrip("=")


@pytest.mark.parametrize("pin", [LINE, f"{LINE} ops@lab", PRINT, f"{PRINT}=", f"ecdsa-sha2-nistp256 AAAA\n{LINE}"])
def test_a_pinned_key_is_believed_and_no_other(pin: str) -> None:
    assert pins.is_pin(pin)
    assert pins.believes(pin, KEY)
    assert not pins.believes(pin, OTHER)


@pytest.mark.parametrize("pin", ["", "SHA256:", "ssh-ed25519", "ssh-ed25519 !!!", "10.0.0.5"])
def test_what_is_no_pin_believes_nobody(pin: str) -> None:
    assert not pins.is_pin(pin)
    assert not pins.believes(pin, KEY)


def test_a_host_is_asked_for_the_types_that_are_pinned() -> None:
    rsa = base64.b64encode(b"\x00\x00\x00\x07ssh-rsa").decode()
    assert pins.types(f"ssh-rsa {rsa}\n{LINE}") == ("rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519")
    assert pins.types(PRINT) == ()


def hashed(name: str) -> str:
    salt = b"s" * 20
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("hosts", "host", "port", "known"),
    [
        ("10.0.0.5", "10.0.0.5", 22, True),
        ("10.0.0.5", "10.0.0.5", 2222, False),
        ("[10.0.0.5]:2222", "10.0.0.5", 2222, True),
        ("lab,10.0.0.5", "10.0.0.5", 22, True),
        ("*.lab.example,!old.lab.example", "new.lab.example", 22, True),
        ("*.lab.example,!old.lab.example", "old.lab.example", 22, False),
        (hashed("10.0.0.5"), "10.0.0.5", 22, True),
        (hashed("[10.0.0.5]:2222"), "10.0.0.5", 2222, True),
        (hashed("10.0.0.6"), "10.0.0.5", 22, False),
        ("|1|torn", "10.0.0.5", 22, False),
        ("@revoked 10.0.0.5", "10.0.0.5", 22, False),
        ("@cert-authority 10.0.0.5", "10.0.0.5", 22, False),
    ],
)
def test_known_hosts_is_read_as_sshd_reads_it(hosts: str, host: str, port: int, known: bool, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# a comment\n\n{hosts} {LINE} a comment\n")
    assert pins.known(file, host, port) == (LINE if known else "")


def test_without_the_file_nothing_is_known(tmp_path: Path) -> None:
    assert pins.known(tmp_path / "none", "10.0.0.5", 22) == ""
