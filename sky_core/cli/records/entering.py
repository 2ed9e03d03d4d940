"""On to a machine of a job: ``skyloom ssh`` and ``exec`` by the system's own ssh, ``open`` by a port of this host."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from sky_core.cli.records.choosing import JobArgument, job_called
from sky_core.cli.terminal import complain, open_broker, say
from sky_core.errors import ProxyBroken, SkyloomError

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.ssh.machine import Machine

RankOption = Annotated[int, typer.Option("--rank", min=0, help="Which machine of a gang.")]
SHELL = 'exec "${SHELL:-/bin/sh}" -l'
SSH_FAILED = 255  # its exit status where it has not come so far; a command may have the same
LOOK_S = 2.0  # between two looks at whether the job is over


class Page(Enum):
    """What of a job there is to open."""

    dashboard = "dashboard"


def ssh(job: JobArgument, rank: RankOption = 0) -> None:
    """Open a shell on a job's machine, in the job's working folder. The job goes on meanwhile."""
    raise typer.Exit(_enter(job, rank, SHELL, terminal=True))


def execute(
    job: JobArgument,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="What is run there; it is not a shell.")],
    rank: RankOption = 0,
) -> None:
    """Run a command on a job's machine, in the job's working folder; its exit code is that of this one.

    Options of the command follow its name; a pipe or a variable needs a shell: skyloom exec JOB sh -c '…'
    """
    rank, command = _rank_said(rank, command)
    raise typer.Exit(_enter(job, rank, f"exec {shlex.join(command)}", terminal=False))


def _rank_said(rank: int, command: list[str]) -> tuple[int, list[str]]:
    """The rank where it follows the job, as it does for ``skyloom ssh``: what follows there is else the command's."""
    said, _, number = command[0].partition("=")
    if said != "--rank":
        return rank, command
    number, rest = (number, command[1:]) if number else (" ".join(command[1:2]), command[2:])
    if not number.isdigit() or not rest:
        raise typer.BadParameter("write it as --rank NUMBER, and the command after it", param_hint="--rank")
    return int(number), rest


def open_page(
    job: JobArgument,
    page: Annotated[Page, typer.Argument(help="Of the job's engine: Dask or Spark.")] = Page.dashboard,
    browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Lead a port of this host to the page of a job's engine, by SSH, until the job is over or Ctrl-C.

    Whoever has a login on this host can open it meanwhile.
    """
    from sky_core.ssh.forward import Forward
    from sky_core.tunnel.head import Head

    broker = open_broker()
    found = job_called(broker, job, live=True)
    head = Head(broker.settings, broker.store, found.id)
    there = head.dashboard()
    if there is None:
        cure = "dask and spark have one, once the machines' command has begun; skyloom logs tells when"
        raise SkyloomError(f"{found.id} has no {page.value} just now", cure=cure)
    forward = Forward(lambda: head.dial(head.dashboard()), lambda error: complain(str(error), "yellow"))
    address = f"http://127.0.0.1:{forward.port}{urlsplit(there).path or '/'}"
    say(address)
    sys.stdout.flush()  # for whoever started it and reads the address from a pipe
    if browser:
        typer.launch(address)
    try:
        while not (now := broker.job(found.id)).over:
            head.leave(now.attempt)
            time.sleep(LOOK_S)
        say(f"{found.id} is over: {now.state}")
    except KeyboardInterrupt:
        say("closed; the job goes on")
    finally:
        forward.close()


def _enter(said: str, rank: int, script: str, *, terminal: bool) -> int:
    """The exit status of a script on the machine of that rank."""
    if shutil.which("ssh") is None:
        raise SkyloomError("there is no ssh on this computer", cure="install the client of OpenSSH")
    from sky_core.tunnel.machine import machine_of

    broker = open_broker()
    machine, folder = machine_of(broker.settings, broker.store, job_called(broker, said, live=True), rank)
    with tempfile.TemporaryDirectory(prefix="skyloom-ssh-") as place:
        command = [*_ssh(broker, machine, Path(place)), *(["-t"] if terminal and sys.stdin.isatty() else [])]
        there = f"cd {shlex.quote(folder)} 2>/dev/null; {script}"
        sys.stdout.flush()
        status = subprocess.call([*command, f"{machine.user}@{machine.ip}", there])
    if status == SSH_FAILED and machine.proxy_command:
        _tell_of_the_way(machine.proxy_command)
    return status


def _tell_of_the_way(command: str) -> None:
    """Say where the settings lead to, if that is why ssh has not come to the machine."""
    from sky_core.ssh.proxy import try_out

    try:
        try_out(command)
    except ProxyBroken as error:
        complain(str(error))


def _ssh(broker: Broker, machine: Machine, place: Path) -> list[str]:
    """The command that reaches the machine, and no other. Keys lie in ``place``, a folder for this call alone."""
    from sky_core.remote.keys import client_keys
    from sky_core.ssh import pins

    options = ["-p", str(machine.port), "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20"]
    if pins.types(machine.host_key):  # else it is a fingerprint, or nothing: the user's own known_hosts decides
        hosts = place / "known_hosts"
        name = machine.ip if machine.port == pins.SSH_PORT else f"[{machine.ip}]:{machine.port}"
        hosts.write_text("".join(f"{name} {line}\n" for line in machine.host_key.splitlines()))
        options += ["-o", f"UserKnownHostsFile={hosts}", "-o", "StrictHostKeyChecking=yes"]
    if machine.proxy_command:
        options += ["-o", f"ProxyCommand={machine.proxy_command}"]
    if machine.key_file:
        return ["ssh", *options, "-i", machine.key_file]
    for number, key in enumerate(client_keys(broker.settings)):
        file = place / f"key{number}"
        file.touch(mode=0o600)
        file.write_text(key)
        options += ["-i", str(file)]
    return ["ssh", *options, "-o", "IdentitiesOnly=yes"]
