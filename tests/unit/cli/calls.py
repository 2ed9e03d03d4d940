"""Every command with every option, as they are called: once where a store is looked at, once where clouds are used.

As a program it makes the calls, one after the other in one process, on whatever its standard output is: a terminal,
which it gives the width asked for, or a pipe. Before each it says which it is, after each its exit code.

    python -m tests.unit.cli.calls looking 80
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import sys
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SAYS, ENDED = "@@ ", "@@ ended "


@dataclass(frozen=True)
class Call:
    """A call.

    Attributes:
        line: The words; ``JOB`` and ``RUN`` stand for those of the store.
        code: Its exit code.
        says: What it prints has this in it.
        table: Whether all that it prints is a table, which is as wide as the terminal and no wider.
    """

    line: str
    code: int = 0
    says: str = ""
    table: bool = False

    @property
    def words(self) -> list[str]:
        """What the shell would make of the line."""
        return ["" if word == "''" else word for word in self.line.split()]


LOOKING: Sequence[Call] = (
    Call("--version", says="0."),
    Call("-h", says="Commands:"),
    Call("version", says="0."),
    Call("doctor", code=1, says="nobody drives"),
    Call("init --regions us-* --usd-per-day 5 --yes", code=1, says="is there already"),
    Call("plan t.yaml --minimize time --deadline 9h --budget 50 --html plan.html --usable", says="page is plan.html"),
    Call("plan t.yaml --html no/such/folder/plan.html", code=1, says="--html: there is no folder"),
    Call("plan t.yaml --env A=1 --secret S=2 --env-file env --csv", says="m5.large"),
    Call("plan t.yaml --json", says='"placements"'),
    Call("plan --json-schema", says="PlanDocument"),
    Call("plan t.yaml --param n=2", code=1, says="are for Prefect flows"),
    Call("run t.yaml --param n=2 --yes", code=1, says="are for Prefect flows"),
    Call("attach", code=1, says="written by another version"),
    Call("attach RUN", code=1, says="written by another version"),
    Call("retry RUN --file t.yaml --yes --detach", code=1, says="written by another version"),
    Call("import pilot.yaml", says="run:"),
    Call("import pilot.yaml --output t.yaml", code=1, says="is there already"),
    Call("import --json-schema", says="properties"),
    Call("jobs", says="job-", table=True),
    Call("jobs --state live --since 2020-01-01 --name job --run RUN --limit 1 --page 2", says="job-"),
    Call("jobs --json", says='"matching"'),
    Call("jobs --csv", says="job-"),
    Call("jobs --json-schema", says="JobsDocument"),
    Call("top --once", says="an hour now"),
    Call("top --once --every 0.5", says="an hour now"),
    Call("top --json", says='"usd_per_hour"'),
    Call("top --json-schema", says="TopDocument"),
    Call("logs JOB", says="submitted under plan"),
    Call("logs JOB --since 1h --grep x --rank 0"),
    Call("cancel JOB", code=1, says="is over"),
    Call("cancel --run none", code=1, says="nothing is live"),
    Call("clusters", says="no machines are kept"),
    Call("clusters --json", says='"clusters"'),
    Call("clusters --csv", says="usd_per_hour"),
    Call("clusters --json-schema", says="ClustersDocument"),
    Call("down", code=1, says="which machines are to be ended?"),
    Call("down none", code=1, says="no machines are kept as 'none'"),
    Call("ssh JOB --rank 0", code=1, says="its machines are gone"),
    Call("exec --rank 0 JOB ls -l", code=1, says="its machines are gone"),
    Call("cost", says="nightly", table=True),
    Call("cost --by day,cloud --since 2026-11-25", says="aws", table=True),
    Call("cost --saved", says="saved by spot"),
    Call("cost --json", says='"groups"'),
    Call("cost --csv", says="compute_usd"),
    Call("cost --focus", says="BilledCost"),
    Call("cost --json-schema", says="CostDocument"),
    Call("artifacts ls --limit 5", table=True),
    Call("artifacts ls --json", says='"artifacts"'),
    Call("artifacts ls --csv", says="submitted_at"),
    Call("artifacts ls --json-schema", says="ArtifactsDocument"),
    Call("artifacts ls JOB none", code=1, says="has no output"),
    Call("artifacts get JOB none --to there", code=1, says="has no output"),
    Call("artifacts rm --older-than 30d --keep 1 --dry-run", says="nothing to remove"),
    Call("artifacts rm JOB none", code=1, says="has no output"),
    Call("catalog show", says="V100", table=True),
    Call("catalog show V100 --cpus 8+ --memory 16+ --instance-type p3* --cloud aws --region us-* --spot --limit 3",
         says="p3.2xlarge", table=True),
    Call("catalog compare V100:1 --region us-*", says="V100", table=True),
    Call("catalog stats", says="rows"),
    Call("catalog reservations --cloud aws", code=1, says="aws: "),
    Call("catalog refresh --cloud aws --source none.csv", code=1, says="none.csv"),
    Call("spot explain JOB --svg story.svg", code=1, says="is not led by a spot policy"),
    Call("sandbox status", code=1, says="sandbox"),
)  # fmt: skip

DOING: Sequence[Call] = (
    Call("sandbox up --boot-s 0.2 --notice-s 2 --hours-per-second 0.1 --gb-per-mb 1 --account easy --runner auto"
         " --lenient", says="the sandbox runs"),
    Call("check --deep --region aws/us-east-1", says="aws: usable"),
    Call("check --launch --accelerator H100:3 --yes", says="no machine is left"),
    Call("run go.yaml --minimize cost --deadline 90h --budget 50 --yes --env A=1 --secret S=s --env-file env",
         says="go | 1 s 2"),
    Call("run go.yaml --key go/1 --yes --detach --secret S=s", says="come back to it"),
    Call("attach go/1", says="bill: $"),
    Call("run go.yaml --yes --secret S=s --env-file env --keep 23h --cluster warm", says="machines kept idle as warm"),
    Call("clusters", says="warm"),
    Call("run go.yaml --yes --secret S=s --env-file env --keep 23h --cluster warm", says="nothing is launched"),
    Call("down warm", says="warm: its machines are gone"),
    Call("down --all --yes", says="no machines are kept"),
    Call("retry go/1 --file go.yaml --yes --detach", code=1, says="all its tasks have succeeded"),
    Call("logs go/1/go --follow --since 1h", says="succeeded"),
    Call("logs go/1/go --grep s --rank 0", says=" s "),
    Call("ssh go/1/go --rank 0", code=1, says="its machines are gone"),
    Call("exec --rank 0 go/1/go true", code=1, says="its machines are gone"),
    Call("artifacts ls go/1/go x", says="bytes"),
    Call("artifacts get go/1/go x --to got", says="GB in"),
    Call("artifacts rm go/1/go x --dry-run", says="would remove"),
    Call("artifacts rm go/1/go x", says="removed"),
    Call("sandbox status", says="machine"),
    Call("sandbox ledger", says="machine"),
    Call("sandbox ledger --open"),
    Call("sandbox capacity us-east-1a m5.large spot 0", says="m5.large spot: 0"),
    Call("sandbox capacity us-east-1a m5.large spot any", says="m5.large spot: any number"),
    Call("sandbox capacity us-east-1a m5.large spot few", code=2, says='is neither a number nor "any"'),
    Call("sandbox reserve aws us-east-1a m5.large 2 --kind block --ends-s 7200", says="cr-"),
    Call("catalog reservations", says="Capacity Block"),
    Call("sandbox preempt i-0 --notice-s 0 --cloud aws --zone us-east-1a", says="none matched"),
    Call("sandbox replay trace.json us-east-1a * --speed 10"),
    Call("sandbox move ''", says="seen at any address"),
    Call("run stay.yaml --key stay/1 --yes --detach"),
    Call("@live"),
    Call("cancel --run stay/1 --yes", says="cancelled; its machines are gone"),
    Call("run stay.yaml --key stay/2 --yes --detach"),
    Call("@live"),
    Call("cancel --all --yes", says="cancelled; its machines are gone"),
    Call("gc --dry-run", says="0 orphans"),
    Call("gc", says="0 orphans"),
    Call("sandbox down", says="stopped"),
)  # fmt: skip

ELSEWHERE = {
    ("driver",): "tests/sandbox/outages/test_cli_runs.py",
    ("open",): "tests/sandbox/clusters/test_held.py",
    ("open", "--open"): "changes the user's browser",
    ("ui", "--port"): "tests/unit/cli/test_terminal.py",
    ("ui", "--open"): "tests/unit/cli/test_terminal.py",
    ("ui",): "tests/unit/cli/test_terminal.py",
    ("--install-completion",): "changes the shell's own files",
    ("--show-completion",): "tests/unit/cli/test_terminal.py",
}
"""What stays until it is stopped, and is called by a test of its own."""


def make(calls: Sequence[Call], width: int, stands_for: dict[str, str]) -> None:
    """Call them, one after the other."""
    from sky_core.cli.app import run

    if sys.stdout.isatty():
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    for call in calls:
        print(f"{SAYS}{call.line}", flush=True)
        print(f"{ENDED}{_code_of(run, [stands_for.get(word, word) for word in call.words])}", flush=True)


def _code_of(run: Callable[[], None], words: list[str]) -> object:
    if words == ["@live"]:
        return _wait_for_a_job()
    sys.argv = ["skyloom", *words]
    try:
        run()
    except SystemExit as left:
        return left.code or 0
    finally:
        sys.stdout.flush()
    return 0


def _wait_for_a_job() -> int:
    from sky_core.broker import Broker
    from sky_core.store import Choice
    from sky_core.store.records import LIVE
    from tests.conftest import until

    broker = Broker.open()
    until(lambda: broker.store.job_lines(Choice(states=LIVE)))
    return 0


def read(said: str) -> list[tuple[str, str, int]]:
    """Of what the program has printed: each call's line, what it printed, and its exit code."""
    parts = re.split(rf"^{SAYS}(?!ended )(.*?)\r?$", said, flags=re.MULTILINE)[1:]
    found = []
    for line, text in zip(parts[::2], parts[1::2], strict=True):
        printed, _, code = text.partition(ENDED)
        found.append((line, printed, int(code.split()[0]) if code.split() else -1))
    return found


if __name__ == "__main__":
    make({"looking": LOOKING, "doing": DOING}[sys.argv[1]], int(sys.argv[2]),
         {name: os.environ[name] for name in ("JOB", "RUN") if name in os.environ})  # fmt: skip
