"""dstack's task files (https://dstack.ai/docs/reference/dstack.yml/task) as mappings in SkyPilot's form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from sky_core.spec_yaml.reading import At, Document
from sky_core.spec_yaml.slips import refusal

Told = tuple[At, Literal["taken", "changed", "dropped"], str]
KINDS = ("task", "service", "dev-environment", "fleet", "volume", "gateway")
AS_THEY_ARE = {"name": "name", "nodes": "num_nodes", "env": "envs", "ports": "ports", "working_dir": ""}
DROPPED = {
    "python": "the image's own Python is used; install another in setup",
    "nvcc": "the images with GPU drivers have it",
    "max_duration": "use deadline",
    "idle_duration": "a job ends its machines when it is over",
    "creation_policy": "machines are always made for the job",
    "retry": "launches are repeated and moved by themselves; max_attempts says how often",
    "utilization_policy": "no job is ended for being idle",
    "tags": "see labels in resources",
    "priority": "all jobs start at once",
    "fleets": "there are no fleets",
    "shell": "commands are run by bash",
    "privileged": "commands run on the machine itself",
    "user": "commands run as the machine's user",
    "single_branch": "the folder is taken along as it is",
    "stop_duration": "a command has 10 s to end",
    "startup_order": "all machines start at once",
    "stop_criteria": "a task is over when its first machine is",
    "schedule": "an engine's schedule starts it",
}


def is_dstack(body: Any) -> bool:
    """Whether a document is one of dstack's: it says its type."""
    return isinstance(body, Mapping) and body.get("type") in KINDS and "run" not in body


def from_dstack(document: Document) -> tuple[dict[str, Any], list[Told]]:
    """The task in SkyPilot's form, and what became of its fields.

    Raises:
        SpecError: for what is no task, or a field that is not known.
    """
    given: Mapping[str, Any] = document.value
    name = str(given.get("name") or "task")
    if given["type"] != "task":
        raise refusal(document, ("type",), name, f"a {given['type']} is no job", "import files of type task")
    body: dict[str, Any] = {"name": name, "workdir": "."}
    resources: dict[str, Any] = {}
    told: list[Told] = [(("type",), "taken", "")]
    for field, value in given.items():
        at: At = (field,)
        if field in ("type", "name"):
            continue
        if field == "commands":
            body["run"] = "\n".join(["set -e", *map(str, value)])
            told.append((at, "changed", "run, which ends at the first command that fails"))
        elif field == "env":
            pairs = value.items() if isinstance(value, Mapping) else (_pair(text) for text in value or ())
            body["envs"] = dict(pairs)
            told.append((at, "changed", "envs"))
        elif field == "nodes":
            body["num_nodes"] = value
            told.append((at, "changed", "num_nodes"))
        elif field == "resources":
            told += _resources(value or {}, resources)
        elif field == "ports":
            resources["ports"] = [str(port).rpartition(":")[2] for port in value or ()]
            told.append((at, "changed", "resources.ports"))
        elif field in ("backends", "regions", "availability_zones", "instance_types"):
            ours = {"backends": "cloud", "regions": "region", "availability_zones": "zone"}.get(field, "instance_type")
            resources[ours] = list(map(str, value))
            told.append((at, "changed", f"resources.{ours}"))
        elif field == "spot_policy":
            resources["use_spot"] = value in ("spot", "auto")
            told.append((at, "changed", "resources.use_spot; on demand where no spot machine is to be had"))
        elif field == "max_price":
            resources["max_hourly_cost"] = value
            told.append((at, "changed", "resources.max_hourly_cost"))
        elif field == "image":
            resources["image_id"] = f"docker:{value}"
            told.append((at, "changed", "resources.image_id"))
        elif field in ("files", "repos"):
            told.append((at, "dropped", "the folder that the file lies in is taken along"))
        elif field in ("volumes", "registry_auth"):
            raise refusal(document, at, name, "is not supported", "mount a bucket in file_mounts; use a public image")
        elif field in DROPPED:
            told.append((at, "dropped", DROPPED[field]))
        else:
            raise refusal(document, at, name, "is no field of a dstack task")
    if resources:
        body["resources"] = resources
    return body, told


def _pair(text: Any) -> tuple[str, str | None]:
    name, equals, value = str(text).partition("=")
    return name, value if equals else None


def _resources(given: Mapping[str, Any], into: dict[str, Any]) -> list[Told]:
    told: list[Told] = []
    for field, value in given.items():
        at: At = ("resources", field)
        if field == "gpu":
            into["accelerators"], fate = _gpu(value)
            told.append((at, "changed", f"accelerators{fate}"))
        elif field in ("cpu", "memory"):
            into["cpus" if field == "cpu" else "memory"] = _range(value)
            told.append((at, "changed" if field == "cpu" else "taken", "cpus" if field == "cpu" else ""))
        elif field == "disk":
            size = value.get("size") if isinstance(value, Mapping) else value
            into["disk_size"] = str(size).partition("..")[0]
            told.append((at, "changed", "disk_size"))
        else:
            told.append((at, "dropped", "Skyloom's machines have it as their cloud gives it"))
    return told


def _range(value: Any) -> str:
    """``16..`` as ``16+``, ``8..16`` as ``8-16``."""
    if isinstance(value, Mapping):
        low, high = value.get("min", ""), value.get("max", "")
        value = f"{low}..{high}"
    low, dots, high = str(value).partition("..")
    return f"{low}-{high}" if high and low else f"{low}+" if dots else low


def _gpu(value: Any) -> tuple[Any, str]:
    """``H100:80GB:8`` or a mapping as accelerators."""
    if isinstance(value, Mapping):
        names = value.get("name")
        count = value.get("count", 1)
        rest = "; memory is told by the name" if "memory" in value else ""
    else:
        parts = str(value).split(":")
        names = next((part for part in parts if re.match(r"^[A-Za-z]", part)), None)
        count = next((part for part in parts if re.match(r"^\d+(\.\.\d*)?$", part)), "1")
        rest = (
            "; memory is told by the name" if any(re.match(r"^\d+.*GB", part, re.IGNORECASE) for part in parts) else ""
        )
    number = str(count).partition("..")[0]
    listed = names if isinstance(names, list) else str(names or "T4").split(",")
    return [f"{name}:{number}" for name in listed], rest
