"""A machine dies at random moments of its job; the next one goes on. What comes out is held against an undisturbed run.

    python benchmarks/machines/deaths.py                 # 50 deaths
    python benchmarks/machines/deaths.py --deaths 10 --seed 4

The job trains (a chain of hashes), keeps checkpoints, writes into a mounted bucket and publishes an output. Agent,
command and what moves the data run in a pid namespace, which is killed as a machine's power is cut, at moments that
are spread over all of the run: while it restores, trains, saves, publishes and writes back. The disk is lost
with it; only the object store remains. The exit code is 1 if a checkpoint was resumed that no undisturbed run would
have had, an artifact could be read that is not whole, or what came out differs in a byte.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machines.transfers import options, served
from sky_core.remote.agent.data import stores
from sky_core.remote.artifacts import fetch, read_object, resolve
from sky_core.remote.bundle import agent

STEPS, STEP_S = 60, 0.03
INTERVAL_S = 0.3
MODEL_BYTES = 2_000_000
STARTING = "starting"
LONGEST_S = 900.0  # of an attempt that nobody disturbs
TRAIN = f"""
import hashlib, os, time
kept, out = os.environ["SKY_CHECKPOINT_DIR"], os.environ["SKY_OUTPUT_MODEL"]

def weights(state):
    return (hashlib.sha512(state.encode()).digest() * ({MODEL_BYTES} // 64))

def replace(path, content):
    with open(path + ".tmp", "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".tmp", path)

step, state = 0, "begin"
if os.path.exists(kept + "/model"):
    content = open(kept + "/model", "rb").read()
    step, state = content[:200].split(b"\\n")[:2]
    step, state = int(step), state.decode()
    if content.partition(b"\\n\\n")[2] != weights(state):
        print("TORN", flush=True)
print("resumed", step, state, flush=True)
chain = ["begin"]
for number in range(1, {STEPS} + 1):
    chain.append(hashlib.sha256((chain[-1] + str(number)).encode()).hexdigest())
for number in range(1, step + 1):  # a machine that dies takes along what was not yet written back
    if not os.path.exists(f"mounted/step-{{number}}"):
        replace(f"mounted/step-{{number}}", chain[number].encode() * 500)
while step < {STEPS}:
    time.sleep({STEP_S})
    step += 1
    state = hashlib.sha256((state + str(step)).encode()).hexdigest()
    replace(kept + "/model", f"{{step}}\\n{{state}}\\n\\n".encode() + weights(state))
    replace(f"mounted/step-{{step}}", state.encode() * 500)
    print("step", step, time.time(), flush=True)
os.makedirs(out, exist_ok=True)
for number in range(8):
    open(f"{{out}}/{{number}}", "wb").write(weights(state + str(number)))
"""


@dataclass
class Seen:
    """What came of all deaths together.

    Attributes:
        quiet_s: Seconds that the undisturbed run took.
        lost_s: For each attempt after a death, how long before it the step was reached that it went on from.
        moments: Deaths in each phase.
    """

    quiet_s: float = 0.0
    deaths: int = 0
    jobs: int = 0
    lost_s: list[float] = field(default_factory=list)
    moments: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    """Kill, go on, compare; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="Deaths of machines.")
    parser.add_argument("--deaths", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance, seen = random.Random(asked.seed), Seen()
    with tempfile.TemporaryDirectory(prefix="skyloom-deaths-") as name, served(Path(name) / "objects") as (url, _):
        folder = Path(name)
        lent = options(url)
        stores.make_bucket("s3://data", lent)
        (folder / "agent.pyz").write_bytes(agent()[1])
        assert attempt(folder, "quiet", 1, lent, None, seen), "an undisturbed run does not end"
        whole_s = seen.quiet_s
        right = outcome(folder / "right", "quiet", lent)
        while seen.deaths < asked.deaths:
            seen.jobs += 1
            job = f"job-{seen.jobs}"
            number = 1
            while not attempt(folder, job, number, lent, chance.uniform(0, whole_s), seen):
                number += 1
                if seen.deaths >= asked.deaths:
                    assert attempt(folder, job, number, lent, None, seen), "the last attempt does not end"
                    break
            if outcome(folder / job, job, lent) != right:
                seen.wrong.append(f"{job}: its output or its bucket differs from those of the undisturbed run")
    print(f"{seen.deaths} deaths of {seen.jobs} jobs: {', '.join(f'{n} {m}' for m, n in sorted(seen.moments.items()))}")
    print(f"lost at most {max(seen.lost_s, default=0):.2f} s of work; a checkpoint was due every {INTERVAL_S} s")
    print(*(seen.wrong or ["nothing wrong"]), sep="\n")
    sys.exit(1 if seen.wrong else 0)


def attempt(
    folder: Path, job: str, number: int, lent: Mapping[str, Mapping[str, object]], dies_s: float | None, seen: Seen
) -> bool:
    """One attempt on a machine of its own, which dies ``dies_s`` seconds after its agent has begun.

    Returns:
        Whether the job is over.
    """
    home = folder / f"{job}-{number}"
    home.mkdir()
    before = [f"s3://data/{job}/checkpoint-{earlier}" for earlier in range(1, number)]
    description = {
        "job_id": job,
        "attempt": number,
        "cloud": "aws",
        "halts": False,
        "run": f"exec {sys.executable} -c '{TRAIN}'",
        "outputs": {"model": f"s3://data/{job}/model"},
        "mounts": [{"path": "mounted", "url": f"s3://data/{job}/mount", "file": None, "write_back": True}],
        "checkpoint_url": f"s3://data/{job}/checkpoint-{number}",
        "restore_urls": before,
        "checkpoint_interval_s": INTERVAL_S,
        "storage_options": lent,
        "verdict_url": f"s3://data/{job}/verdict",
    }
    with machine(home, folder / "agent.pyz", description) as power:
        state = home / f".skyloom/jobs/{job}/{number}/state.json"
        while phase(state) == STARTING:
            time.sleep(0.01)
        began = time.monotonic()
        ended = False
        while not ended and time.monotonic() - began < (LONGEST_S if dies_s is None else dies_s):
            time.sleep(0.01)
            ended = phase(state) == "done"
        cut(power)
        seen.quiet_s = seen.quiet_s or time.monotonic() - began
    judge(home, job, number, lent, seen)
    over = read_object(f"s3://data/{job}/verdict", lent) is not None
    if not ended:
        seen.deaths += 1
        seen.moments[phase(state)] = seen.moments.get(phase(state), 0) + 1
    shutil.rmtree(home)
    return over


@contextlib.contextmanager
def machine(home: Path, program: Path, description: Mapping[str, object]) -> Iterator[subprocess.Popen[bytes]]:
    """A pid namespace in which an agent has been told to start a job; all of it ends with the process."""
    own = ["--user", "--map-root-user"] if os.geteuid() else []
    (home / "job.json").write_text(json.dumps(description))
    inside = f"{sys.executable} {program} start < {home}/job.json; exec sleep 1000"
    power = subprocess.Popen(
        ["unshare", *own, "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "sh", "-c", inside],
        env={**os.environ, "HOME": str(home)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield power
    finally:
        cut(power)


def cut(power: subprocess.Popen[bytes]) -> None:
    """Kill the namespace's first process, with which all others go; returns when they have gone."""
    first = Path(f"/proc/{power.pid}/task/{power.pid}/children")
    with contextlib.suppress(OSError):  # gone already
        for child in first.read_text().split():
            os.kill(int(child), signal.SIGKILL)
    power.wait()


def phase(state: Path) -> str:
    try:
        return str(json.loads(state.read_text())["phase"])
    except (OSError, ValueError):
        return STARTING


def judge(home: Path, job: str, number: int, lent: Mapping[str, Mapping[str, object]], seen: Seen) -> None:
    """Hold what an attempt has said and left against what it should have."""
    log = home / f".skyloom/jobs/{job}/{number}/log"
    said = log.read_text() if log.exists() else ""
    chain = ["begin"]
    for step in range(1, STEPS + 1):
        chain.append(hashlib.sha256((chain[-1] + str(step)).encode()).hexdigest())
    resumed = re.search(r"^resumed (\d+) (\w+)$", said, re.MULTILINE)
    if "TORN" in said or (resumed and chain[int(resumed[1])] != resumed[2]):
        seen.wrong.append(f"{job}, attempt {number}: a corrupt checkpoint was resumed")
    if resumed and number > 1:
        lost(home.parent, job, int(resumed[1]), seen)
    steps = [line.split() for line in said.splitlines() if re.fullmatch(r"step \d+ [\d.]+", line)]
    told = home.parent / f"{job}.steps"
    with told.open("a") as file:
        file.writelines(f"{step} {at}\n" for _, step, at in steps)
    published = resolve(f"s3://data/{job}/model", lent)
    if published is not None and len(published.files) != 8:
        seen.wrong.append(f"{job}, attempt {number}: half an output can be read")


def lost(folder: Path, job: str, step: int, seen: Seen) -> None:
    """How long before the death the step was reached that the next attempt went on from."""
    lines = [line.split() for line in (folder / f"{job}.steps").read_text().splitlines()]
    reached = {int(one): float(at) for one, at in lines}
    if reached:
        seen.lost_s.append(reached[max(reached)] - reached.get(step, min(reached.values()) - STEP_S))


def outcome(folder: Path, job: str, lent: Mapping[str, Mapping[str, object]]) -> Mapping[str, str]:
    """The hash of each file that a job has published, or left in its mounted bucket."""
    found = {}
    for kind in ("model", "mount"):
        here = fetch(f"s3://data/{job}/{kind}", folder / kind, lent)
        for path in sorted(here.rglob("*")):
            found[f"{kind}/{path.relative_to(here)}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    shutil.rmtree(folder)
    return found


if __name__ == "__main__":
    main()
