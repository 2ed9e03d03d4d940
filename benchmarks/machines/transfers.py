"""What moves a job's data, measured beside rclone: from S3 to Google's store to Azure's, in the sandbox, in one run.

    python benchmarks/machines/transfers.py                          # 10,000 small files and one of 2 GB
    python benchmarks/machines/transfers.py --files 500 --large 200

Both bring the data to a disk and from there on, as a machine does between its inputs and its outputs; rclone does so
with as many transfers at a time, and once more without the disk, from store to store. The agent hashes every byte twice
meanwhile, for the manifest and against it. All of them wait for the same emulated store on the same cores: the
ratio means something, the seconds do not. `make setup` brings rclone. The exit code is 1 if less than 0.8 of rclone's
speed is reached, a process takes more than 200 MB, or more is sent twice than the pieces that were under way.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from lab.outside import RCLONE, REMOTES
from sky_core.remote.agent.data import stores
from sky_core.remote.agent.data.pieces import PIECE
from sky_core.remote.agent.data.stores.moving import PARALLEL
from sky_core.remote.bundle import agent
from sky_sandbox.server import reserve_port

WAY = ("s3", "gs", "abfs")
MB = 1_000_000
SMALL_BYTES = 2000  # on average


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock and of the processor, and the most memory of a process (MB)."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    """Measure and print; exit code 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description="The agent's transfers beside rclone's.")
    parser.add_argument("--files", type=int, default=10_000, help="small files")
    parser.add_argument("--large", type=int, default=2000, help="MB of the large file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="skyloom-transfers-") as name, served(Path(name) / "objects") as (url, got):
        folder = Path(name)
        (folder / "rclone.conf").write_text(REMOTES.format(url=url))
        program = folder / "agent.pyz"
        program.write_bytes(agent()[1])
        for kind in WAY:
            stores.make_bucket(f"{kind}://data", options(url))
        kept = []
        for what, files, large in (("small files", asked.files, 0), ("large file", 0, asked.large)):
            fill(folder / "source", files, large * MB)
            kept += compared(folder, program, url, f"{max(files, 1):,} {what}", what.split()[0])
            kept.append(resumed(folder, program, url, got, what))
            shutil.rmtree(folder / "source")
    sys.exit(0 if all(kept) else 1)


def compared(folder: Path, program: Path, url: str, title: str, name: str) -> list[bool]:
    """Both ways through the stores, in turn; whether what is promised of them is kept."""
    rclone(folder, "copy", folder / "source", f"s3:data/{name}")
    ours = theirs = direct = Cost(0, 0, 0)
    for source, target in itertools.pairwise(WAY):
        ours = total(ours, moved(folder, program, url, f"{source}://data/{name}", f"{target}://data/{name}"))
        shutil.rmtree(folder / "in")
        theirs = total(theirs, rclone(folder, "copy", f"{source}:data/{name}", folder / "in"))
        theirs = total(theirs, rclone(folder, "copy", folder / "in", f"{target}:data/{name}-rclone"))
        shutil.rmtree(folder / "in")
        direct = total(direct, rclone(folder, "copy", f"{source}:data/{name}", f"{target}:data/{name}-direct"))
    for who, cost in (("skyloom", ours), ("rclone", theirs), ("rclone, no disk", direct)):
        row = f"{title:20} {who:16} {cost.wall_s:8.1f} s  {cost.cpu_s:8.1f} CPU s  {cost.peak_mb:6.0f} MB"
        print(row, f" {cost.wall_s / ours.wall_s:5.2f}x", flush=True)
    return [theirs.wall_s / ours.wall_s >= 0.8, ours.peak_mb <= 200]


def moved(folder: Path, program: Path, url: str, source: str, target: str) -> Cost:
    """What it takes the agent to bring an input to its machine and to publish it as an output."""
    asked = [
        {"do": "fetch", "url": source, "folder": str(folder / "in")},
        {"do": "publish", "source": str(folder / "in"), "url": target, "version": "v"},
    ]
    process = transfer(program, url, asked)
    return waited(process, time.monotonic())


def transfer(program: Path, url: str, asked: list[dict[str, str]]) -> subprocess.Popen[str]:
    """The agent's process that moves data, with its orders."""
    process = subprocess.Popen(
        [sys.executable, str(program), "transfer"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write("\n".join(json.dumps(one) for one in (options(url), *asked)) + "\n")
    process.stdin.close()
    return process


def rclone(folder: Path, *arguments: str | Path) -> Cost:
    """What rclone takes for it."""
    limits = ("--transfers", str(PARALLEL), "--checkers", str(PARALLEL), "--config", folder / "rclone.conf")
    began = time.monotonic()
    return waited(subprocess.Popen([RCLONE, *limits, *arguments], text=True, stdout=subprocess.PIPE), began)


def waited(process: subprocess.Popen[str], began: float) -> Cost:
    """What a process has taken, once it has ended well."""
    assert process.stdout is not None
    said: list[str] = []
    reader = threading.Thread(target=lambda out: said.append(out.read()), args=(process.stdout,))
    reader.start()
    peak_mb = 0.0
    while reader.is_alive():
        peak_mb = peak(process.pid) or peak_mb
        reader.join(0.02)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    assert '"error"' not in said[0], said
    return Cost(time.monotonic() - began, used.ru_utime + used.ru_stime, peak_mb)


def peak(pid: int) -> float:
    """The most memory (MB) that a process has had since it began its program; 0 once it has ended.

    Of ``getrusage`` that would be no less than this process had when it forked.
    """
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def total(one: Cost, other: Cost) -> Cost:
    return Cost(one.wall_s + other.wall_s, one.cpu_s + other.cpu_s, max(one.peak_mb, other.peak_mb))


def resumed(folder: Path, program: Path, url: str, got: Synchronized[int], what: str) -> bool:
    """How much is sent twice when the process that publishes is killed in the middle; whether that is little."""
    size = sum(path.stat().st_size for path in (folder / "source").iterdir())
    asked = [{"do": "publish", "source": str(folder / "source"), "url": f"gs://data/cut {what}", "version": "v"}]
    before = got.value
    process = transfer(program, url, asked)
    while got.value - before < size / 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    waited(transfer(program, url, asked), time.monotonic())
    twice = max(0, got.value - before - size)
    print(f"{what:20} cut off in the middle: {twice / MB:.1f} of {size / MB:.1f} MB sent twice", flush=True)
    manifest = 200 * len(list((folder / "source").iterdir())) + 10_000
    return twice <= PARALLEL * PIECE + manifest


def options(url: str) -> Mapping[str, Mapping[str, Any]]:
    """What the stores are opened by."""
    azure = f"DefaultEndpointsProtocol=http;AccountName=sky;AccountKey=c2t5;BlobEndpoint={url}/sky;"
    return {
        "s3": {"key": "k", "secret": "s", "endpoint_url": url},
        "gs": {"access_token": "x", "endpoint_url": url, "project": "p"},
        "abfs": {"connection_string": azure},
    }


def fill(folder: Path, files: int, large: int) -> None:
    """Small files of random sizes, or a large one."""
    folder.mkdir()
    chance = random.Random(1)
    for number in range(files):
        (folder / f"{number}").write_bytes(chance.randbytes(chance.randrange(2 * SMALL_BYTES)))
    if large:
        with (folder / "large").open("wb") as file:
            for _ in range(large // MB):
                file.write(chance.randbytes(MB))


@contextlib.contextmanager
def served(root: Path) -> Iterator[tuple[str, Synchronized[int]]]:
    """The URL of an object store in a process of its own, and how many bytes it has been sent."""
    spawn = multiprocessing.get_context("spawn")
    got: Synchronized[int] = spawn.Value("q", 0)
    with reserve_port() as port:
        address = port.getsockname()[1]
    process = spawn.Process(target=serve, args=(root, address, got), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{address}"
    while not answers(address):
        time.sleep(0.05)
    try:
        yield url, got
    finally:
        process.terminate()
        process.join()


def answers(port: int) -> bool:
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


def serve(root: Path, port: int, got: Synchronized[int]) -> None:
    """Serve the sandbox's object store, and count."""
    import uvicorn
    from starlette.types import Message, Receive, Scope, Send

    from sky_sandbox.storage import app

    store = app(root)

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        async def received() -> Message:
            message = await receive()
            got.value += len(message.get("body", b""))
            return message

        await store(scope, received, send)

    uvicorn.run(counting, host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
