"""What files may say, for people (docs/yaml.md) and for editors (a JSON schema), both made of the schema itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, TypeAdapter

from sky_core.spec_yaml.fields import (
    ArtifactFields,
    GitFields,
    PipelineFields,
    PipelineHead,
    RecoveryFields,
    ResourceFields,
    StorageFields,
    TaskFields,
)

HEAD = """# Task files

A file holds one task; or several documents, which are a chain; or a mapping with `tasks`. It has SkyPilot's fields
([its own page](https://docs.skypilot.co/en/latest/reference/yaml-spec.html)) and some of Skyloom's own: *own* and
*SkyPilot* below say which are not shared. `skyloom plan` and `skyloom run` tell, as a note each, what is not done as it
is written; `skyloom import FILE` writes Skyloom's form of a file and says line by line what was changed.

- Scalars are those of YAML 1.2: `12:30`, `on` and `1_000` are text. In `envs`, `secrets` and `labels` a value is what
  the file says, letter for letter.
- A key that stands twice is refused, and so is a field that is not below. A field without a value is as if it were not
  there, except in `envs` and `secrets`.
- `${NAME}` stands for the value in `envs` in workdir, file_mounts, resources, inputs and outputs.
- Scripts find SkyPilot's variables (`SKYPILOT_NODE_RANK`, `SKYPILOT_NUM_NODES`, `SKYPILOT_NODE_IPS`,
  `SKYPILOT_NUM_GPUS_PER_NODE`, `SKYPILOT_TASK_ID`, `SKYPILOT_CLUSTER_INFO` and those of setup) beside
  [Skyloom's](execution.md), and their working folder at `~/sky_workdir`, too.
- A mounted bucket is copied to the machine when the job starts. Unless its mode is COPY, what the job has written is
  sent back every 20 s or more (at most 5% of the time) and once the command has ended, however it has; what it has
  removed is removed there, too. Each machine of a gang sends what it wrote itself. Links to folders stay behind.

An editor that knows YAML schemas takes the one that `skyloom import --json-schema` prints.
"""
PARTS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("A task", "", TaskFields),
    ("resources", "Of each machine.", ResourceFields),
    ("job_recovery", "Of `resources`.", RecoveryFields),
    ("A storage mount", "A value of `file_mounts` that is more than a path or a URI.", StorageFields),
    ("A repository as workdir", "", GitFields),
    ("An input or output", "A value of `inputs` or `outputs` that is more than a URI or task.output.", ArtifactFields),
    ("A pipeline", "Beside `tasks`, or in a first document before those of the tasks.", PipelineFields),
)
WHOSE = {"skyloom": " *(own)*", "skypilot": " *(SkyPilot)*", "both": ""}


def page() -> str:
    """docs/yaml.md."""
    return "\n".join([HEAD, *(_section(*part) for part in PARTS)])


def _section(title: str, text: str, model: type[BaseModel]) -> str:
    rows = [f"## {title}\n", *([f"{text}\n"] if text else []), "| Field | Meaning | Example |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        whose = WHOSE[str(extra["of"])] if isinstance(extra, dict) else ""
        meaning = (field.description or "").replace("|", "\\|")
        example = str((field.examples or [""])[0]).replace("|", "\\|")
        rows.append(f"| `{name}`{whose} | {meaning} | `{example}` |")
    return "\n".join([*rows, ""])


def json_schema() -> dict[str, Any]:
    """A JSON schema of one document: a pipeline of named tasks, a task, or a head."""
    schema = TypeAdapter[Any](PipelineFields | TaskFields | PipelineHead).json_schema()
    tasks = schema["$defs"]["PipelineFields"]["properties"]["tasks"]
    task = {"$ref": "#/$defs/TaskFields"}
    tasks["anyOf"] = [{"type": "array", "items": task}, {"type": "object", "additionalProperties": task}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Skyloom task file", **schema}
