"""The crash matrix: every point on every database, many at a time, with a report that says how to see each again.

    python -m tests.crash [--quick] [--db sqlite,postgresql] [--clouds aws,…] [--only TEXT] [--shard 1/4] [--jobs 6]

Its last line is ``crash matrix: P points, V violations``; it exits with 1 if V is not 0.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from tests.crash import databases, points
from tests.crash.inside.mutations import MUTATIONS
from tests.crash.points import CLOUDS, Cloud, Point, Recording
from tests.crash.trial import Result, Trial
from tests.crash.world import ROOT, World, world

REPORT = ROOT / "build/crash-matrix.json"
QUICK_POINTS = 24  # of each database, evenly over all


class Matrix:
    """A run over the points of some databases."""

    def __init__(self, chosen: argparse.Namespace, report: Path = REPORT) -> None:
        self.chosen = chosen
        self.report = report
        self.results: list[Result] = []
        self.since = time.monotonic()
        self._lock = threading.Lock()
        self._numbers = iter(range(1, 1_000_000))

    def run(self) -> int:
        """Run what was chosen; the exit status."""
        folder = Path(tempfile.mkdtemp(prefix="crash-"))
        try:
            for name in self.chosen.db:
                with world(folder / name, databases.named(name)) as there:
                    self._run(there)
        finally:
            if self.chosen.keep:
                print(f"homes are kept in {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
        return self.conclude()

    def _run(self, there: World) -> None:
        recordings = self.record(there)
        chosen = self.choose(points.enumerate_points(recordings))
        print(f"{there.databases.name}: {len(chosen)} points", flush=True)
        with ThreadPoolExecutor(self.chosen.jobs) as pool:
            futures = [pool.submit(self.try_point, there, point) for point in chosen]
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    self.note(future.result(), done, len(chosen))
            finally:  # told to end: the trials under way are enough to wait for
                pool.shutdown(wait=False, cancel_futures=True)

    def record(self, there: World) -> dict[Cloud, Recording]:
        """The boundaries of a clean run on each cloud, which is itself the first trial."""
        recordings: dict[Cloud, Recording] = {}
        with ThreadPoolExecutor(2) as pool:
            for cloud, (result, found) in zip(
                self.chosen.clouds, pool.map(lambda cloud: self._record(there, cloud), self.chosen.clouds), strict=True
            ):
                recordings[cloud] = found
                self.note(result, 0, 0)
        return recordings

    def _record(self, there: World, cloud: Cloud) -> tuple[Result, Recording]:
        trial = self._trial(there, Point(cloud, "nothing goes wrong"), mutated=False)
        result = trial.run()
        met = {}
        for whom in points.KEPT:
            warm = self._trial(there, Point(cloud, f"kept for {whom}, nothing goes wrong", kept=whom), mutated=False)
            self.note(warm.run(), 0, 0)
            met[whom] = warm.boundaries()
        gang = []
        if cloud in points.GANGS:
            many = self._trial(there, Point(cloud, "gang, a worker dies", **points.GANG), mutated=False)
            self.note(many.run(), 0, 0)
            gang = many.boundaries()
        return result, Recording(trial.boundaries(), trial.region(), met, gang)

    def try_point(self, there: World, point: Point) -> Result:
        """One trial; a second one, if what was to go wrong never came about: boundaries depend on timing."""
        result = self._trial(there, point).run()
        return result if result.reached or result.violations else self._trial(there, point).run()

    def _trial(self, there: World, point: Point, *, mutated: bool = True) -> Trial:
        with self._lock:
            number = next(self._numbers)
        if mutated and self.chosen.mutate:
            point = replace(point, orders={**point.orders, "mutation": self.chosen.mutate})
        return Trial(there, point, number)

    def choose(self, every: Sequence[Point]) -> list[Point]:
        """The points that the options leave."""
        left = [point for point in every if point.name != "nothing goes wrong"]
        left = [point for point in left if all(_names(point, words) for words in self.chosen.only)]
        if self.chosen.quick:
            left = left[:: max(1, len(left) // QUICK_POINTS)]
        shard, shards = self.chosen.shard
        return left[shard - 1 :: shards]

    # --- telling ---------------------------------------------------------------------------------------------

    def note(self, result: Result, done: int, total: int) -> None:
        """Keep a result and say so."""
        self.results.append(result)
        words = "; ".join(result.violations) or ("ok" if result.reached else "not reached")
        mark = "VIOLATION" if result.violations else "  "
        place = f"{done}/{total}" if total else "clean"
        print(f"[{time.monotonic() - self.since:5.0f} s] {place} {mark} {result.database} {result.point}: {words}"
              f" ({result.seconds:.0f} s)", flush=True)  # fmt: skip
        self._write()

    def _write(self) -> None:
        self.report.parent.mkdir(parents=True, exist_ok=True)
        told = {
            "points": len(reached(self.results)),
            "violations": [
                {**result.dump(), "again": again(result)} for result in self.results if result.violations
            ],
            "not_reached": [f"{result.database} {result.point}" for result in self.results if not result.reached],
            "results": [result.dump() for result in self.results],
        }  # fmt: skip
        partial = self.report.with_suffix(f".{os.getpid()}.new")
        partial.write_text(json.dumps(told, indent=1))
        partial.replace(self.report)

    def conclude(self) -> int:
        """Say what came of it; the exit status."""
        broken = [result for result in self.results if result.violations]
        for result in broken:
            print(f"\n{result.database} {result.point}")
            for violation in result.violations:
                print(f"  {violation}")
            print(f"  again: {again(result)}")
        missed = sum(not result.reached for result in self.results)
        if missed:
            print(f"\n{missed} points were not reached: their boundary never came (see {self.report})")
        print(f"crash matrix: {len(reached(self.results))} points, {len(broken)} violations")
        return 1 if broken else 0


def reached(results: Iterable[Result]) -> list[Result]:
    """Those at which something really went wrong."""
    return [result for result in results if result.reached]


def again(result: Result) -> str:
    """The command that repeats a trial."""
    cloud, _, name = result.point.partition(": ")
    return f"python -m tests.crash --keep --db {result.database} --clouds {cloud} --only {shlex.quote(name)}"


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Let everything go wrong once.")
    listed = lambda text: tuple(text.split(","))  # noqa: E731
    parser.add_argument("--db", type=listed, default=databases.available(), help="sqlite, postgresql, or both")
    parser.add_argument("--clouds", type=listed, default=CLOUDS)
    parser.add_argument("--only", action="append", default=[], help="points whose name has THIS|THAT")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")), help="a sample")
    parser.add_argument("--shard", type=_shard, default=(1, 1), help="1/4: the first quarter")
    parser.add_argument("--jobs", type=int, default=6, help="trials at a time")
    parser.add_argument("--mutate", choices=sorted(MUTATIONS), help="break the product first: the matrix has to fail")
    parser.add_argument("--keep", action="store_true", help="keep the homes of the trials, with their drivers' logs")
    return parser


def _names(point: Point, words: str) -> bool:
    return any(word in point.id for word in words.split("|"))


def _shard(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    return int(number), int(of)


def main() -> None:
    """Run the matrix of the command line."""
    os.environ |= {"NO_GCE_CHECK": "true", "AWS_EC2_METADATA_DISABLED": "true"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is taken down
    for name in ("SKYLOOM_HOME", "SKYLOOM_PROFILE", "SKYLOOM_STORE", "SKYLOOM_CLOUDS"):
        os.environ.pop(name, None)
    sys.exit(Matrix(options().parse_args()).run())
