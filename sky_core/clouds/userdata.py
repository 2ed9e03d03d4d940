"""What a fresh machine is told at its first boot, the same on every cloud: cloud-init user data.

Format: https://cloudinit.readthedocs.io/en/latest/reference/modules.html (``bootcmd``,
``users-groups``, ``ssh``). EC2 takes 16 KiB of it, Azure 64 KiB, Google 256 KiB.
"""

from __future__ import annotations

import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from sky_core.clouds.base import LaunchRequest, Switch


def public_key(private_key: str) -> str:
    """The OpenSSH public key line (``ssh-ed25519 AAAA…``) of an OpenSSH private key."""
    key = load_ssh_private_key(private_key.encode(), password=None)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


# cloud-init has no HOME, or root's; the sandbox's machines have the user's. Uptime is counted, since clocks jump.
WATCH = """\
now() { cut -d. -f1 /proc/uptime; }
born=$(now) since=$(now) seen=
while sleep %(tick)d; do
  alive=$(stat -c %%Y "${HOME:-/}/.skyloom/alive" /home/%(user)s/.skyloom/alive 2>/dev/null)
  if [ "$alive" != "$seen" ]; then seen=$alive since=$(now); fi
  if [ $(($(now) - since)) -ge %(idle)d ] || [ $(($(now) - born)) -ge %(most)d ]; then
    %(end)s
    sleep 30
  fi
done
"""


POWER_OFF = "shutdown -h now"
BY_ITSELF = f"cd \"${{0%/*}}\" && python3 -c 'import machine; print(machine.end_bill())' || {POWER_OFF}"


# For machines that others have booted. The keys that they have made are none of ours, and a client might take one.
HOST_KEY = """\
set -e
umask 077
sudo rm -f /etc/ssh/ssh_host_*
sudo tee /etc/ssh/ssh_host_ed25519_key >/dev/null <<'SKYLOOM'
%(host_key)s
SKYLOOM
sudo chmod 600 /etc/ssh/ssh_host_ed25519_key
sudo systemctl restart sshd || sudo systemctl restart ssh
set +e
umask 022
"""
LOGIN = """mkdir -p ~/.ssh
echo '%(authorized_key)s' >>~/.ssh/authorized_keys
"""


def with_our_host_key(request: LaunchRequest) -> str:
    """Shell commands by which a machine that runs already presents the request's host key."""
    return HOST_KEY % {"host_key": request.host_key.strip()}


def taken_over(request: LaunchRequest, user: str) -> str:
    """Shell commands, run by ``user``, that make a booted machine as :func:`cloud_config` has it.

    They end when nobody needs the machine any more, by the request's switch: without one they do not.
    """
    keys = LOGIN % {"authorized_key": request.authorized_key.strip()} + with_our_host_key(request)
    return keys + (_watch(request.switch, user, "exit 0") if request.switch else "exec sleep infinity\n")


def arming(switch: Switch | None, user: str) -> str:
    """Shell commands that arm a switch, "" for none. The watch goes on in a session of its own.

    cloud-init's units leave processes alone that outlive them (``KillMode=process``).
    """
    if switch is None:
        return ""
    end = BY_ITSELF if switch.program else POWER_OFF
    files = {"machine.py": switch.program, "watch": _watch(switch, user, end)}
    written = "".join(_file(name, text) for name, text in files.items() if text)
    return f"""folder=${{TMPDIR:-/run}}/skyloom
mkdir -p "$folder"
{written}setsid sh "$folder/watch" </dev/null >/dev/null 2>&1 &
"""


def _watch(switch: Switch, user: str, end: str) -> str:
    tick = max(1, min(15, int(switch.idle_s / 10)))
    about = {"user": user, "end": end, "tick": tick, "idle": int(switch.idle_s), "most": int(switch.max_s)}
    return WATCH % about


def _file(name: str, text: str) -> str:
    return f"cat >\"$folder/{name}\" <<'SKYLOOM'\n{text.rstrip()}\nSKYLOOM\n"


def cloud_config(request: LaunchRequest, user: str) -> str:
    """User data that pins the machine's SSH host key and lets one key log in as ``user``.

    The host key is made by us, so that the very first connection can be checked against it: no trust on
    first use.
    """
    armed = arming(request.switch, user)
    config = {
        # At every boot, and before all else that cloud-init does: files, users, packages.
        **({"bootcmd": [armed]} if armed else {}),
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
