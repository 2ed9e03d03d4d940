"""The sandbox's process: ``python -m sky_sandbox.server --home DIR`` serves all clouds on loopback.

It writes ``DIR/sandbox/endpoints.json``, which the ``sandbox`` profile reads, and runs until ``SIGTERM``, the control
API's shutdown, or, with ``--attached``, the end of its standard input. It begins empty: what an earlier sandbox of
this home left on disk is deleted. Machines die with it, even when it is killed.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import random
import secrets
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, get_args

import uvicorn
from werkzeug.serving import make_server

from sky_core.endpoints import SANDBOX_FILE
from sky_sandbox import admin, storage
from sky_sandbox.accounts import PROFILES
from sky_sandbox.aws import api as aws
from sky_sandbox.aws.ec2 import ACCOUNT
from sky_sandbox.aws.sso import aws_config
from sky_sandbox.azure import app as azure
from sky_sandbox.azure.login import ManagedIdentity
from sky_sandbox.gcp import accounts, compute
from sky_sandbox.gcp.login import ServiceAccount
from sky_sandbox.ledger import Ledger
from sky_sandbox.logins import Logins
from sky_sandbox.machines import index
from sky_sandbox.machines.instances import Hypervisor, RunnerName, choose_runner
from sky_sandbox.machines.metadata import Metadata
from sky_sandbox.machines.pythons import mirror
from sky_sandbox.network.bastion import Bastion
from sky_sandbox.network.gate import BASTION
from sky_sandbox.storage.outages import Outages
from sky_sandbox.tls import Certificates, make_certificates
from sky_sandbox.world import World

LOOPBACK = "127.0.0.1"
RESERVED = "127.77.255.254"  # no machine gets it; holding a port there keeps other sandboxes off the port
PORTS = range(20000, 32000)  # below the ports that connections take for themselves
POLL_S = 0.2

GCP_PROJECT = "skyloom-sandbox"
AZURE_SUBSCRIPTION = "00000000-0000-4000-8000-000000000000"
AZURE_STORAGE_ACCOUNT = "skyloomsandbox"


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m sky_sandbox.server", description="Three clouds on loopback.")
    parser.add_argument("--home", type=Path, required=True, help="the Skyloom home that uses this sandbox")
    parser.add_argument("--runner", choices=get_args(RunnerName), default="auto", help="what machines are made of")
    parser.add_argument("--boot-s", type=float, default=1.0, help="seconds from launch to the start of sshd")
    parser.add_argument("--aws-notice-s", type=float, default=5.0, help="real seconds between notice and eviction")
    parser.add_argument("--gcp-notice-s", type=float, default=3.0)
    parser.add_argument("--azure-notice-s", type=float, default=3.0)
    parser.add_argument("--hours-per-second", type=float, default=1 / 60, help="hours that one real second counts for")
    parser.add_argument("--gb-per-mb", type=float, default=1.0, help="GB that one real megabyte counts for")
    parser.add_argument("--lease-s", type=float, default=10.0, help="seconds until another driver may take a job over")
    parser.add_argument("--orphan-ttl-s", type=float, default=60.0, help="seconds an undriven machine lives on")
    parser.add_argument("--login-s", type=float, help="real seconds after which lent credentials end at the latest")
    parser.add_argument("--clock-skew-s", type=float, default=0.0,
                        help="seconds that machines' clocks are ahead of their metadata service's")  # fmt: skip
    parser.add_argument("--images", choices=("strict", "prepared"), default="prepared",
                        help="machines with their image's Python, or with ours and all that jobs need")  # fmt: skip
    parser.add_argument("--firewalls", choices=("asked", "open"), default="asked",
                        help="whether the clouds' rules for SSH hold at once, or from the first `move` on")  # fmt: skip
    parser.add_argument("--account", choices=PROFILES, default="easy", help="what the account with each cloud is like")
    parser.add_argument("--attached", action="store_true", help="stop when standard input ends")
    return parser


class Listener:
    """An ASGI application on a free port of loopback, in a thread of its own."""

    def __init__(self, app: Any, certificates: Certificates | None = None) -> None:
        tls = {"ssl_certfile": certificates.cert, "ssl_keyfile": certificates.key} if certificates else {}
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", **tls)  # type: ignore[arg-type]
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server((LOOPBACK, 0), backlog=256)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()


class Sandbox:
    """Everything that runs in the process."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.options = chosen
        self.folder = chosen.home / "sandbox"
        self.over = threading.Event()
        self.token = secrets.token_urlsafe(32)
        _empty(self.folder)
        ssh_port, metadata_port = reserve_port(), reserve_port()
        self._reserved = (ssh_port, metadata_port)
        self.hypervisor = Hypervisor(
            choose_runner(chosen.runner),
            Metadata(metadata_port.getsockname()[1], chosen.clock_skew_s),
            self.folder,
            ssh_port.getsockname()[1],
            strict=chosen.images == "strict",
        )
        notice_s = {"aws": chosen.aws_notice_s, "gcp": chosen.gcp_notice_s, "azure": chosen.azure_notice_s}
        self.world = World(
            self.hypervisor,
            boot_s=chosen.boot_s,
            notice_s=notice_s,
            audit=self.folder / "audit.jsonl",
            ledger=Ledger(chosen.hours_per_second),
            ssh_port=self.hypervisor.ssh_port,
            firewalls=chosen.firewalls == "asked",
        )
        self.world.account = PROFILES[chosen.account]
        self.hypervisor.ended = self.world.stop
        self.outages = Outages()
        logins = Logins(chosen.login_s, static=lambda: self.world.account.access_keys)
        google, identity = ServiceAccount(logins, GCP_PROJECT), ManagedIdentity(logins)
        self.certificates = make_certificates(self.folder / "tls")
        self._aws = make_server(
            LOOPBACK, 0, aws.Aws(self.world, logins), threaded=True, request_handler=aws.RequestHandler
        )
        threading.Thread(target=self._aws.serve_forever, daemon=True).start()
        arm = azure.app(self.world, logins, identity)
        self.listeners = {
            "gcp": Listener(compute.app(self.world, logins, google)),
            "azure": Listener(arm, self.certificates),
            "azure inside": Listener(arm),  # machines do not have our certificates
            "storage": Listener(
                storage.app(
                    self.folder / "objects",
                    self.outages,
                    logins,
                    google.bearer,
                    self.world.lacks,
                    lambda: self.world.account.hierarchical,
                )
            ),
            "admin": Listener(admin.app(self)),
            "packages": Listener(index.app()),
        }

        inside = {name: f"http://{LOOPBACK}:{listener.port}" for name, listener in self.listeners.items()}
        _write_private(self.folder / "aws.ini", aws_config(f"http://{LOOPBACK}:{self._aws.port}", ACCOUNT))
        _write_private(self.folder / "google.json", google.key_file(f"{inside['gcp']}/token"))
        _write_private(self.folder / "azure.env", identity.variables(inside["azure inside"]))
        self.bastion = None if self.world.account.routed else Bastion(self.folder / "bastion", self.hypervisor.ssh_port)
        self.hypervisor.apis = {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{inside['gcp']}/compute/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": f"{inside['gcp']}/v2/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAPROC": f"{inside['gcp']}/v1/",
            "ARM_ENDPOINT": inside["azure inside"],
        }

    def endpoints(self) -> dict[str, Any]:
        """What ``endpoints.json`` says: how to reach the clouds, in the fields of the settings."""
        ports = {name: listener.port for name, listener in self.listeners.items()}
        common = {
            "enabled": True,
            "storage_endpoint": f"http://{LOOPBACK}:{ports['storage']}",
            "bucket_prefix": "skyloom",
            "ssh_port": self.hypervisor.ssh_port,
            "address_url": f"http://{LOOPBACK}:{ports['admin']}/address",
            "min_poll_s": POLL_S,
            **({"lent_h": self.options.login_s / 3600} if self.options.login_s else {}),
            **({"network": self._behind(self.bastion)} if self.bastion else {}),
        }
        token = {"credentials": {"token": "sandbox"}} if self.world.account.access_keys else {}
        return {
            "pid": os.getpid(),
            "admin": {"url": f"http://{LOOPBACK}:{ports['admin']}", "token": self.token},
            "scale": {
                "hours_per_second": self.options.hours_per_second,
                "gb_per_mb": self.options.gb_per_mb,
            },
            "poll_s": POLL_S,
            "lease_s": self.options.lease_s,
            "orphan_ttl_s": self.options.orphan_ttl_s,
            **({"python": self._pythons(ports["packages"])} if self.hypervisor.strict else {}),
            "clouds": {
                "aws": {
                    **common,
                    "endpoint": f"http://{LOOPBACK}:{self._aws.port}",
                    "account": ACCOUNT,
                    **self._login(),
                },
                "gcp": {
                    **common,
                    "endpoint": f"http://{LOOPBACK}:{ports['gcp']}",
                    "account": GCP_PROJECT,
                    "tpu_identity": accounts.email(accounts.TPUS, GCP_PROJECT),
                    **token,
                },
                "azure": {
                    **common,
                    "endpoint": f"https://localhost:{ports['azure']}",
                    "account": AZURE_SUBSCRIPTION,
                    "storage_account": AZURE_STORAGE_ACCOUNT,
                    **token,
                    "ca_file": str(self.certificates.ca),
                },
            },
        }

    def _login(self) -> dict[str, Any]:
        """AWS's keys, or with Identity Center none: a role to lend by, since no other may be assumed."""
        if not self.world.account.access_keys:
            return {"machine_role": f"arn:aws:iam::{ACCOUNT}:role/skyloom-machines"}
        return {"credentials": {"access_key_id": aws.ACCESS_KEY, "secret_access_key": aws.SECRET_KEY}}

    @staticmethod
    def _behind(bastion: Bastion) -> dict[str, Any]:
        """The settings by which machines are reached that have no public address."""
        return {
            "public_addresses": False,
            "proxy_command": bastion.proxy_command,
            "sources": [f"{BASTION}/32"],
        }

    def _pythons(self, port: int) -> dict[str, str]:
        """Where machines of strict images fetch what they lack; nothing of it leaves this host."""
        return {"builds": mirror().as_uri(), "index": f"http://{LOOPBACK}:{port}{index.SIMPLE}"}

    def run(self) -> None:
        """Serve until told to stop, then end everything."""
        path = self.options.home / SANDBOX_FILE
        _write_private(path, json.dumps(self.endpoints(), indent=2))
        self.over.wait()
        path.unlink(missing_ok=True)
        self.world.close()
        self.hypervisor.close()
        if self.bastion is not None:
            self.bastion.close()


def reserve_port() -> socket.socket:
    """A socket that holds a port which is free on all machines' addresses.

    Raises:
        OSError: if this host has no such loopback addresses.
    """
    for port in random.sample(PORTS, len(PORTS)):
        holder = socket.socket()
        try:
            holder.bind((RESERVED, port))
        except OSError as error:
            holder.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise OSError(
                    f"the sandbox gives each machine an address in 127.77.0.0/16, which this host lacks: {error}; "
                    f"on macOS add them first, e.g.: sudo ifconfig lo0 alias {RESERVED}, …127.77.0.1, …127.77.0.2"
                ) from None
            continue
        return holder
    raise OSError("no free port between 20000 and 32000")


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("machines", "logs", "objects", "tls", "bastion"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "audit.jsonl").unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


def _end_with_stdin(sandbox: Sandbox) -> None:
    sys.stdin.buffer.read()
    sandbox.over.set()


def main() -> None:
    """Run the sandbox of the command line."""
    chosen = options().parse_args()
    chosen.home = chosen.home.expanduser().resolve()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    sandbox = Sandbox(chosen)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sandbox.over.set())
    if chosen.attached:
        threading.Thread(target=_end_with_stdin, args=(sandbox,), daemon=True).start()
    sandbox.run()


if __name__ == "__main__":
    main()
