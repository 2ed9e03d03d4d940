"""A folder as the root of a process's file system, without root's privileges where the kernel allows that.

The process stays the machine's own: it has the machine's network, devices and process numbers, so that whoever leads
it sees and signals it as any other. Only its files are others. See user_namespaces(7), mount_namespaces(7) and
pivot_root(2).
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping, Sequence

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # number of the system call, which libc has no function for
MACHINES_OWN = ("/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hosts")
DEEPEST = 40  # links after each other, as in path_resolution(7)

_libc = ctypes.CDLL(None, use_errno=True)


def alone() -> None:
    """Go where mounts and a new root are this process's own affair; as root of a user namespace if need be.

    Raises:
        OSError: if the kernel, or its policy for ordinary users, does not allow that.
    """
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(CLONE_NEWNS) != 0:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    _mount("none", "/", MS_REC | MS_PRIVATE)


def enter(root: str, shown: Sequence[str], folder: str, command: Sequence[str], env: Mapping[str, str]) -> None:
    """Become a command that has ``root`` as its root; ``shown`` are files and folders that it sees where they are.

    Raises:
        OSError: if that cannot be done.
    """
    alone()
    _mount(root, root, MS_BIND | MS_REC)
    for path in (*MACHINES_OWN, *shown):
        if os.path.exists(path):
            _mount(path, _point(root, path), MS_BIND | MS_REC)
    os.chdir(root)
    _call("syscall", PIVOT_ROOT[platform.machine()], b".", b".")  # the old root lies over the new one…
    _call("umount2", b".", MNT_DETACH)  # …and is let go
    os.chdir("/")
    os.chdir(folder)
    try:
        os.execvpe(command[0], list(command), dict(env))  # noqa: S606
    except FileNotFoundError:
        raise SystemExit(f"[skyloom] this image has no {command[0]}; choose one that has it") from None


def _point(root: str, path: str) -> str:
    """Where in ``root`` a path leads, with a file or folder there to mount on."""
    point = within(root, path)
    if os.path.isdir(path):
        os.makedirs(point, exist_ok=True)
    elif not os.path.exists(point):
        os.makedirs(os.path.dirname(point), exist_ok=True)
        with open(point, "w"):
            pass
    return point


def within(root: str, path: str) -> str:
    """The place that a path has below ``root``, links followed as a process does whose root that is.

    Raises:
        OSError: if links lead round in a circle.
    """
    left, here, links = [part for part in path.split("/") if part], root, 0
    while left:
        part = left.pop(0)
        if part == "..":
            here = os.path.dirname(here) if here != root else root
            continue
        found = os.path.join(here, part)
        if part == "." or not os.path.islink(found):
            here = here if part == "." else found
            continue
        links += 1
        if links > DEEPEST:
            raise OSError(f"{path}: too many links")
        target = os.readlink(found)
        left = [part for part in target.split("/") if part] + left
        here = root if target.startswith("/") else here
    return here


def _mount(source: str, target: str, flags: int) -> None:
    _call("mount", os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
