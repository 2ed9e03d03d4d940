"""Keys, launch requests and SSH sessions for tests that look into machines."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sky_core.clouds.base import LaunchRequest
from sky_core.clouds.userdata import public_key


def new_key() -> str:
    """An OpenSSH private key."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


HOST_KEY, USER_KEY = new_key(), new_key()


def request(token: str, **changes: Any) -> LaunchRequest:
    """A launch of one small spot machine in us-east-1a."""
    fields: dict[str, Any] = {
        "token": token,
        "instance_type": "m5.large",
        "region": "us-east-1",
        "zone": "us-east-1a",
        "use_spot": True,
        "host_key": HOST_KEY,
        "authorized_key": public_key(USER_KEY),
        "tags": {"skyloom-cluster": token},
    }
    return LaunchRequest(**{**fields, **changes})


@dataclass
class Session:
    """An SSH connection whose host key was pinned."""

    client: paramiko.SSHClient

    def run(self, command: str) -> tuple[int, str]:
        """Exit status and output of a command."""
        _, out, err = self.client.exec_command(command)
        text = out.read().decode() + err.read().decode()
        return out.channel.recv_exit_status(), text


def connect(ip: str, port: int, *, user: str = "skyloom", host_key: str = HOST_KEY) -> Session:
    """Log in; fails unless the machine presents ``host_key``."""
    client = paramiko.SSHClient()
    pinned = paramiko.Ed25519Key(data=base64.b64decode(public_key(host_key).split()[1]))
    client.get_host_keys().add(f"[{ip}]:{port}", "ssh-ed25519", pinned)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(USER_KEY))
    client.connect(ip, port, user, pkey=key, look_for_keys=False, allow_agent=False, timeout=30)
    return Session(client)


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for a condition; its value. Generous, since the host may be loaded."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value
