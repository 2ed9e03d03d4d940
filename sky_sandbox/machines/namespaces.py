"""Machines as Linux namespaces: OpenSSH's sshd is process 1 of its own pid, mount, uts and ipc namespace.

Needs no root where the kernel gives ordinary users namespaces (a user namespace then surrounds the others). Killing
process 1 ends everything on the machine, whatever it did to escape: the kernel sees to it. The machine's process
dies with the sandbox by ``PR_SET_PDEATHSIG``.

What a machine sees: the host's system, read and write, but a home, /tmp, /var/tmp, /run and /etc/ssh of its own in
place of the host's; of what these hide, only the Python interpreter stays visible. Its environment is copied on write.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shlex import join, quote

from sky_sandbox.machines.image import Guest, install, interpreter, path, shown_folders
from sky_sandbox.machines.processes import family, send

TRIAL_TIMEOUT_S = 60.0
UNSHARE = ("unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL", "--mount-proc")
TRIAL = "mount -t tmpfs tmpfs /run && hostname trial"

# PR_SET_PDEATHSIG takes effect only if the parent still lived by then, hence the second look.
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')

SSHD_CONFIG = """\
ListenAddress {ip}:{port}
HostKey {host_key}
AuthorizedKeysFile .ssh/authorized_keys
AllowUsers {user}
SetEnv {env}
Subsystem sftp internal-sftp
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 200:30:400
MaxSessions 200
"""


HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
AFTER_SSHD = """\
setsid bash -c '
at=$(sed -n "s/^ListenAddress //p" /run/sky/sshd_config)
until (exec 3<>"/dev/tcp/${at%%:*}/${at##*:}") 2>/dev/null; do sleep 0.05; done
"$@"
THEN' boot COMMAND </dev/null >~/boot.log 2>&1 &
"""
SYSTEMCTL = """\
#!/bin/sh
# Of systemd what starts sshd anew, which is process 1 here: it reads its keys again, and sessions go on.
case "$*" in "restart sshd" | "restart ssh") kill -HUP {init} ;; *) exit 1 ;; esac
"""


def after_sshd(command: Sequence[str], then: str = "") -> str:
    """Shell commands by which ``command`` is run once the machine's sshd answers, and ``then`` after it.

    Only for machines in namespaces: others have no sshd of their own.
    """
    return AFTER_SSHD.replace("THEN", then).replace("COMMAND", join(command))


def _sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _unshare() -> list[str]:
    return [*UNSHARE] if os.getuid() == 0 else [*UNSHARE, "--user", "--map-root-user"]


def available() -> bool:
    """Whether this host can run such machines. Containers and hardened kernels refuse; the only way is to try."""
    if _sshd() is None or any(shutil.which(tool) is None for tool in ("setpriv", "unshare", "mount", "hostname")):
        return False
    trial = [*_unshare(), "sh", "-c", TRIAL]
    return subprocess.run(trial, capture_output=True, timeout=TRIAL_TIMEOUT_S, check=False).returncode == 0


class Namespace:
    """One running machine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid

    def wait(self) -> int:
        return self.process.wait()

    def kill(self) -> None:
        # unshare ends after process 1 of the namespace, its only child, and that after everything else in it. Again
        # and again, since there may be no process 1 yet.
        while self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)  # it may be frozen
            for process in family(self.pid)[1:2]:
                send(process, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.05)


class Namespaces:
    """Starts machines as namespaces."""

    name = "sshd"

    def __init__(self) -> None:
        # PR_SET_PDEATHSIG means the death of the thread that forked: one thread that lives as long as we do.
        self._forker = ThreadPoolExecutor(1, thread_name_prefix="forker")

    def start(self, guest: Guest) -> Namespace:
        """Start the machine; its sshd answers a few milliseconds later."""
        home = f"/home/{guest.user}"
        install(guest, home, init=1, more={"systemctl": SYSTEMCTL})
        command = [*WITH_PARENT, str(os.getpid()), *_unshare(), "sh", "-c", _boot_script(guest, home)]
        with guest.log.open("ab") as log:
            return Namespace(self._forker.submit(_spawn, command, log.fileno()).result())

    def close(self) -> None:
        self._forker.shutdown()


def _spawn(command: list[str], log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _boot_script(guest: Guest, home: str) -> str:
    """Write the machine's /etc and its folders, and return the commands that mount them and become sshd."""
    covers = _covers(guest)
    lines = ["set -e", f"hostname {quote(guest.name)}"]
    for name, text in _etc(guest, home).items():
        (guest.root / name).write_text(text)
        lines.append(f"mount -n --bind {quote(str(guest.root / name))} /etc/{name}")
    (guest.root / "ssh").mkdir(mode=0o755)
    lines.append(_mount("--bind", guest.root / "ssh", "/etc/ssh"))
    python = interpreter(guest)
    shown = {**{folder: Path(folder) for folder in shown_folders(guest)}, home: guest.home}
    if python.exists():
        copy, commands = _copy_on_write(guest, python)
        lines += commands
        shown[str(python)] = copy
    for stage in covers.values():
        lines.append(_mount("--bind", stage, stage))
    for inside, outside in shown.items():
        covered = next((folder for folder in covers if inside.startswith(f"{folder}/")), None)
        point = Path(inside) if covered is None else covers[covered] / inside.removeprefix(f"{covered}/")
        if point != outside:
            point.mkdir(parents=True, exist_ok=True)
            lines.append(_mount("--rbind", outside, point))
    _write_sshd(guest, covers["/run"], home)
    # The folder that hides our own goes last.
    order = sorted(covers, key=lambda covered: str(guest.root).startswith(f"{covered}/"))
    lines += [_mount("--move", covers[covered], covered) for covered in order]
    owner = "" if os.getuid() == 0 else f"unshare --user --map-user={os.getuid()} --map-group={os.getgid()} "
    if guest.boot:
        variables = {**guest.env, "HOME": home, "PATH": path(guest, home)}
        told = " ".join(f"{name}={quote(value)}" for name, value in variables.items())
        lines.append(f"env {told} sh -c {quote(guest.boot)}")
    lines += ["cd /", f"exec {owner}{_sshd()} -D -e -f /run/sky/sshd_config"]
    return "\n".join(lines)


def _mount(how: str, source: Path | str, target: Path | str) -> str:
    return f"mount -n {how} {quote(str(source))} {quote(str(target))}"


def _copy_on_write(guest: Guest, folder: Path) -> tuple[Path, list[str]]:
    """A view of a folder whose changes stay in the machine, so that its pip cannot touch the host's environment.

    Where the file system cannot be overlaid, the view is read-only.
    """
    view, changes, work = (guest.root / "python" / name for name in ("view", "changes", "work"))
    for each in (view, changes, work):
        each.mkdir(parents=True)
    options = f"lowerdir={folder},upperdir={changes},workdir={work}"
    overlay = f"mount -n -t overlay -o {quote(options)} overlay {quote(str(view))} 2>/dev/null"
    frozen = f"{_mount('--bind', folder, view)} && mount -n -o remount,bind,ro {quote(str(view))}"
    return view, [f"{overlay} || {{ {frozen}; }}"]


def _covers(guest: Guest) -> dict[str, Path]:
    """The host's folders that the machine replaces, with a fresh folder for each."""
    covered = [folder for folder in ("/home", "/root", "/tmp", "/var/tmp", "/run") if os.path.isdir(folder)]  # noqa: S108
    own = str(Path.home())
    if own != "/" and not any(own == folder or own.startswith(f"{folder}/") for folder in covered):
        covered.append(own)
    stages = {folder: guest.root / "cover" / folder.strip("/").replace("/", "-") for folder in covered}
    for folder, stage in stages.items():
        stage.mkdir(parents=True)
        stage.chmod(0o1777 if folder.endswith("tmp") else 0o755)
    return stages


def _etc(guest: Guest, home: str) -> dict[str, str]:
    uid, gid = os.getuid(), os.getgid()
    with open("/etc/passwd") as file:
        others = [
            line for line in file if line.split(":")[0] != guest.user and (uid == 0 or line.split(":")[2] != str(uid))
        ]
    return {
        "passwd": "".join([f"{guest.user}:x:{uid}:{gid}::{home}:/bin/bash\n", *others]),
        "hosts": f"127.0.0.1 localhost\n{guest.ip} {guest.name}\n",
    }


def _write_sshd(guest: Guest, run: Path, home: str) -> None:
    (run / "sshd").mkdir(mode=0o755)  # sshd's privilege separation folder
    (run / "sky").mkdir(mode=0o700)
    variables = {**guest.env, "PATH": path(guest, home)}
    config = SSHD_CONFIG.format(
        ip=guest.ip,
        port=guest.port,
        user=guest.user,
        host_key=HOST_KEY,
        env=" ".join(f'"{name}={value}"' for name, value in variables.items()),
    )
    (run / "sky/sshd_config").write_text(config)
    key = guest.root / "ssh" / HOST_KEY.rpartition("/")[2]
    key.touch(mode=0o600)
    key.write_text(guest.host_key)
