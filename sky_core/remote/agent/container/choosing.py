"""Which way of running a container there is on this machine.

Docker or Podman where they work for the user as they are, or, on a machine that is there for this job only, with one
word of root's. Else the image is unpacked: that needs nothing installed, but a kernel that lets the user have
namespaces and no GPU, whose driver's libraries only an engine brings in. Else Docker is installed.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ..job import Job, Place
from .reference import Reference
from .registry import NoImage, Registry
from .room import Engine, NoRoom, Room, Say, Unpacked, images

LOOK_S = 60.0
INSTALL_S = 900.0
SOCKET = "/var/run/docker.sock"
LOGIN = ("SKYPILOT_DOCKER_USERNAME", "SKYPILOT_DOCKER_PASSWORD", "SKYPILOT_DOCKER_SERVER")  # as SkyPilot calls them
INSTALL = """
if command -v apt-get; then apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y docker.io
elif command -v dnf; then dnf install -y docker || dnf install -y podman
else exit 1; fi
"""


def choose(job: Job, container: str, place: Place, program: str, say: Say) -> Room:
    """The room that a job's commands run in, made of that image and ready for them.

    Raises:
        NoRoom: if its image cannot be had or run here; the message has the cure.
    """
    variables = {**job.envs, **job.secrets}
    user, password, server = (variables.get(name, "") for name in LOGIN)
    login = (user, password) if user and password else None
    try:
        reference = Reference.parse(container, server)
        engine = _engine(job)
        if engine is None and not glob.glob("/dev/nvidia[0-9]*") and _may_unpack(program):
            return _unpacked(reference, login, place, program, say)
        if engine is None:
            engine = _installed(job, say)
        return _engaged(engine, reference, login, job, place, program, say)
    except (NoImage, ValueError) as error:
        raise NoRoom(f"image: {error}") from None


def _engine(job: Job) -> str | None:
    """Docker or Podman, if it answers."""
    for name, look in (("docker", ("version", "--format", "{{.Server.Version}}")), ("podman", ("info",))):
        path = shutil.which(name)
        if path is None:
            continue
        if _works([path, *look]) or (name == "docker" and job.halts and _lent(path, look)):
            return path
    return None


def _lent(docker: str, look: tuple[str, ...]) -> bool:
    """Docker, which answers to root, answers to us from now on."""
    if not os.path.exists(SOCKET) or not _works(["sudo", "-n", docker, *look]):
        return False
    return _works(["sudo", "-n", "chown", str(os.getuid()), SOCKET]) and _works([docker, *look])


def _works(command: list[str], timeout_s: float = LOOK_S) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _may_unpack(program: str) -> bool:
    """Whether the kernel lets us have another root; the only way is to try."""
    return _works([sys.executable, "-S", program, "alone"])


def _unpacked(reference: Reference, login: tuple[str, str] | None, place: Place, program: str, say: Say) -> Room:
    image = Registry(reference, login).pull(images() / "blobs", say)
    layers = [(str(file), kind) for file, kind in image.layers]
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            program,
            "unpack",
            str(place.folder / "root"),
            *(part for pair in layers for part in pair),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise NoRoom(f"{reference} cannot be unpacked: {done.stderr.strip()[-500:]}")
    _quiet_apt(place.folder / "root")
    return Unpacked(place, program, image.env, sys.executable)


def _quiet_apt(root: Path) -> None:
    """Let apt stay the user it is: in a namespace with one user it could not become another."""
    folder = root / "etc/apt/apt.conf.d"
    if folder.is_dir() and os.getuid() != 0:
        (folder / "99skyloom").write_text('APT::Sandbox::User "root";\n')


def _installed(job: Job, say: Say) -> str:
    if job.halts:
        say("installing Docker: this machine has none, and its kernel does not let an image be unpacked for us")
        if _works(["sudo", "-n", "sh", "-c", INSTALL], INSTALL_S) and (engine := _engine(job)) is not None:
            return engine
    raise NoRoom(
        "a container needs Docker or Podman on this machine, for this user; choose an image of a machine that has it"
        if job.halts
        else "a container needs Docker or Podman on this host; install it, and let the user of [clouds] use it"
    )


def _engaged(
    engine: str, reference: Reference, login: tuple[str, str] | None, job: Job, place: Place, program: str, say: Say
) -> Room:
    name = os.path.basename(engine)
    say(f"pulling {reference} by {name}")
    if login is not None:
        command = [engine, "login", "--username", login[0], "--password-stdin", reference.registry]
        done = subprocess.run(command, input=login[1], capture_output=True, text=True)
        if done.returncode != 0:
            raise NoRoom(f"{name} login {reference.registry}: {done.stderr.strip()[-500:]}")
    done = subprocess.run([engine, "pull", "--quiet", str(reference)], capture_output=True, text=True)
    if done.returncode != 0:
        raise NoRoom(f"{name} pull: {done.stderr.strip()[-500:]}")
    room = Engine(engine, place, program, job, devices(name, job.gpus_per_node, glob.glob("/dev/*")))
    room.begin(str(reference))
    return room


def devices(engine: str, gpus: int, found: list[str]) -> list[str]:
    """An engine's options for the accelerators of a machine; ``found`` are its devices.

    https://docs.docker.com/engine/containers/resource_constraints/#gpu and, for Podman, CDI:
    https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/cdi-support.html
    """
    if "/dev/nvidiactl" in found:
        return ["--gpus=all"] if engine == "docker" else ["--device=nvidia.com/gpu=all"]
    if "/dev/kfd" in found:  # AMD
        return ["--device=/dev/kfd", "--device=/dev/dri", "--security-opt=seccomp=unconfined"]
    if neurons := sorted(path for path in found if path.startswith("/dev/neuron")):
        return [f"--device={path}" for path in neurons]
    if gpus and any(path.startswith(("/dev/accel", "/dev/vfio")) for path in found):  # TPU
        return ["--privileged"]
    return []
