"""The host between the world and machines without public addresses: it carries connections, and nothing else.

``python -m sky_sandbox.network.bastion FOLDER ADDRESS PORT`` serves SSH there until its standard input ends. What it
carries comes from an address of its own, which is what the clouds' rules let in or not.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from shlex import quote

import asyncssh
from asyncssh.forward import SSHForwarder

from sky_sandbox.network.gate import BASTION as ADDRESS

USER = "bastion"
KNOCK_S = 30.0


class Bastion:
    """The process, and how to get through it."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir(mode=0o700)
        for name in ("host", "login"):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(folder / name)
            (folder / name).chmod(0o600)  # or ssh will not have it
            key.write_public_key(folder / f"{name}.pub")
        known = (folder / "host.pub").read_text()
        (folder / "known_hosts").write_text(f"[{ADDRESS}]:{port} {known}")
        options = {"UserKnownHostsFile": folder / "known_hosts", "IdentitiesOnly": "yes", "BatchMode": "yes"}
        told = " ".join(f"-o {quote(f'{name}={value}')}" for name, value in options.items())
        self.proxy_command = f"ssh -F none -i {quote(str(folder / 'login'))} {told} -p {port} -W %h:%p {USER}@{ADDRESS}"
        command = [sys.executable, "-m", __name__, str(folder), ADDRESS, str(port)]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise OSError(f"the bastion did not come up: {(folder / 'log').read_text()[-500:]}")

    def close(self) -> None:
        """End it, with all that it carries."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class _Carrier(asyncssh.SSHServer):
    """Lets in who has the login's key, and carries what is asked for; no shell, no files."""

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> object:  # type: ignore[override]
        return _carry(dest_host, dest_port)


async def _carry(host: str, port: int) -> SSHForwarder:
    knocking = asyncio.get_running_loop().create_connection(SSHForwarder, host, port, local_addr=(sys.argv[2], 0))
    try:
        _, peer = await asyncio.wait_for(knocking, KNOCK_S)
    except (OSError, TimeoutError) as error:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error)) from None
    return SSHForwarder(peer)


async def _serve(folder: Path, address: str, port: int) -> None:
    server = await asyncssh.create_server(
        _Carrier,
        address,
        port,
        server_host_keys=[folder / "host"],
        authorized_client_keys=str(folder / "login.pub"),
    )
    print("up", flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
