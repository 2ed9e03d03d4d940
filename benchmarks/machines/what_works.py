"""Every row of docs/what-works.md run in the strict sandbox: a command on the machine and market that the row names.

    python benchmarks/machines/what_works.py [--cloud aws,azure,gcp] [--account easy|new]

A row that says "works" has to run on each of its markets, by way of the agent's own look at the accelerators; one that
says "refused" or "no longer sold" has to be refused with a reason; of the others ("retired", "doubtful", "unknown")
it is told which it was. In a new account, whose quotas of accelerators are none, what would run is to be refused for
that. The exit code is 1 if one is otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sky_core import Resources, Task
from sky_core.errors import SkyloomError
from sky_core.store import Job
from sky_sandbox import client
from sky_sandbox.accounts import PROFILES, Account
from tests.conftest import start_sandbox
from tests.sandbox.driving import Home, home_of
from tests.unit.images.what_works import Cell, cells

RUN = "echo ran on 3.$(python3 -c 'import sys; print(sys.version_info[1])')"
AT_ONCE = 6
NONE_YET = ("quota", "has not been used in project")  # a newcomer's answers: ask for it, enable it
PATIENCE = "accelerator_timeout_s = 20"


@dataclass
class Trial:
    """A cell on one of its markets."""

    cell: Cell
    market: str
    job: Job | None = None
    refusal: str = ""

    @property
    def key(self) -> str:
        """Unlike all others'."""
        return f"{self.cell.cloud}-{self.cell.cheapest['instance_type']}-{self.cell.kind}-{self.market}".replace(
            " ", "-"
        )

    def submit(self, home: Home) -> None:
        """Plan and submit it; one that cannot be planned is refused."""
        row = self.cell.cheapest
        wanted = {"accelerators": f"{row['accelerator']}:{row['accelerator_count']:.4g}"}
        if not self.cell.kind.startswith("tpu-"):
            wanted["instance_type"] = str(row["instance_type"])
        try:
            resources = Resources(cloud=self.cell.cloud, use_spot=self.market == "spot", **wanted)
            self.job = home.submit(Task(name="cell", run=RUN, hours=0.1, resources=resources), self.key)
        except SkyloomError as error:
            self.refusal = str(error)

    def ended(self, home: Home) -> str:
        """What came of it: "ran", or why it did not."""
        if self.job is None:
            return f"refused: {self.refusal}"
        job = home.store.job(self.job.id)
        if job.state == "succeeded" and b"ran on 3." in home.store.log(job.id):
            return "ran"
        return f"refused: {' '.join(str(job.result.get('error') or job.state).split())}"

    def wrong(self, ended: str, account: Account) -> bool:
        """Whether the table says otherwise."""
        verdict, ran = self.cell.verdict, ended == "ran"
        if not account.accelerators:
            return ran or (verdict.startswith("works") and not any(word in ended for word in NONE_YET))
        return not ran if verdict.startswith("works") else ran and verdict.startswith(("refused", "no longer"))


def trials(clouds: Sequence[str]) -> Iterator[Trial]:
    """All cells on all their markets."""
    for cell in cells():
        if cell.cloud in clouds:
            yield from (Trial(cell, market) for market in cell.markets)


def main() -> int:
    """Run all; how many of them the table is wrong about is told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cloud", default="aws,azure,gcp")
    parser.add_argument("--account", choices=("easy", "new"), default="easy")
    args = parser.parse_args()
    found = list(trials(args.cloud.split(",")))
    wrong = ran = 0
    with tempfile.TemporaryDirectory() as place:
        world = start_sandbox(Path(place) / "world", hours_per_second=0.1)
        world.control.account(args.account)
        for number in range(0, len(found), AT_ONCE):
            some = found[number : number + AT_ONCE]
            path = Path(place) / f"home{number}"
            path.mkdir()
            with home_of(world, path, PATIENCE) as home:
                for trial in some:
                    trial.submit(home)
                home.drive(*(trial.job for trial in some if trial.job is not None))
                for trial in some:
                    ended = trial.ended(home)
                    ran, wrong = ran + (ended == "ran"), wrong + trial.wrong(ended, PROFILES[args.account])
                    mark = "WRONG" if trial.wrong(ended, PROFILES[args.account]) else "ok"
                    print(f"{mark:5} {trial.key}: {ended[:400]} | {trial.cell.verdict[:60]}", flush=True)
        client.down(world.home)
    print(f"{len(found)} cells: {ran} ran, {len(found) - ran} were refused; the table is wrong about {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
