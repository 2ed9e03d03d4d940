"""How many of a folder's SkyPilot files are planned: counts, and for each refusal its line.

    python benchmarks/skypilot_files.py FOLDER [--all]

Job files are counted: those with ``service:`` or ``pool:`` are named apart, as are those refused because they ask for a
place that none of Skyloom's clouds is (Kubernetes, Slurm, OCI), and YAML files that are no tasks at all (a trainer's
settings, a Kubernetes manifest) are passed over. SkyPilot asks for ``--env`` where a variable has no value: one is
given here. Planned over the embedded catalog with the usual defaults, as if all clouds had credentials.
"""

from __future__ import annotations

import argparse
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sky_core.catalog import Catalog
from sky_core.config import Defaults
from sky_core.errors import SkyloomError, SpecError
from sky_core.planner.planning import Market, make_plan
from sky_core.spec_yaml import Given, load
from sky_core.spec_yaml.fields import AS_WRITTEN, HEAD, TaskFields
from sky_core.spec_yaml.reading import read_documents

TELLING = frozenset({"run", "setup", "resources", "num_nodes", "file_mounts"})  # a task has one of these

NOT_HERE = "is none of Skyloom's clouds"


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
    for file in sorted(arguments.folder.rglob("*.y*ml")):
        kind, said = outcome(file, market)
        counts[kind] += 1
        if arguments.all or kind not in ("planned", "no task"):
            print(f"{kind:10} {said}")
    jobs = counts["planned"] + counts["refused"] + counts["traceback"]
    print(f"\n{jobs} job files: {counts['planned']} planned ({counts['planned'] / max(jobs, 1):.0%}), "
          f"{counts['refused']} refused, {counts['traceback']} tracebacks; {counts['elsewhere']} for other places, "
          f"{counts['serving']} of services and pools, {counts['no task']} no tasks")  # fmt: skip
    return 1 if counts["traceback"] else 0


def outcome(file: Path, market: Market) -> tuple[str, str]:
    """What becomes of one file, and the line about it."""
    try:
        kind = kind_of(file)
        if kind:
            return kind, str(file)
        loaded = load(file, Given(environ=Anything()))
    except SkyloomError as error:
        return "elsewhere" if NOT_HERE in str(error) else "refused", str(error)
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
