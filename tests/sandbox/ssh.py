"""Keys, launch requests and SSH sessions for tests that launch machines and look into them."""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sky_core.clouds.base import Cloud, Instance, LaunchRequest
from sky_core.clouds.userdata import public_key
from tests.conftest import until


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


def greeting(place: tuple[str, int], source: str) -> bytes:
    """What an SSH server says to whoever comes from that address; nothing if nobody answers."""
    try:
        with socket.create_connection(place, timeout=2.0, source_address=(source, 0)) as wire:
            return wire.recv(4)
    except TimeoutError:
        return b""


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


def running(cloud: Cloud, instances: Sequence[Instance]) -> list[Instance]:
    """Wait until all of them run; fails if one ends instead."""
    ids = [instance.id for instance in instances]

    def up() -> list[Instance]:
        now = cloud.describe(ids)
        assert all(instance.state in ("pending", "running") for instance in now), now
        return now if all(instance.state == "running" for instance in now) else []

    return list(until(up))
