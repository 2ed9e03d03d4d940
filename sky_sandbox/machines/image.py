"""The image that every machine of the sandbox boots: its files, its environment and the keys it is told at boot.

A machine has a private home, ``sudo`` and ``shutdown`` as far as tasks need them, variables that lead the SDKs to its
metadata service, and a ``python3``: the one that its image has by what the vendor documents, or, of prepared images,
the sandbox's own with all that is installed there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sky_sandbox.images import images
from sky_sandbox.machines import accelerators, pythons
from sky_sandbox.machines.record import Machine

DEFAULT_USER = "skyloom"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MARK = "SKY_SANDBOX_GUEST"  # variable by which processes are found that have no namespace

SHUTDOWN = """\
#!/bin/sh
# Ends this machine now, whatever the arguments, as "shutdown -h now" ends a VM whose shutdown behaviour is terminate.
kill -TERM {init}
sleep 10
"""
NO_PYTHON = Path("/nonexistent")
NOT_FOUND = """\
#!/bin/sh
echo "$0: not found" >&2
exit 127
"""
SUDO = """\
#!/bin/sh
# The image allows sudo without a password; the login user already may do all that the sandbox allows.
while [ "${1#-}" != "$1" ]; do shift; done
exec "$@"
"""


@dataclass(frozen=True)
class Guest:
    """What it takes to run one machine.

    Attributes:
        name: Host name, and name of its folder.
        root: Folder on the host with ``home`` and ``tmp`` of the machine; gone with the machine.
        log: File on the host that keeps what its sshd says.
        host_key: Private SSH host key, OpenSSH format.
        authorized_keys: Public keys that may log in as ``user``.
        env: Environment of every session, without HOME, USER and PATH.
        boot: What cloud-init runs first of all (``bootcmd``), as shell commands.
        python: Where the interpreter of the image is, with ``bin/python3`` or without; None for a prepared image.
        tools: Further commands on its PATH, as shell scripts.
    """

    name: str
    ip: str
    port: int
    root: Path
    log: Path
    user: str
    host_key: str
    authorized_keys: tuple[str, ...]
    env: Mapping[str, str]
    boot: str = ""
    python: Path | None = None
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The home folder as the host sees it."""
        return self.root / "home"

    @property
    def mark(self) -> str:
        """Value of :data:`MARK` in all processes of the machine, unique among all sandboxes of this host."""
        return str(self.root)

    def dump(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        paths = {"root": str(self.root), "log": str(self.log), "python": self.python and str(self.python)}
        return asdict(self) | paths | {"env": dict(self.env), "tools": dict(self.tools)}

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Guest:
        """The inverse of :meth:`dump`."""
        keys = tuple(data["authorized_keys"])
        paths = {name: Path(data[name]) for name in ("root", "log", "python") if data[name]}
        return cls(**{**data, **paths, "authorized_keys": keys})


def machine_folder(machine: Machine, folder: Path) -> Path:
    """Where the machine's files are on the host; the folder is called as the machine is."""
    return folder / "machines" / ("ip-" + machine.ip.replace(".", "-"))


def guest(
    machine: Machine,
    folder: Path,
    ssh_port: int,
    metadata_port: int,
    apis: Mapping[str, str] | None = None,
    *,
    strict: bool = False,
) -> Guest:
    """The guest of a machine, its keys taken from the machine's cloud-init user data.

    Args:
        strict: Give it the Python of its image, as far as that is known and such an interpreter is to be had.

    Raises:
        OSError: if the user data is not cloud-init's YAML, as a machine that cannot be reached.
    """
    config = _cloud_config(machine.user_data)
    user: dict[str, Any] = next((user for user in config.get("users") or () if isinstance(user, dict)), {})
    root = machine_folder(machine, folder)
    return Guest(
        name=root.name,
        ip=machine.ip,
        port=ssh_port,
        root=root,
        log=folder / "logs" / f"{root.name}.log",
        user=user.get("name", DEFAULT_USER),
        host_key=config.get("ssh_keys", {}).get("ed25519_private") or _new_key(),
        authorized_keys=tuple(user.get("ssh_authorized_keys", ())),
        env={**_environment(machine, f"{machine.ip}:{metadata_port}"), **(apis or {})},
        boot="\n".join(map(str, config.get("bootcmd") or ())),
        python=_python(machine) if strict else None,
        tools=accelerators.tools(machine),
    )


def _python(machine: Machine) -> Path | None:
    about = images(machine.cloud).get(machine.extra.get("image", ""))
    if about is None:  # one of somebody's own
        return None
    if not about.python:
        return NO_PYTHON
    machine.extra["python"] = pythons.nearest(about.python).version
    return pythons.copied(about.python, ensurepip=about.ensurepip)


def _cloud_config(user_data: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(user_data)
    except yaml.YAMLError as error:
        raise OSError(f"cloud-init: user data is not YAML: {error}") from None
    return config if isinstance(config, dict) else {}


def _new_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _environment(machine: Machine, metadata: str) -> dict[str, str]:
    """Leads the SDKs to the machine's own metadata service, and away from those of the other clouds."""
    elsewhere = {"AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true"}
    own = {
        "aws": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{metadata}", "NO_GCE_CHECK": "true"},
        "gcp": {"GCE_METADATA_HOST": metadata, "GCE_METADATA_IP": metadata, "AWS_EC2_METADATA_DISABLED": "true"},
        "azure": {"AZURE_METADATA_ENDPOINT": f"http://{metadata}", **elsewhere},
    }
    return {"SKY_SANDBOX": "1", "SKY_SANDBOX_MACHINE": machine.id, "LANG": "C.UTF-8", **own[machine.cloud]}


def path(guest: Guest, home: str | Path) -> str:
    """PATH of a session: the machine's own commands, the image's Python, the system."""
    own = f"{home}/.local/bin"
    return f"{own}:{SYSTEM_PATH}" if guest.python else f"{own}:{Path(sys.executable).parent}:{SYSTEM_PATH}"


def interpreter(guest: Guest) -> Path:
    """The folder that the image's Python lives in."""
    return guest.python or Path(sys.prefix)


def shown_folders(guest: Guest) -> list[str]:
    """Folders of the host that the machine must see whatever hides them: those without which no Python runs."""
    if guest.python:
        return [str(pythons.cache())]  # its own copy, and what can be fetched from here
    folders = {sys.prefix, sys.base_prefix}
    return sorted(folders | {os.path.realpath(folder) for folder in folders})


def discard(folder: Path) -> None:
    """Delete a machine's folder."""
    with contextlib.suppress(OSError):  # overlayfs leaves a folder that not even its owner may list
        (folder / "python/work/work").chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def install(guest: Guest, home_inside: str, init: int, more: Mapping[str, str] | None = None) -> None:
    """Write the machine's files. ``home_inside`` is its home as its sessions see it, ``init`` the process to end it;
    ``more`` are commands that its runner adds.
    """
    for folder in (guest.home / ".local/bin", guest.home / ".ssh", guest.root / "tmp", guest.log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    (guest.home / ".ssh/authorized_keys").write_text("".join(f"{key}\n" for key in guest.authorized_keys))
    # /etc/profile resets PATH in login shells, which read this file afterwards.
    (guest.home / ".profile").write_text(f'export PATH="{path(guest, home_inside)}"\n')
    if guest.python and guest.python != NO_PYTHON:
        (guest.home / ".local/bin/python3").symlink_to(guest.python / "bin/python3")
    elif guest.python:
        _script(guest, "python3", NOT_FOUND)
    for command, text in (("shutdown", SHUTDOWN), ("poweroff", SHUTDOWN), ("sudo", SUDO), *guest.tools.items(),
                          *(more or {}).items()):  # fmt: skip
        _script(guest, command, text.replace("{init}", str(init)))


def _script(guest: Guest, name: str, text: str) -> None:
    script = guest.home / ".local/bin" / name
    script.write_text(text)
    script.chmod(0o755)
