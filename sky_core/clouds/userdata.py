"""What a fresh machine is told at its first boot, the same on every cloud: cloud-init user data.

Format: https://cloudinit.readthedocs.io/en/latest/reference/modules.html (``users-groups``, ``ssh``).
"""

from __future__ import annotations

import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from sky_core.clouds.base import LaunchRequest


def public_key(private_key: str) -> str:
    """The OpenSSH public key line (``ssh-ed25519 AAAA…``) of an OpenSSH private key."""
    key = load_ssh_private_key(private_key.encode(), password=None)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def cloud_config(request: LaunchRequest, user: str) -> str:
    """User data that pins the machine's SSH host key and lets one key log in as ``user``.

    The host key is made by us, so that the very first connection can be checked against it: no trust on
    first use.
    """
    config = {
        "users": [
            {
                "name": user,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "ssh_authorized_keys": [request.authorized_key],
            }
        ],
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {"ed25519_private": request.host_key, "ed25519_public": public_key(request.host_key)},
    }
    return "#cloud-config\n" + yaml.safe_dump(config, sort_keys=False)
