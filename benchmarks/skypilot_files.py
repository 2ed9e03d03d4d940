"""How many of a folder's SkyPilot files are planned: counts, and for each refusal its line.

    python benchmarks/skypilot_files.py FOLDER [--all]

Job files are counted: those with ``service:`` or ``pool:`` are named apart, as are those refused because they ask for a
place or a store that is none of Skyloom's clouds' (Kubernetes, Slurm, OCI, R2), and YAML files that are no tasks at all
(a trainer's settings, a Kubernetes manifest) are passed over. What a file leaves to its user is filled in: SkyPilot
asks for ``--env`` where a variable has no value, and a bucket's name may be blank or ``YOUR_…BUCKET…``. Planned over
the embedded catalog with the usual defaults, as if all clouds had credentials.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sky_core.catalog import Catalog
from sky_core.config import Defaults
from sky_core.errors import SkyloomError, SpecError
from sky_core.planner.planning import Market, make_plan
from sky_core.spec_yaml import Given, load
from sky_core.spec_yaml.fields import AS_WRITTEN, HEAD, TaskFields
from sky_core.spec_yaml.reading import read_documents

TELLING = frozenset({"run", "setup", "resources", "num_nodes", "file_mounts"})  # a task has one of these

NOT_HERE = ("is none of Skyloom's clouds", "is none of the stores that Skyloom reads", "is no object store of ours")
BLANK = re.compile(
    r"(?m)^(\s+name:(?=[ \t]*(?:#|$))|\s+\w+:(?=[ \t]*YOUR\w*BUCKET)).*$"
)  # a task's own name: no blanks before


JOBS = ("planned", "refused", "traceback")


class Anything(dict[str, str]):
    """An environment in which every variable is set."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return "value"


def main() -> int:
    """Print the counts; exit code 1 if there was a traceback."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="also say what is planned, and on what")
    arguments = parser.parse_args()
    market = Market(catalog=Catalog.embedded().with_defaults(Defaults()), clouds=("aws", "azure", "gcp"))
    counts: Counter[str] = Counter()
    filled = 0
    for file in sorted(arguments.folder.rglob("*.y*ml")):
        with filled_in(file) as (whole, blanks):
            kind, said = outcome(whole, market)
        said = said.replace(str(whole), str(file))
        filled += blanks and kind in JOBS
        counts[kind] += 1
        if arguments.all or kind not in ("planned", "no task"):
            print(f"{kind:10} {said}")
    jobs = sum(counts[kind] for kind in JOBS)
    print(f"\n{jobs} job files: {counts['planned']} planned ({counts['planned'] / max(jobs, 1):.0%}), "
          f"{counts['refused']} refused, {counts['traceback']} tracebacks; {counts['elsewhere']} for other places, "
          f"{counts['serving']} of services and pools, {counts['no task']} no tasks; "
          f"a bucket's name was filled in in {filled}")  # fmt: skip
    return 1 if counts["traceback"] else 0


@contextmanager
def filled_in(file: Path) -> Iterator[tuple[Path, bool]]:
    """The file, or beside it for a while one like it in which the names of buckets are not left blank."""
    text = file.read_text()
    full, blanks = BLANK.subn(r"\1 a-bucket-of-ours", text)
    if not blanks:
        yield file, False
        return
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f"{file.stem}.", suffix=".yaml") as whole:
        whole.write(full)
        whole.flush()
        yield Path(whole.name), True


def outcome(file: Path, market: Market) -> tuple[str, str]:
    """What becomes of one file, and the line about it."""
    try:
        kind = kind_of(file)
        if kind:
            return kind, str(file)
        loaded = load(file, Given(environ=Anything()))
    except SkyloomError as error:
        return "elsewhere" if any(words in str(error) for words in NOT_HERE) else "refused", str(error)
    except Exception:  # noqa: BLE001 - that is what is counted here
        return "traceback", f"{file}: {traceback.format_exc(limit=-2)}"
    try:
        plan = make_plan(loaded.pipeline, market, loaded.objective)
    except SkyloomError as error:
        return "refused", f"{loaded.where(str(error))}{error}"
    except Exception:  # noqa: BLE001 - that is what is counted here
        return "traceback", f"{file}: {traceback.format_exc(limit=-2)}"
    return "planned", f"{file}: {', '.join(place.machine for place in plan.placements.values())}"


def kind_of(file: Path) -> str:
    """``"no task"`` or ``"serving"``; "" for a job file, and for one that cannot be read."""
    try:
        bodies = list(tasks_of(file))
    except SpecError:
        return ""
    if not any(TELLING & body.keys() for body in bodies) or any(_is_foreign(body) for body in bodies):
        return "no task"
    return "serving" if any(body.get("service") or body.get("pool") for body in bodies) else ""


def _is_foreign(body: dict[str, object]) -> bool:
    """Whether most of its fields are none of a task's, nor of a pipeline's."""
    known = TaskFields.model_fields.keys() | HEAD
    return len(body.keys() - known) > len(body.keys() & known)


def tasks_of(file: Path) -> Iterator[dict[str, object]]:
    """The documents that are mappings."""
    for document in read_documents(file, AS_WRITTEN):
        if isinstance(document.value, dict):
            yield document.value


if __name__ == "__main__":
    raise SystemExit(main())
