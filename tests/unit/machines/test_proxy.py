"""What carries SSH: a command's end, by what it says, is a wrong setting, a bastion that is away, or the machine's."""

from __future__ import annotations

import shlex
import time

import pytest

from sky_core.errors import LinkLost, ProxyBroken
from sky_core.ssh import proxy
from sky_core.ssh.link import Link
from sky_core.ssh.machine import Machine
from sky_core.ssh.proxy import Proxy, try_out

# What OpenSSH 9.2 said, and its exit status.
WRONG = [
    ("ssh: Could not resolve hostname bastion: Name or service not known", 255),
    ("Host key for 10.0.0.1 has changed and you have requested strict checking.\nHost key verification failed.", 255),
    ("me@10.0.0.1: Permission denied (publickey).", 255),
    ("command-line: line 0: Bad configuration option: fast", 255),
    ("sh: 1: exec: bastion-way: not found", 127),
]
AWAY = [
    ("ssh: connect to host 10.0.0.1 port 22: Connection refused", 255),
    ("ssh: connect to host 10.0.0.1 port 22: Connection timed out", 255),
    ("ssh: Could not resolve hostname bastion: Temporary failure in name resolution", 255),
    ("kex_exchange_identification: read: Connection reset by peer", 255),
    ("Connection to 10.0.0.1 closed by remote host.", 255),
]
BOOTING = [
    ("channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed", 255),
    ("channel 0: open failed: connect failed: No route to host\nstdio forwarding failed", 255),
    ("An error occurred (TargetNotConnected) when calling the StartSession operation", 254),
    ("ConnectionRefusedError: [Errno 111] Connection refused", 1),
    ("", 1),
]


def saying(text: str, status: int) -> str:
    return f"printf %s '{text}' >&2; exit {status}"


def asked(command: str) -> Exception:
    """What a command on the machine comes to that is reached by this one."""
    begun = time.monotonic()
    with pytest.raises(LinkLost) as failed:
        Link(Machine("192.0.2.1", 22, "me", "", proxy_command=command), []).run("true", timeout_s=20)
    assert time.monotonic() - begun < 5, "as soon as it has ended"
    return failed.value


@pytest.mark.parametrize(("text", "status"), WRONG)
def test_a_wrong_setting_is_told_at_once_with_what_was_said(text: str, status: int) -> None:
    error = asked(f"sh -c {shlex.quote(saying(text, status))}")
    assert isinstance(error, ProxyBroken)
    assert error.lasting
    assert text.splitlines()[-1] in str(error)
    assert "look at it in config.toml" in str(error)
    assert "<" not in str(error).replace(text, ""), "no place to fill in"


@pytest.mark.parametrize(("text", "status"), AWAY)
def test_a_bastion_may_be_away(text: str, status: int) -> None:
    error = asked(f"sh -c {shlex.quote(saying(text, status))}")
    assert isinstance(error, ProxyBroken)
    assert not error.lasting
    assert text in str(error)


@pytest.mark.parametrize(("text", "status"), BOOTING)
def test_a_machine_that_is_not_up_yet_is_no_fault_of_the_way(text: str, status: int) -> None:
    error = asked(f"sh -c {shlex.quote(saying(text, status))}")
    assert not isinstance(error, ProxyBroken)
    assert (text.splitlines() or ["exit status 1"])[-1] in str(error), "but what was said is told"
    try_out(f"sh -c {shlex.quote(saying(text, status))}")


def test_a_bastion_may_forbid_the_machine_but_need_not_let_through_to_itself() -> None:
    command = f"sh -c {shlex.quote(saying('channel 0: open failed: administratively prohibited: no', 255))}"
    error = asked(command)
    assert isinstance(error, ProxyBroken)
    assert error.lasting
    try_out(command)


def test_an_ssh_that_says_nothing_hangs_at_its_bastion(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(proxy, "TRY_S", 0.5)
    for name in ("ssh", "other"):
        (tmp_path / name).write_text("#!/bin/sh\nexec sleep 60\n")
        (tmp_path / name).chmod(0o700)
    with pytest.raises(ProxyBroken, match="no answer within"):
        try_out(f"{tmp_path / 'ssh'} -W %h:%p bastion")
    try_out(f"{tmp_path / 'other'} %h %p")  # which may wait for a machine


def test_the_shell_runs_it_with_address_and_port(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    one = Proxy("echo 100%% %h:%p ~", "192.0.2.1", 2200)
    with one.wire.makefile() as answer:
        assert answer.read() == f"100% 192.0.2.1:2200 {tmp_path}\n"
    one.close()


def test_closing_ends_it_and_what_it_has_started() -> None:
    one = Proxy("sh -c 'sleep 600; true'", "192.0.2.1", 22)
    one.close()
    assert one._process.wait(5) != 0
    one._listener.join(5)
    assert not one._listener.is_alive(), "nothing of it holds its standard error"
