"""Task and pipeline YAML: SkyPilot's format, so that its users can bring their files, plus Skyloom's own fields.

Format: https://docs.skypilot.co/en/latest/reference/yaml-spec.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from sky_core.errors import SpecError
from sky_core.spec import Artifact, Pipeline, Resources, Task

TASK_FIELDS = {
    "name", "run", "setup", "workdir", "envs", "secrets", "num_nodes", "resources", "file_mounts", "inputs",
    "outputs", "hours", "checkpoint", "deadline", "max_attempts", "budget_usd",
}  # fmt: skip


def load_task(source: str | Path | Mapping[str, Any]) -> Task:
    """Load one task from a YAML file or its parsed mapping.

    Understood of SkyPilot's fields: name, run, setup, workdir, envs, secrets (names), num_nodes, resources
    (accelerators, cpus, memory, instance_type, infra, cloud, region, zone, use_spot, disk_size, image_id, ports,
    labels, any_of), file_mounts whose source is a bucket. Of Skyloom's own: inputs, outputs, hours, checkpoint,
    deadline, max_attempts.

    Raises:
        SpecError: for a field that is not understood.
    """
    document = _read(source)
    if len(document) != 1:
        raise SpecError(f"{source}: {len(document)} documents; load it as a pipeline")
    return _task(document[0], base=_folder(source))


def load_pipeline(source: str | Path) -> Pipeline:
    """Load a pipeline: one task; several documents (a chain, as SkyPilot means it); or a mapping with ``tasks``.

    Raises:
        SpecError: for a field that is not understood, or a file that is no pipeline.
    """
    documents = _read(source)
    name = Path(source).stem
    if len(documents) == 1 and "tasks" in documents[0]:
        body = dict(documents[0])
        tasks = [_task(task, base=_folder(source)) for task in body.pop("tasks") or []]
        order = [tuple(edge) for edge in body.pop("order", [])]
        name = body.pop("name", name)
        if body:
            raise SpecError(f"{source}: {sorted(body)[0]}: no such field; a pipeline has name, tasks and order")
        return Pipeline(name=name, tasks=tuple(tasks), order=tuple(order))
    # SkyPilot's multi-document file: a first document that is only a name, then one document a task.
    if len(documents) > 1 and set(documents[0]) == {"name"}:
        name = documents[0]["name"]
        documents = documents[1:]
    tasks = [
        _task({"name": f"{name}-{number}", **task}, base=_folder(source)) for number, task in enumerate(documents, 1)
    ]
    chain = tuple((first.name, second.name) for first, second in pairwise(tasks))
    return Pipeline(name=name, tasks=tuple(tasks), order=chain)


def _folder(source: str | Path | Mapping[str, Any]) -> Path:
    return Path() if isinstance(source, Mapping) else Path(source).parent


def _read(source: str | Path | Mapping[str, Any]) -> list[dict[str, Any]]:
    if isinstance(source, Mapping):
        return [dict(source)]
    try:
        documents = [document for document in yaml.safe_load_all(Path(source).read_text()) if document is not None]
    except (OSError, yaml.YAMLError) as error:
        raise SpecError(f"{source}: {error}") from None
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise SpecError(f"{source}: not a task or pipeline: each document must be a mapping")
    return documents


def _task(body: Mapping[str, Any], base: Path) -> Task:
    data = dict(body)
    name = str(data.get("name") or "task")
    unknown = sorted(set(data) - TASK_FIELDS)
    if unknown:
        raise SpecError(f"Task.{name}: {unknown[0]}: no such field; there are {', '.join(sorted(TASK_FIELDS))}")
    envs = {
        key: str(os.environ.get(key, "") if value is None else value)
        for key, value in (data.pop("envs", None) or {}).items()
    }
    secrets = data.pop("secrets", None) or ()
    if isinstance(secrets, Mapping) and any(value is not None for value in secrets.values()):
        raise SpecError(f"Task.{name}: secrets: give names only; values are taken from the environment")
    inputs = dict(data.pop("inputs", None) or {})
    setup = data.pop("setup", None)
    for number, (target, origin) in enumerate((data.pop("file_mounts", None) or {}).items()):
        uri = origin["source"] if isinstance(origin, Mapping) else origin
        if "://" not in str(uri):
            raise SpecError(
                f"Task.{name}: file_mounts.{target}: only buckets can be mounted; put local files in workdir"
            )
        inputs[f"mount_{number}"] = Artifact(uri=uri)
        envs[f"SKY_MOUNT_{number}"] = target
        setup = f"{_link(number)}\n{setup or ''}"
    if data.get("workdir"):
        data["workdir"] = str((base / str(data["workdir"])).expanduser().absolute())
    fields = data | {"name": name, "envs": envs, "secrets": tuple(secrets), "inputs": inputs, "setup": setup,
                     "resources": _resources(name, data.get("resources") or {})}  # fmt: skip
    return Task(**{key: value for key, value in fields.items() if value is not None})


def _link(number: int) -> str:
    """Shell lines that put a mounted input where the file says it should be."""
    target = f'"${{SKY_MOUNT_{number}/#\\~/$HOME}}"'
    return f'mkdir -p "$(dirname {target})" && ln -sfn "$SKY_INPUT_MOUNT_{number}" {target}'


def _resources(task: str, body: Mapping[str, Any]) -> Resources:
    data = dict(body)
    choices = data.pop("any_of", None) or data.pop("ordered", None)
    if choices:
        accelerators = [choice["accelerators"] for choice in choices if set(choice) == {"accelerators"}]
        if len(accelerators) != len(choices):
            raise SpecError(f"Task.{task}: resources.any_of: alternatives may differ in accelerators only")
        data["accelerators"] = accelerators
    if "infra" in data:
        parts = [*str(data.pop("infra")).split("/"), "", ""][:3]
        data |= {
            field: part for field, part in zip(("cloud", "region", "zone"), parts, strict=True) if part and part != "*"
        }
    if "image_id" in data:
        data["image"] = data.pop("image_id")
    for field in ("job_recovery", "disk_tier", "autostop"):
        data.pop(field, None)  # how SkyPilot recovers and stops; the broker decides that itself
    if isinstance(data.get("disk_size"), str):
        data["disk_size"] = int(re.sub(r"\D", "", data["disk_size"]))
    if "ports" in data:
        ports = data["ports"] if isinstance(data["ports"], list) else [data["ports"]]
        data["ports"] = tuple(int(port) for port in ports)
    return Resources(**data)
