"""From a file to a :class:`~sky_core.spec.Pipeline`: its tasks, their order, and what it says of its objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sky_core.errors import SpecError
from sky_core.spec import Objective, Pipeline, Task, did_you_mean
from sky_core.spec_yaml.fields import AS_WRITTEN, HEAD, PipelineFields, PipelineHead, TaskFields
from sky_core.spec_yaml.reading import At, Document, read_documents
from sky_core.spec_yaml.slips import checked, refusal
from sky_core.spec_yaml.task import Note, TaskReader
from sky_core.spec_yaml.variables import Given

ACCEPTED = {
    "primary_tasks": "all tasks run to their end",
    "termination_delay": "all tasks run to their end",
    "inter_connection": "tasks do not see each other's machines",
}


@dataclass(frozen=True)
class Loaded:
    """A file.

    Attributes:
        objective: What it says of its objective; None if it says nothing.
        notes: What is not done as it is written.
        origins: The document of each task, and where in it the task stands.
        given: What was said beside it.
    """

    pipeline: Pipeline
    objective: Objective | None
    notes: tuple[Note, ...]
    origins: Mapping[str, tuple[Document, At]]
    given: Given

    def where(self, message: str) -> str:
        """``"file.yaml:7: "``: the line that a message of planning, ``Task.name: field: …``, is about."""
        name, field = message.removeprefix("Task.").split(": ")[:2] if message.count(": ") > 1 else ("", "")
        if name not in self.origins:
            return ""
        document, at = self.origins[name]
        for field_name in ("infra",) if field in ("cloud", "region", "zone") else ():
            if (*at, "resources", field_name) in document.lines:
                return document.where((*at, "resources", field_name))
        return document.where((*at, "resources", *field.split(".")))


def read_pipeline(source: str | Path, given: Given) -> Loaded:
    """Read a file: one task, several documents, or a mapping with ``tasks``.

    Raises:
        SpecError: in one line, for what is not understood.
    """
    return read_documents_as_pipeline(read_documents(source, AS_WRITTEN), source, given)


def read_documents_as_pipeline(documents: Sequence[Document], source: str | Path, given: Given) -> Loaded:
    """The same of documents that are read; paths start at the folder of ``source``.

    Raises:
        SpecError: as :func:`read_pipeline`.
    """
    if not documents:
        raise SpecError(
            f"{source}: there is nothing in it", cure="a task has at least run: followed by a shell command"
        )
    for document in documents:
        if not isinstance(document.value, Mapping):
            raise SpecError(f"{document.where(())}not a task or pipeline: each document must be a mapping")
    first, base = documents[0], Path(source).parent
    if len(documents) == 1 and "tasks" in first.value:
        return _named_tasks(first, base, given, Path(source).stem)
    if len(documents) > 1 and first.value.keys() <= HEAD:
        head = checked(PipelineHead, first.value, first, (), "")
        return _documents(documents[1:], base, given, head.name or Path(source).stem, first, head)
    name = Path(source).stem
    if len(documents) == 1:
        name = str(first.value.get("name") or name)
    return _documents(documents, base, given, name, None, PipelineHead())


def _documents(
    documents: Sequence[Document], base: Path, given: Given, name: str, first: Document | None, head: PipelineHead
) -> Loaded:
    """A document a task: a chain, unless the head says that they run side by side."""
    tasks: list[Task] = []
    origins: dict[str, tuple[Document, At]] = {}
    notes = _head_notes(first, head, name)
    for number, document in enumerate(documents, 1):
        reader = TaskReader(document, base, given, notes)
        task = reader.task(document.value, (), name if len(documents) == 1 else f"{name}-{number}")
        if any(task.name == other.name for other in tasks):
            task = task.model_copy(update={"name": f"{task.name}-{number}"})
        tasks.append(task)
        origins[task.name] = document, ()
    chain = [] if head.execution == "parallel" else [(one.name, two.name) for one, two in pairwise(tasks)]
    return _made(first or documents[0], name, tasks, chain, head, notes, origins, given)


def _named_tasks(document: Document, base: Path, given: Given, name: str) -> Loaded:
    body = document.value
    if stray := [key for key in body if key in TaskFields.model_fields and key not in PipelineFields.model_fields]:
        raise refusal(document, (stray[0],), "", "is said by each task, not beside tasks", "move it into the tasks")
    fields = checked(PipelineFields, body, document, (), "")
    notes = _head_notes(document, fields, fields.name or name)
    reader = TaskReader(document, base, given, notes)
    named = fields.tasks.keys() if isinstance(fields.tasks, dict) else range(len(fields.tasks))
    tasks = [
        reader.task(body["tasks"][key], ("tasks", key), key if isinstance(key, str) else f"task-{key + 1}")
        for key in named
    ]
    places: list[At] = [("tasks", key) for key in named]
    origins = {task.name: (document, at) for task, at in zip(tasks, places, strict=True)}
    order = _order(fields, tasks, document)
    return _made(document, fields.name or name, tasks, order, fields, notes, origins, given)


def _order(fields: PipelineFields, tasks: Sequence[Task], document: Document) -> list[tuple[str, str]]:
    """``[[a, b], "b >> c >> d"]`` as edges."""
    names = {task.name for task in tasks}
    edges: list[tuple[str, str]] = []
    for number, line in enumerate(fields.order or []):
        chain = [part.strip() for part in line.split(">>")] if isinstance(line, str) else line
        at = ("order", number)
        if len(chain) < 2:
            raise refusal(
                document, at, "", f"{line!r} names no two tasks", "write [[first, second]] or first >> second"
            )
        if unknown := [name for name in chain if name not in names]:
            near = did_you_mean(unknown[0], names)
            raise refusal(document, at, "", f"{unknown[0]!r} is no task of this pipeline", near)
        edges += pairwise(chain)
    return edges


def _head_notes(document: Document | None, head: PipelineHead, name: str) -> list[Note]:
    if document is None:
        return []
    said = [(field, text) for field, text in ACCEPTED.items() if getattr(head, field) is not None]
    return [Note(document.where((field,)), name, field, text) for field, text in said]


def _made(
    document: Document,
    name: str,
    tasks: Sequence[Task],
    order: Sequence[tuple[str, str]],
    head: PipelineHead,
    notes: Sequence[Note],
    origins: Mapping[str, tuple[Document, At]],
    given: Given,
) -> Loaded:
    try:
        pipeline = Pipeline(name=name, tasks=tuple(tasks), order=tuple(order))
        return Loaded(pipeline, _objective(document, head), tuple(notes), origins, given)
    except SpecError as error:
        message = str(error.args[0])
        where = document.where(())
        raise error if message.startswith(where) else SpecError(f"{where}{message}", cure=error.cure) from None


def _objective(document: Document, head: PipelineHead) -> Objective | None:
    if head.budget is not None and head.budget_usd is not None:
        raise refusal(document, ("budget",), "", "budget and budget_usd are the same", "keep one of them")
    said: dict[str, Any] = {
        "minimize": head.minimize,
        "deadline": head.deadline,
        "budget_usd": head.budget if head.budget is not None else head.budget_usd,
    }
    said = {field: value for field, value in said.items() if value is not None}
    try:
        return Objective(**said) if said else None
    except SpecError as error:
        _, field, message = str(error.args[0]).split(": ", 2)
        raise refusal(document, (field.split(".")[0],), "", message, error.cure) from None
