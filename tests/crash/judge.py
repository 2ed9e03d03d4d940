"""The verdict on a trial, from the sandbox's ledger, the witness and an outside reader of the buckets."""

from __future__ import annotations

import itertools
from typing import Any

from tests.crash.witness import Copy

GRACE_H = 2 / 60  # hours within which everything of a job must be gone after its end
# Seconds of the sandbox's clock that a bill may be off, for each machine, beside those for which it was pending: no
# cloud tells how long that was, and who first looks when it runs, as on a loaded host, cannot know…
BILL_S = 1.0
BILL_SHARE = 0.01  # …or this share of it
EC2_LEAST_S = 60.0


def left_over(entries: list[dict[str, Any]], over_at: float, grace_s: float) -> list[str]:
    """Things of the job's that cost money longer than ``grace_s`` real seconds after ``over_at``."""
    late = [entry for entry in entries if entry["ended"] is None or entry["ended"] > over_at + grace_s]
    return [f"{_name(entry)} {_until(entry, over_at)}" for entry in late]


def _until(entry: dict[str, Any], over_at: float) -> str:
    return "is still there" if entry["ended"] is None else f"ended {entry['ended'] - over_at:.1f} s late"


def doubled(copies: list[Copy]) -> list[str]:
    """Copies of the command that were alive at once."""
    return [
        f"two copies ran at once: on {one.machine} until {one.last - one.began:.1f} s, on {other.machine} from "
        f"{other.began - one.began:.1f} s"
        for one, other in itertools.pairwise(copies)
        if other.began < one.last
    ]


def misbilled(entries: list[dict[str, Any]], billed_h: float, hours_per_second: float) -> list[str]:
    """A bill that differs from the ledger's machines. ``billed_h`` are the hours on the product's bill."""
    machines = [entry for entry in entries if entry["kind"] == "machine"]
    true_s, told_s = sum(entry["billed_s"] for entry in machines), billed_h * 3600
    per_second = hours_per_second * 3600
    unknown_s = sum(BILL_S + entry["pending_s"] for entry in machines) or BILL_S
    allowed = max(unknown_s * per_second, BILL_SHARE * true_s) + _unseen(entries, per_second)
    if abs(true_s - told_s) <= allowed:
        return []
    each = ", ".join(f"{entry['seconds']:.2f} s" for entry in machines)
    return [f"billed {told_s / per_second:.2f} s, the ledger says {true_s / per_second:.2f} s ({each})"]


def _unseen(entries: list[dict[str, Any]], per_second: float) -> float:
    """Billed seconds of EC2's machines whose being charged for nobody can know who did not look in time.

    EC2 tells whole seconds of a start and of an end, and of no beginning to run: one that ran for less than the second
    that a bill may be off, for which it takes a minute, is not to be told from one that died pending, which is on the
    ledger by its disk alone and costs nothing.
    """
    machines = [entry for entry in entries if entry["kind"] == "machine" and entry["cloud"] == "aws"]
    ran = {entry["id"] for entry in machines}
    disks = [entry for entry in entries if entry["kind"] == "disk" and entry["cloud"] == "aws"]
    short = sum(entry["billed_s"] for entry in machines if entry["seconds"] < BILL_S)
    never = sum(max(entry["seconds"] * per_second, EC2_LEAST_S) for entry in disks if entry["id"] not in ran)
    return float(short + never)


def _name(entry: dict[str, Any]) -> str:
    return f"{entry['cloud']} {entry['kind']} {entry['id'].rpartition('/')[2]}"
