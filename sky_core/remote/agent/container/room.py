"""Where a job's commands run: on the machine itself, or in a container on it. The agent stays outside."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..data import placing
from ..data.placing import Unplaced
from ..job import Job, Place, root

Say = Callable[[str], None]

# What placing.put does on the machine, done where the image's own links and folders count.
PLACE = """
case $2 in "~") at=$HOME;; "~/"*) at=$HOME/${2#"~/"};; /*) at=$2;; *) at=$3/$2;; esac
if test -d "$at" && test ! -L "$at" && ! rmdir "$at" 2> /dev/null; then
  test $4 = merge && test -d "$1" && cp -R "$1/." "$at/" && exit
  echo "there is a folder in this image that is not empty" >&2; exit 1
fi
mkdir -p "$(dirname "$at")" && rm -f "$at" && ln -s "$1" "$at"
"""


class NoRoom(Exception):
    """A container cannot be had on this machine."""


class Room:
    """The machine itself.

    Attributes:
        env: The environment that commands find there before the job's own is added.
        shell: What runs scripts.
        shows: Whether the machine's process table shows what runs there, to be signalled by us.
        pids: Processes of the room's own, which are not the job's.
        ends_with: The command that ends whatever of it outlives the agent; empty where nothing does.
    """

    env: Mapping[str, str] = os.environ
    shell = "bash"
    shows = True
    pids: Sequence[int] = ()
    ends_with: Sequence[str] = ()

    def command(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], Mapping[str, str]]:
        """What to start on the machine so that ``command`` runs in the room with ``env``, and with what environment."""
        return list(command), env

    def put(self, path: str, source: Path, work: Path, *, merge: bool) -> None:
        """As :func:`placing.put`, for a path in the room.

        Raises:
            Unplaced: if it cannot be done.
        """
        placing.put(path, source, work, merge=merge)

    def signal(self, name: str, *, all_of_it: bool) -> None:
        """Signal the command, or all that runs in the room, if the machine's process table does not show it."""

    def writes_in(self, folder: Path) -> bool:
        """Whether a process that is not shown may have a file of ``folder`` open for writing."""
        return False

    def settle(self, folders: Sequence[Path]) -> None:
        """See that the agent may read and remove what commands have written there."""

    def close(self) -> None:
        """End the room."""


class Walled(Room):
    """A room with other files than the machine's; what is common to all such rooms."""

    def put(self, path: str, source: Path, work: Path, *, merge: bool) -> None:
        """As :func:`placing.put`, by the image's own shell."""
        about = [str(source), path, str(work), "merge" if merge else "link"]
        command, env = self.command(["sh", "-c", PLACE, "sh", *about], self.env)
        done = subprocess.run(command, env=dict(env), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise Unplaced(f"file_mounts.{path}: {done.stderr.strip()[-500:]}")


class Unpacked(Walled):
    """An image unpacked into a folder: processes of it are the machine's own, with another root."""

    def __init__(self, place: Place, program: str, env: Mapping[str, str], python: str) -> None:
        self._place, self._program, self._python = place, os.path.realpath(program), python
        self._root = place.folder / "root"
        self.env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **env}
        self.shell = "bash" if any((self._root / p).exists() for p in ("bin/bash", "usr/bin/bash")) else "sh"

    def command(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], Mapping[str, str]]:
        """The agent again, which goes into the folder and becomes the command."""
        about = {
            "root": str(self._root),
            "shown": [str(self._place.folder), self._program],
            "folder": str(self._place.work),
            "command": list(command),
        }
        return [self._python, "-S", self._program, "enter", json.dumps(about)], env


class Engine(Walled):
    """A container of Docker's or Podman's, in which commands are run one after the other.

    It has the machine's network and, as root, the machine's folder of the attempt. Values of variables go by the
    client's environment: they stand on no command line.
    """

    def __init__(self, engine: str, place: Place, program: str, job: Job, options: Sequence[str]) -> None:
        self._engine, self._place = engine, place
        name = f"skyloom-{hashlib.sha256(job.job_id.encode()).hexdigest()[:12]}-{job.attempt}-{job.rank}"
        self._name, self._options = name, options
        self.shows, self.pids = False, []
        self._shown = (str(place.folder), os.path.realpath(program))
        self.env = {}
        self.ends_with = (engine, "rm", "--force", name)

    def begin(self, image: str) -> None:
        """Start the container. Asked again, it starts anew.

        Raises:
            NoRoom: if that cannot be done.
        """
        subprocess.run(self.ends_with, capture_output=True)
        volumes = [f"--volume={path}:{path}" for path in self._shown]
        idle = "trap exit TERM; while :; do sleep 86400 & wait $!; done"
        command = [
            self._engine, "run", "--detach", f"--name={self._name}", "--user=0", "--network=host", "--ipc=host",
            *self._options, *volumes, "--entrypoint=sh", image, "-c", idle,
        ]  # fmt: skip
        self._ask(command)
        asked = 'echo "$HOME"; echo "$PYTHONPATH"; command -v bash || echo sh'
        home, python_path, shell = self._ask([self._engine, "exec", self._name, "sh", "-c", asked]).splitlines()[:3]
        self.env = {"HOME": home, "PYTHONPATH": python_path}
        self.shell = os.path.basename(shell)

    def _ask(self, command: Sequence[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise NoRoom(f"{os.path.basename(self._engine)}: {done.stderr.strip()[-500:]}")
        return done.stdout

    @property
    def _owner(self) -> str:
        return f"{os.getuid()}:{os.getgid()}"

    @property
    def _pid_file(self) -> str:
        return str(self._place.folder / "command.pid")

    def command(self, command: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], Mapping[str, str]]:
        """The engine's client, which waits for the command's end and has its exit code."""
        names = [option for name in env for option in ("--env", name)]
        inner = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', self._pid_file, *command]
        where = [self._engine, "exec", *names, f"--workdir={self._place.work}", self._name]
        return [*where, *inner], {**os.environ, **env}

    def signal(self, name: str, *, all_of_it: bool) -> None:
        """By a shell in the container: what runs there may be another user's."""
        whom = "-1" if all_of_it else f'$(cat "{self._pid_file}")'
        group = f"kill -{name} -{whom} 2> /dev/null || " if not all_of_it else ""
        self._tell(f"{group}kill -{name} {whom}")

    def writes_in(self, folder: Path) -> bool:
        """By a look into the container's own process table; what root has written is made the agent's before."""
        look = """
        chown -R "$1" "$0"
        for fd in /proc/[0-9]*/fd/*; do
          file=$(readlink "$fd") || continue
          case $file in *.tmp) continue;; "$0"/*) ;; *) continue;; esac
          grep -q '^flags:.*[1235679]$' "${fd%/fd/*}/fdinfo/${fd##*/}" && exit 3
        done
        exit 0
        """
        return self._tell(look, str(folder), self._owner) != 0

    def settle(self, folders: Sequence[Path]) -> None:
        """Give what root has written to the agent's user; where that is root, nothing changes."""
        there = [str(folder) for folder in folders if folder.exists()]
        if there:
            self._tell('chown -R "$0" "$@"', self._owner, *there)

    def close(self) -> None:
        """Remove the container with all that runs in it."""
        subprocess.run(self.ends_with, capture_output=True)

    def _tell(self, script: str, *arguments: str) -> int:
        command = [self._engine, "exec", self._name, "sh", "-c", script, *arguments]
        null = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)
        self.pids = [*self.pids, process.pid]
        code = process.wait()
        self.pids = [pid for pid in self.pids if pid != process.pid]
        return code


def images() -> Path:
    """Where pulled images lie, for all jobs of a machine."""
    return root() / "images"


def free(place: Place) -> None:
    """Remove an unpacked image."""
    shutil.rmtree(place.folder / "root", ignore_errors=True)
