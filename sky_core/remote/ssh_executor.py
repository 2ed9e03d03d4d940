"""Jobs on machines, over SSH: our agent is brought there, started, asked and told. Nothing is kept here but open
connections.
"""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote

from sky_core.config import PythonSource, Settings
from sky_core.errors import LinkLost, MachineError, PartlySilent
from sky_core.remote import bundle, keys
from sky_core.remote.answers import JobState, poll_answer
from sky_core.remote.executor import LONG_LOOK_S, Executor, JobRequest
from sky_core.remote.gangs.logins import logins
from sky_core.remote.gangs.together import first_to_fail, together
from sky_core.remote.pythons.bring import Wanted, bring
from sky_core.remote.workdir import Apart, Archive
from sky_core.ssh.link import Link
from sky_core.ssh.machine import Machine

Answer = TypeVar("Answer")

HOME = ".skyloom"  # on the machine; see agent/job.py
POLL_TIMEOUT_S = 180.0  # for all of an answer; its log may come slowly
START_TIMEOUT_S = 60.0  # asked again, one that has begun says so
RENEW_S = 30.0
KEEP_TIMEOUT_S = 90.0
CANCEL_MARGIN_S = 30.0
MOVE_MARGIN_S = 630.0  # the last checkpoint included
CANCELLED = "cancelled"
GANG_GRACE_S = 10.0  # for ranks to end by themselves when another has failed, or needs them no more
UNFIT = b"unfit "  # what an agent answers, or the shell for it, where no Python serves

# A look at an attempt whose supervisor lives, by the shell alone: a driver looks every few seconds at a machine that
# computes for somebody else, and the start of a Python costs five times as much. Tells what the agent's ``poll`` tells,
# and renews the lease as that does; where it does not end the script, the agent is asked.
LOOK = """\
if cd {folder} 2>/dev/null && test -e supervisor &&
read -r boot pid started <supervisor && IFS= read -r state <state.json &&
read -r now </proc/sys/kernel/random/boot_id && test "$boot" = "$now" && read -r about 2>/dev/null <"/proc/$pid/stat"
then
set -f; set -- ${{about##*)}}
case $1 in Z|X) ;; *)
if test "${{20}}" = "$started"
then
true >lease
size=$(wc -c <log)
printf '{{"log_size": %d, %s\n' "$size" "${{state#?}}"
if test {offset} -ge 0 && test "$size" -gt {offset}; then tail -c +$(({offset} + 1)) log | head -c {part}; fi
exit
fi
esac
fi
cd
"""
PART = 8 << 20  # bytes of log in one answer; who wants more asks again

# The image may have no Python. What is on stdin must be read by somebody.
START = """\
python={ours}
test -x "$python" || python=python3
if command -v "$python" >/dev/null
then exec "$python" {program} start
else cat >/dev/null; echo "unfit $(uname -m) Python 3.9 or later"
fi
"""

# By the Python that the attempt ran by, which stays for who asks again when the attempt's folder is gone.
KEEP = """\
for python in {theirs} .skyloom/kept/python python3
do python=$(readlink -f "$(command -v "$python")") && test -x "$python" && exec "$python" -S {program} {command}
done
"""


def connect(settings: Settings) -> Executor:
    """The executor that logs in with the team's key."""
    return SshExecutor(keys.client_keys(settings), settings.python)


class SshExecutor:
    """Keeps :class:`~sky_core.remote.executor.Executor` with an agent on each machine."""

    def __init__(self, keys: Sequence[str], python: PythonSource | None = None) -> None:
        self._keys, self._source = keys, python or PythonSource()
        self._links: dict[Machine, Link] = {}
        self._lock = threading.Lock()

    def start(self, machines: Sequence[Machine | None], request: JobRequest) -> None:
        """Start an attempt on all its machines, in the order of their ranks. Doing so again changes nothing."""
        for archive in (request.workdir, request.files, request.environment):
            if archive is not None:
                self._deliver_archive([self._link(machine) for machine in _there(machines)], archive)

        def start(rank: int, machine: Machine) -> None:
            link = self._link(machine)
            program = self._deliver_agent(link)
            description = json.dumps({**request.describe(rank), **gang, "index": self._source.index}).encode()
            answer = self._start(link, program, wanted, description)
            if answer.startswith(UNFIT):
                bring(link, wanted, self._source, answer.split()[1].decode())
                answer = self._start(link, program, wanted, description)
                if answer.startswith(UNFIT):
                    raise MachineError(f"{link.machine.ip}: still without what was brought: {answer.decode()}")

        gang, wanted = logins(machines, request), Wanted(request.requirements(), request.python)
        each = [(rank, machine) for rank, machine in enumerate(machines) if machine is not None]
        _each(lambda of: start(*of), each)

    @staticmethod
    def _start(link: Link, program: str, wanted: Wanted, description: bytes) -> bytes:
        """Start an agent by our Python if the machine has it, else by its own if that is recent enough."""
        script = START.format(ours=wanted.python, program=shlex.quote(program))
        return link.run(script, description, START_TIMEOUT_S).strip()

    def introduce(self, machines: Sequence[Machine | None], request: JobRequest) -> None:
        """Tell the machines of an attempt that runs which machines there are now."""
        line = json.dumps({"node_ips": list(request.node_ips), **logins(machines, request)}).encode()

        def introduce(machine: Machine) -> None:
            self._agent(machine, "peers", request.job_id, request.attempt, timeout_s=RENEW_S, stdin=line)

        _each(introduce, _there(machines))

    def poll(
        self, machines: Sequence[Machine | None], job_id: str, attempt: int, offsets: Sequence[int],
        look_s: float = LONG_LOOK_S,
    ) -> JobState:  # fmt: skip
        """How the attempt is doing, with the logs from ``offsets`` on; renews every machine's lease.

        A machine that says nothing for ``look_s`` seconds does not answer. Once a rank of a gang has failed, or rank 0
        has ended whom others only serve, those that still run are ended before that is told: all logs are whole then.
        """
        from_ = [*offsets, *[0] * (len(machines) - len(offsets))]
        ask = list(zip(machines, from_, strict=True))
        answers = self._answers(ask, job_id, attempt, look_s)
        if left := [rank for rank in _to_be_ended(answers) if machines[rank] is not None]:
            self.cancel([machines[rank] for rank in left], job_id, attempt, GANG_GRACE_S)
            answers = self._answers(ask, job_id, attempt, look_s)
        return together(answers)

    def cancel(self, machines: Sequence[Machine | None], job_id: str, attempt: int, grace_s: float) -> None:
        """End the attempt everywhere: SIGTERM, after ``grace_s`` seconds SIGKILL. Returns when it has ended."""

        def cancel(machine: Machine) -> None:
            self._agent(
                machine, "cancel", job_id, attempt, str(grace_s), CANCELLED, timeout_s=grace_s + CANCEL_MARGIN_S
            )

        _each(cancel, _there(machines))

    def renew(
        self, machines: Sequence[Machine | None], job_id: str, attempt: int, options: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Hand the agents fresh storage options, through standard input and a pipe: they are in no file."""
        line = json.dumps({scheme: dict(given) for scheme, given in options.items()}).encode()

        def renew(machine: Machine) -> None:
            self._agent(machine, "renew", job_id, attempt, timeout_s=RENEW_S, stdin=line)

        _each(renew, _there(machines))

    def leave(self, machines: Sequence[Machine | None], job_id: str, attempt: int, grace_s: float) -> None:
        """End the attempt as :meth:`cancel` does, with a last checkpoint to go on from elsewhere.

        A command that has just succeeded publishes its outputs instead; :meth:`poll` tells which it was.
        """

        def leave(machine: Machine) -> None:
            self._agent(machine, "cancel", job_id, attempt, str(grace_s), "moved", timeout_s=grace_s + MOVE_MARGIN_S)

        _each(leave, _there(machines))

    def keep(self, machines: Sequence[Machine], cloud: str, job_id: str, attempt: int, seconds: float) -> None:
        """Let machines stay for so long when their job is over, nothing of it on them; then they end themselves."""

        def keep(machine: Machine) -> None:
            link = self._link(machine)
            program = shlex.quote(self._deliver_agent(link))
            theirs = f"{_folder(job_id, attempt)}/python"
            command = shlex.join(["keep", job_id, str(attempt), f"{seconds:.1f}", cloud])
            link.run(
                KEEP.format(theirs=shlex.quote(theirs), program=program, command=command), timeout_s=KEEP_TIMEOUT_S
            )

        _each(keep, machines)

    def close(self) -> None:
        """Close all connections; the next call opens them again."""
        with self._lock:
            links, self._links = list(self._links.values()), {}
        for link in links:
            link.close()

    def _answers(
        self, ask: Sequence[tuple[Machine | None, int]], job_id: str, attempt: int, look_s: float
    ) -> list[JobState]:
        """What each rank says.

        Raises:
            PartlySilent: if some say nothing, and others do; LinkLost if none does.
        """

        def look(of: tuple[Machine | None, int]) -> JobState | LinkLost:
            try:
                return self._poll(of[0], job_id, attempt, of[1], look_s)
            except LinkLost as error:
                return error

        found = _each(look, ask)
        silent = {rank: answer for rank, answer in enumerate(found) if isinstance(answer, LinkLost)}
        if not silent:
            return [answer for answer in found if isinstance(answer, JobState)]
        first = next(iter(silent.values()))
        if len(silent) < sum(machine is not None for machine, _ in ask):
            raise PartlySilent(str(first), tuple(silent)) from first
        raise first

    def _poll(
        self, machine: Machine | None, job_id: str, attempt: int, offset: int, look_s: float = LONG_LOOK_S
    ) -> JobState:
        if machine is None:  # rank 0 does without it for a while
            return JobState("running", serves=True, log_offset=offset, log_size=offset)
        look = LOOK.format(folder=shlex.quote(_folder(job_id, attempt)), offset=offset, part=PART)
        ask = _call("poll", job_id, attempt, str(offset))
        return poll_answer(self._link(machine).run(look + ask, b"", POLL_TIMEOUT_S, look_s), offset)

    def _agent(
        self,
        machine: Machine,
        command: str,
        job_id: str,
        attempt: int,
        *more: str,
        timeout_s: float,
        stdin: bytes = b"",
    ) -> bytes:
        return self._link(machine).run(_call(command, job_id, attempt, *more), stdin, timeout_s)

    def _deliver_agent(self, link: Link) -> str:
        program, content = bundle.agent()
        path = f"{HOME}/{program}"
        if not _has(link, path):
            link.put(content, path)
        return path

    def _deliver_archive(self, links: Sequence[Link], archive: Archive) -> None:
        path = f"{HOME}/workdirs/{archive.digest}.tar.gz"
        has = _each(lambda link: _has(link, path), links)
        lacking = [link for link, there in zip(links, has, strict=True) if not there]
        if lacking:
            with archive.open() as file:
                _each(lambda link: link.put(Apart(file), path), lacking)

    def _link(self, machine: Machine) -> Link:
        with self._lock:
            return self._links.setdefault(machine, Link(machine, self._keys))


def _folder(job_id: str, attempt: int) -> str:
    """Where the attempt lies on its machine, from the user's home."""
    return f"{HOME}/jobs/{quote(job_id, safe='')}/{attempt}"


def _call(command: str, job_id: str, attempt: int, *more: str) -> str:
    """A script that calls the agent that the attempt was started with, whatever version it has."""
    program, python = (shlex.quote(f"{_folder(job_id, attempt)}/{name}") for name in ("agent.pyz", "python"))
    call = f'"$(test -x {python} && echo {python} || echo python3)" -S {program}'
    nobody = shlex.join(["echo", json.dumps({"phase": "missing"})])
    return f"if test -e {program}; then {call} {shlex.join([command, job_id, str(attempt), *more])}; else {nobody}; fi"


def _to_be_ended(answers: Sequence[JobState]) -> list[int]:
    """The ranks that still run although their gang is over."""
    over = first_to_fail(answers) is not None or (
        answers[0].phase == "done" and any(a.serves or a.spare for a in answers)
    )
    return [rank for rank, answer in enumerate(answers) if over and not answer.over and answer.phase != "missing"]


def _there(machines: Sequence[Machine | None]) -> list[Machine]:
    return [machine for machine in machines if machine is not None]


def _has(link: Link, path: str) -> bool:
    return link.run(f"test -f {shlex.quote(path)} && echo yes || true").strip() == b"yes"


def _each(work: Callable[[Any], Answer], items: Iterable[Any]) -> list[Answer]:
    """Do the work for all items at once; raises the first error after all have ended."""
    items = list(items)
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(work, items))
