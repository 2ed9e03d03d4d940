"""A machine dies at random moments of its job; the next one goes on. What comes out is held against an undisturbed run.

    python benchmarks/machines/deaths.py                 # 50 deaths
    python benchmarks/machines/deaths.py --deaths 10 --seed 4

The job trains (a chain of hashes), keeps checkpoints, writes into a mounted bucket and publishes an output. Agent,
command and what moves the data run in a pid namespace, which is killed as a machine's power is cut, at moments that
are spread over all of the run: while it restores, trains, saves, publishes and writes back. The disk is lost
with it; only the object store remains. Before every third death the cloud's metadata service announces it.

The exit code is 1 if a checkpoint was resumed that no undisturbed run would have had, an artifact could be read that
is not whole, what came out differs in a byte, a step was lost although the death was announced, or more of what the
job had kept than of one interval: from one look at it to the next, and until what was seen then is in the store. What
is on its way there when the power is cut is not saved yet, so that a death may cost an interval, an agent's tick and
one save, however short the interval is.
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
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machines.transfers import options, served
from sky_core.remote.agent.data import stores
from sky_core.remote.artifacts import fetch, read_object, resolve
from sky_core.remote.bundle import agent
from sky_sandbox.machines.metadata import Metadata
from sky_sandbox.server import reserve_port
from sky_sandbox.world import Machine

STEPS, STEP_S = 100, 0.03
KEPT_EVERY = 5  # steps, and when it is told to end
INTERVAL_S = 0.6
TICK_S = 0.25  # how often an agent looks whether a checkpoint is due
MODEL_BYTES = 2_000_000
NOTICE_S = 30.0  # Google's
STARTING = "starting"
LONGEST_S = 900.0  # of an attempt that nobody disturbs
TRAIN = f"""
import hashlib, os, signal, time
kept, out = os.environ["SKY_CHECKPOINT_DIR"], os.environ["SKY_OUTPUT_MODEL"]
told = []
signal.signal(signal.SIGTERM, lambda *about: told.append(about))

def weights(state):
    return (hashlib.sha512(state.encode()).digest() * ({MODEL_BYTES} // 64))

def replace(path, content):
    with open(path + ".tmp", "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".tmp", path)

def keep():
    replace(kept + "/model", f"{{step}}\\n{{state}}\\n\\n".encode() + weights(state))
    print("kept", step, time.time(), flush=True)

step, state = 0, "begin"
if os.path.exists(kept + "/model"):
    content = open(kept + "/model", "rb").read()
    step, state = content[:200].split(b"\\n")[:2]
    step, state = int(step), state.decode()
    if content.partition(b"\\n\\n")[2] != weights(state):
        print("TORN", flush=True)
print("resumed", step, state, time.time(), flush=True)
chain = ["begin"]
for number in range(1, {STEPS} + 1):
    chain.append(hashlib.sha256((chain[-1] + str(number)).encode()).hexdigest())
for number in range(1, step + 1):  # a machine that dies takes along what was not yet written back
    if not os.path.exists(f"mounted/step-{{number}}"):
        replace(f"mounted/step-{{number}}", chain[number].encode() * 500)
while step < {STEPS} and not told:
    time.sleep({STEP_S})
    step += 1
    state = hashlib.sha256((state + str(step)).encode()).hexdigest()
    replace(f"mounted/step-{{step}}", state.encode() * 500)
    print("step", step, flush=True)
    if step % {KEPT_EVERY} == 0:
        keep()
if told:
    keep()
    raise SystemExit(1)
os.makedirs(out, exist_ok=True)
for number in range(8):
    open(f"{{out}}/{{number}}", "wb").write(weights(state + str(number)))
"""


@dataclass
class Before:
    """What an attempt has printed: when it had kept which step, what it went on from included; its last step."""

    kept: Mapping[int, float]
    last: int
    noticed: bool


@dataclass
class Seen:
    """What came of all deaths together.

    Attributes:
        quiet_s: Seconds that the undisturbed run took.
        lost_s: For each attempt after a sudden death, how much older what it went on from was than what was kept last.
        lost_steps: For each attempt after a death that was announced, how many steps it takes again.
        saving_s: The longest that a checkpoint took.
        moments: Deaths in each phase.
    """

    quiet_s: float = 0.0
    deaths: int = 0
    jobs: int = 0
    lost_s: list[float] = field(default_factory=list)
    lost_steps: list[int] = field(default_factory=list)
    saving_s: float = 0.0
    moments: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    before: dict[str, Before] = field(default_factory=dict)

    @property
    def limit_s(self) -> float:
        """What a sudden death may cost: what is kept right after a look is seen an interval later, and stored then."""
        return INTERVAL_S + TICK_S + self.saving_s


def main() -> None:
    """Kill, go on, compare; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="Deaths of machines.")
    parser.add_argument("--deaths", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance, seen = random.Random(asked.seed), Seen()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skyloom-deaths-")))
        url, _ = stack.enter_context(served(folder / "objects"))
        with reserve_port() as port:
            ground = Ground(folder, options(url), Word(port.getsockname()[1]))
        stores.make_bucket("s3://data", ground.lent)
        ground.program.write_bytes(agent()[1])
        assert attempt(ground, "quiet", 1, None, seen), "an undisturbed run does not end"
        right = outcome(folder / "right", "quiet", ground.lent)
        while seen.deaths < asked.deaths:
            seen.jobs += 1
            job = f"job-{seen.jobs}"
            number = 1
            while not attempt(ground, job, number, chance.uniform(0, seen.quiet_s), seen):
                number += 1
                if seen.deaths >= asked.deaths:
                    assert attempt(ground, job, number, None, seen), "the last attempt does not end"
                    break
            if outcome(folder / job, job, ground.lent) != right:
                seen.wrong.append(f"{job}: its output or its bucket differs from those of the undisturbed run")
    sys.exit(told(seen))


def told(seen: Seen) -> int:
    """Print what was seen; 1 if anything is wrong."""
    lost_s, lost_steps = max(seen.lost_s, default=0.0), max(seen.lost_steps, default=0)
    print(f"{seen.deaths} deaths of {seen.jobs} jobs: {', '.join(f'{n} {m}' for m, n in sorted(seen.moments.items()))}")
    print(f"lost after {len(seen.lost_s)} sudden deaths: at most {lost_s:.2f} s of what was kept; allowed are "
          f"{seen.limit_s:.2f} s: an interval of {INTERVAL_S} s, a tick of {TICK_S} s and the longest save, "
          f"{seen.saving_s:.2f} s")  # fmt: skip
    print(f"lost after {len(seen.lost_steps)} announced deaths: at most {lost_steps} steps")
    if lost_s > seen.limit_s:
        seen.wrong.append(f"{lost_s:.2f} s were lost, more than one interval ({seen.limit_s:.2f} s)")
    if lost_steps:
        seen.wrong.append("steps were lost although the death was announced")
    print(*(seen.wrong or ["nothing wrong"]), sep="\n")
    return 1 if seen.wrong else 0


@dataclass(frozen=True)
class Ground:
    """Where attempts take place: a folder, how stores are opened, and who announces the end of machines."""

    folder: Path
    lent: Mapping[str, Mapping[str, object]]
    word: Word

    @property
    def program(self) -> Path:
        """The agent."""
        return self.folder / "agent.pyz"


class Word:
    """Google's metadata service of the one machine that there is at a time."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._service, self._machine = Metadata(port), Machine(
            "machine", "gcp", "us-central1", "us-central1-a", "n2-standard-2", "spot", 2, {}, "127.0.0.1", "", 0.0
        )  # fmt: skip

    @contextlib.contextmanager
    def of_a_machine(self) -> Iterator[None]:
        """While there is a machine, of which nothing was said yet."""
        self._service.add(self._machine)
        try:
            yield
        finally:
            self._service.remove(self._machine)

    def announce(self) -> None:
        self._service.announce(self._machine, NOTICE_S)


def attempt(ground: Ground, job: str, number: int, dies_s: float | None, seen: Seen) -> bool:
    """One attempt on a machine of its own, which dies ``dies_s`` seconds after its agent has begun.

    Every third death is announced: the machine goes once all is said, or the notice is over.

    Returns:
        Whether the job is over.
    """
    home = ground.folder / f"{job}-{number}"
    home.mkdir()
    noticed = dies_s is not None and seen.deaths % 3 == 2
    state = home / f".skyloom/jobs/{job}/{number}/state.json"
    with ground.word.of_a_machine(), machine(home, ground, description(ground, job, number)) as power:
        while phase(state) == STARTING:
            time.sleep(0.01)
        began = time.monotonic()
        ended = until_done(state, LONGEST_S if dies_s is None else dies_s)
        at = phase(state)
        if noticed and not ended:
            ground.word.announce()
            until_done(state, NOTICE_S)
            ended = read(state).get("detail") != "eviction"
        cut(power)
        seen.quiet_s = seen.quiet_s or time.monotonic() - began
    seen.saving_s = max(seen.saving_s, float(read(state).get("checkpoint_seconds") or 0))
    judge(home, job, number, ground.lent, seen, noticed=noticed)
    over = read_object(f"s3://data/{job}/verdict", ground.lent) is not None
    if not ended:
        seen.deaths += 1
        seen.moments[at] += 1
    shutil.rmtree(home)
    return over


def description(ground: Ground, job: str, number: int) -> Mapping[str, object]:
    """The attempt, as its agent is told of it."""
    return {
        "job_id": job,
        "attempt": number,
        "cloud": "gcp",
        "halts": False,
        "run": f"exec {sys.executable} -c '{TRAIN}'",
        "outputs": {"model": f"s3://data/{job}/model"},
        "mounts": [{"path": "mounted", "url": f"s3://data/{job}/mount", "file": None, "write_back": True}],
        "checkpoint_url": f"s3://data/{job}/checkpoint-{number}",
        "restore_urls": [f"s3://data/{job}/checkpoint-{earlier}" for earlier in range(1, number)],
        "checkpoint_interval_s": INTERVAL_S,
        "storage_options": ground.lent,
        "verdict_url": f"s3://data/{job}/verdict",
    }


def until_done(state: Path, seconds: float) -> bool:
    """Wait until the agent says that it is done, at most so long; whether it has."""
    end = time.monotonic() + seconds
    while phase(state) != "done" and time.monotonic() < end:
        time.sleep(0.01)
    return phase(state) == "done"


@contextlib.contextmanager
def machine(home: Path, ground: Ground, about: Mapping[str, object]) -> Iterator[subprocess.Popen[bytes]]:
    """A pid namespace in which an agent has been told to start a job; all of it ends with the process."""
    own = ["--user", "--map-root-user"] if os.geteuid() else []
    (home / "job.json").write_text(json.dumps(about))
    inside = f"{sys.executable} {ground.program} start < {home}/job.json; exec sleep 1000"
    power = subprocess.Popen(
        ["unshare", *own, "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "sh", "-c", inside],
        env={**os.environ, "HOME": str(home), "GCE_METADATA_HOST": ground.word.address}, stdout=subprocess.DEVNULL,
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


def read(state: Path) -> Mapping[str, object]:
    try:
        return dict(json.loads(state.read_text()))
    except (OSError, ValueError):
        return {}


def phase(state: Path) -> str:
    return str(read(state).get("phase", STARTING))


def judge(
    home: Path, job: str, number: int, lent: Mapping[str, Mapping[str, object]], seen: Seen, *, noticed: bool
) -> None:
    """Hold what an attempt has said and left against what it should have."""
    log = home / f".skyloom/jobs/{job}/{number}/log"
    said = log.read_text() if log.exists() else ""
    chain = ["begin"]
    for step in range(1, STEPS + 1):
        chain.append(hashlib.sha256((chain[-1] + str(step)).encode()).hexdigest())
    if resumed := re.search(r"^resumed (\d+) (\w+) ([\d.]+)$", said, re.MULTILINE):
        begin = int(resumed[1])
        if "TORN" in said or chain[begin] != resumed[2]:
            seen.wrong.append(f"{job}, attempt {number}: a corrupt checkpoint was resumed")
        if job in seen.before:
            went_on(f"{job}, attempt {number}", begin, seen.before[job], seen)
        kept = {int(step): float(at) for step, at in re.findall(r"^kept (\d+) ([\d.]+)$", said, re.MULTILINE)}
        last = max([begin, *(int(step) for step in re.findall(r"^step (\d+)$", said, re.MULTILINE))])
        seen.before[job] = Before({begin: float(resumed[3]), **kept}, last, noticed)
    published = resolve(f"s3://data/{job}/model", lent)
    if published is not None and len(published.files) != 8:
        seen.wrong.append(f"{job}, attempt {number}: half an output can be read")


def went_on(who: str, begin: int, before: Before, seen: Seen) -> None:
    """What was lost between two attempts of a job that both came to train."""
    if begin > before.last:
        seen.wrong.append(f"{who} went on from a step that was never reached")
    elif begin < min(before.kept):
        seen.wrong.append(f"{who} went on from an older state than the attempt before")
    elif before.noticed:
        seen.lost_steps.append(before.last - begin)
    elif begin in before.kept:
        seen.lost_s.append(before.kept[max(before.kept)] - before.kept[begin])
    else:  # kept, and gone before that was said
        seen.lost_s.append(0.0)


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
