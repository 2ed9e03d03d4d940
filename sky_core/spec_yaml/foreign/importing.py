"""A file of SkyPilot's (or dstack's) as one of ours, and what became of each of its lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from sky_core.spec import Amount, Objective, OutputRef, Resources, Task
from sky_core.spec_yaml.fields import AS_WRITTEN
from sky_core.spec_yaml.foreign.dstack import from_dstack, is_dstack
from sky_core.spec_yaml.pipeline import Loaded, read_documents_as_pipeline, read_pipeline
from sky_core.spec_yaml.reading import At, Document, read_documents
from sky_core.spec_yaml.variables import Given

Fate = Literal["taken", "changed", "dropped"]
DROPPED = re.compile(r"left out|not run|not read|accepted|standard|all tasks run|do not see|no machine is chosen")
HEAD = "# Written by skyloom import from {}.\n"


@dataclass(frozen=True)
class Line:
    """What became of one line of the file."""

    number: int
    field: str
    fate: Fate
    text: str = ""

    def __str__(self) -> str:
        return f"{self.number}: {self.field}: {self.fate}{': ' if self.text else ''}{self.text}"


def imported(source: Path, given: Given) -> tuple[str, list[Line]]:
    """The file in our form, and what became of its lines, in their order.

    Raises:
        SpecError: in one line, for what cannot be taken.
    """
    documents = read_documents(source, AS_WRITTEN)
    lines: list[Line] = []
    if len(documents) == 1 and is_dstack(documents[0].value):
        task, told = from_dstack(documents[0])
        lines = [Line(_line(documents[0], at), ".".join(map(str, at)), fate, text) for at, fate, text in told]
        renamed = Document(documents[0].file, task, documents[0].lines)
        loaded = read_documents_as_pipeline([renamed], source, _lenient(given, [renamed]))
    else:
        loaded = read_pipeline(source, _lenient(given, documents))
        lines = list(_fates(documents, loaded))
    body = yaml.dump(_ours(loaded, source), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return HEAD.format(source.name) + body, sorted(lines, key=lambda line: line.number)


class _Dumper(yaml.SafeDumper):
    """Writes scripts as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _lenient(given: Given, documents: list[Document]) -> Given:
    """With a name in place of each variable that has no value: an import needs none."""
    bodies = [document.value for document in documents if isinstance(document.value, Mapping)]
    for body in list(bodies):
        tasks = body.get("tasks")
        listed = tasks.values() if isinstance(tasks, Mapping) else tasks or ()
        bodies += [task for task in listed if isinstance(task, Mapping)]
    envs = [body["envs"] for body in bodies if isinstance(body.get("envs"), Mapping)]
    unset = {name: f"${{{name}}}" for each in envs for name, value in each.items() if value is None}
    return Given(given.envs, given.secrets, {**unset, **given.environ})


def _fates(documents: list[Document], loaded: Loaded) -> Iterator[Line]:
    """One for each field that a line begins; a note's text where there is one."""
    notes = {(note.where, note.field): note.text for note in loaded.notes}
    for document in documents:
        for at, value in _fields(document.value, ()):
            field = ".".join(map(str, at))
            short = field.split(".", 2)[-1] if at[0] == "tasks" else field
            text = notes.pop((document.where(at), short), "")
            fate: Fate = "taken" if not text else "dropped" if DROPPED.search(text) else "changed"
            if value is not None or text:
                yield Line(_line(document, at), field, fate, text)
    for (where, field), text in notes.items():  # of fields that are not there
        yield Line(int(where.rstrip(": ").rpartition(":")[2] or 0), field, "changed", text)


def _fields(value: Any, at: At) -> Iterator[tuple[At, Any]]:
    """The fields of tasks and of their resources and mounts, not what lies within them."""
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        way = (*at, key)
        if key == "tasks" and not at:
            pairs = inner.items() if isinstance(inner, Mapping) else enumerate(inner or ())
            for number, task in pairs:
                yield from _fields(task, (*way, number))
        elif key in ("resources", "file_mounts") and isinstance(inner, Mapping):
            yield from (((*way, name), part) for name, part in inner.items())
        else:
            yield way, inner


def _line(document: Document, at: At) -> int:
    while at and at not in document.lines:
        at = at[:-1]
    return document.lines.get(at, 1)


def _ours(loaded: Loaded, source: Path) -> dict[str, Any]:
    """The pipeline as a file of ours says it."""
    pipeline = loaded.pipeline
    base = Path(os.path.abspath(source)).parent
    if len(pipeline.tasks) == 1 and loaded.objective is None:
        return _task(pipeline.tasks[0], base)
    body: dict[str, Any] = {"name": pipeline.name, **_objective(loaded.objective)}
    body["tasks"] = [_task(task, base) for task in pipeline.tasks]
    if pipeline.order:
        body["order"] = [list(edge) for edge in pipeline.order]
    return body


def _objective(objective: Objective | None) -> dict[str, Any]:
    said = objective.model_dump(exclude_unset=True, mode="json") if objective else {}
    return {"budget" if name == "budget_usd" else name: value for name, value in said.items()}


def _task(task: Task, base: Path) -> dict[str, Any]:
    said_below = {"resources", "inputs", "outputs", "mounts", "workdir", "environment"}
    body = task.model_dump(mode="json", exclude_defaults=True, exclude=said_below)
    if task.envs:
        body["envs"] = {name: None if value == f"${{{name}}}" else value for name, value in task.envs.items()}
    if task.workdir:
        body["workdir"] = _path(task.workdir, base)
    if task.environment:
        body["environment"] = "caller" if task.environment == "caller" else _path(task.environment, base)
    if task.secrets:
        body["secrets"] = list(task.secrets)
    resources = _resources(task.resources)
    if resources:
        body["resources"] = resources
    mounts = {path: mount.model_dump(exclude_defaults=True) for path, mount in task.mounts.items()}
    if mounts:
        body["file_mounts"] = {path: _mount(mount, base) for path, mount in mounts.items()}
    inputs = {
        name: str(source) if isinstance(source, OutputRef) else source.model_dump(exclude_none=True)
        for name, source in task.inputs.items()
    }
    outputs = {name: artifact.model_dump(exclude_none=True) for name, artifact in task.outputs.items()}
    return body | {name: value for name, value in (("inputs", inputs), ("outputs", outputs)) if value}


def _mount(mount: dict[str, Any], base: Path) -> Any:
    stores = {"aws": "s3", "gcp": "gcs", "azure": "azure"}
    if mount.get("source"):
        mount["source"] = _path(mount["source"], base)
    if mount.keys() <= {"source"} or mount.keys() <= {"uri"}:
        return mount.get("source") or mount["uri"]
    said = {"name": mount.get("bucket"), "source": mount.get("uri") or mount.get("source")}
    said |= {"store": stores.get(mount.get("store") or ""), "size_gb": mount.get("size_gb")}
    return {name: value for name, value in said.items() if value is not None} | {
        "mode": "MOUNT" if mount.get("write_back") else "COPY"
    }


def _resources(resources: Resources, common: Resources | None = None) -> dict[str, Any]:
    """What is not as it is by itself; of an alternative, what is not as in ``common``."""
    default = common or Resources()
    body: dict[str, Any] = {}
    for name in Resources.model_fields:
        value = getattr(resources, name)
        if name in ("any_of", "ordered"):
            if value:
                body[name] = [_resources(choice, resources.model_copy(update={name: ()})) for choice in value]
        elif value != getattr(default, name):
            body[{"labels": "features", "tags": "labels"}.get(name, name)] = _plain(name, value)
    return body


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Amount):
        if value.per_cpu:
            return f"{value.low:g}x"
        if value.high == float("inf"):
            return f"{value.low:g}+"
        return f"{value.low:g}-{value.high:g}" if value.low != value.high else f"{value.low:g}"
    if name == "accelerators":
        named = [f"{model}:{count:g}" for model, count in value]
        return named[0] if len(named) == 1 else named
    if isinstance(value, tuple):
        return value[0] if len(value) == 1 else list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _path(path: str, base: Path) -> str:
    """A path as the file may say it: below the file's own folder it is relative."""
    relative = os.path.relpath(path, base)
    return path if relative.startswith("..") else relative
