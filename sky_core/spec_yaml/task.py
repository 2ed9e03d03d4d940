"""From one mapping of a file to a :class:`~sky_core.spec.Task`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from sky_core.errors import SpecError
from sky_core.spec import ENV_NAME, NAME, Artifact, Resources, Task
from sky_core.spec_yaml.fields import ArtifactFields, GitFields, RecoveryFields, ResourceFields, TaskFields
from sky_core.spec_yaml.machines import resources_of
from sky_core.spec_yaml.mounts import mounts_of
from sky_core.spec_yaml.reading import At, Document
from sky_core.spec_yaml.slips import Slip, checked, refusal
from sky_core.spec_yaml.variables import Given, replaced, text_of

REFUSED = {
    "service": (
        "Skyloom runs jobs to their end and does not serve",
        "take service out to run it as one long job with a deadline, or serve it elsewhere",
    ),
    "pool": (
        "Skyloom keeps no pool of machines",
        "take pool out and add run: each task gets machines of its own, and a mapped task as many as it has items",
    ),
    "volumes": (
        "disks that outlive a job are not kept",
        "keep the data in a bucket: file_mounts: {/mnt/data: {name: my-bucket, mode: MOUNT}}",
    ),
}
ACCEPTED = {
    "config": "not read ({}); settings are in config.toml",
    "experimental": "not read ({}); settings are in config.toml",
    "api_server_access": "left out: there is no such server",
    "event_callback": "not run; skyloom logs and the engine's callbacks tell what happens",
}
SAME = ("name", "run", "setup", "num_nodes", "engine", "elastic", "hours", "checkpoint", "deadline", "max_attempts",
        "budget_usd", "keep", "cluster")  # fmt: skip
SUBSTITUTED = ("workdir", "file_mounts", "resources", "inputs", "outputs")  # where ${NAME} stands for a value


@dataclass(frozen=True)
class Note:
    """What is made of a field that is not done as it is written."""

    where: str
    task: str
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}Task.{self.task}: {self.field}: {self.text}"


@dataclass
class TaskReader:
    """Reads the tasks of one document.

    Attributes:
        base: The folder that relative paths start at.
        notes: Filled with what is not done as it is written.
    """

    document: Document
    base: Path
    given: Given
    notes: list[Note] = field(default_factory=list)

    def task(self, body: Any, at: At, name: str) -> Task:
        """The task that stands at that place; ``name`` is its name where it says none.

        Raises:
            SpecError: in one line.
        """
        said = body.get("name") if isinstance(body, Mapping) else None
        self._name, self._at = str(said or name), at
        if not isinstance(body, Mapping):
            raise self._refusal((), "a task is a mapping", "write name, run and what else it needs")
        for field_name, (why, cure) in REFUSED.items():
            if body.get(field_name):
                raise self._refusal((field_name,), why, cure)
        body = self._substituted(body)
        fields = checked(TaskFields, body, self.document, at, self._name)
        try:
            return self._made(fields, body)
        except Slip as slip:
            raise self._refusal(slip.at, str(slip), slip.cure) from None
        except SpecError as error:
            raise self._placed(error) from None

    def _refusal(self, at: At, message: str, cure: str = "") -> SpecError:
        return refusal(self.document, (*self._at, *at), self._name, message, cure)

    def _placed(self, error: SpecError) -> SpecError:
        """An error of the models, ``Task.name: field: …`` or ``Resources: field: …``, with its place."""
        who, _, rest = str(error.args[0]).partition(": ")
        way, _, message = rest.partition(": ")
        if not message or who.startswith(str(self.document.file) + ":"):
            return error
        at = ("resources",) if who.startswith("Resources") else ("file_mounts",) if who.startswith("Mount") else ()
        return self._refusal((*at, *way.split(".")), message, error.cure)

    def note(self, field_name: str, text: str) -> None:
        """Tell what is made of a field."""
        where = self.document.where((*self._at, *field_name.split(".")))
        self.notes.append(Note(where, self._name, field_name, text))

    def _substituted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The mapping with ``${NAME}`` replaced where it stands for text."""
        envs = body.get("envs")
        values = {str(name): text_of(value) for name, value in envs.items()} if isinstance(envs, Mapping) else {}
        known = {**self.given.environ, **values, **self.given.envs} if values or self.given.envs else {}
        known = {name: value for name, value in known.items() if name in values or name in self.given.envs}
        if isinstance(envs, Mapping):
            for name, value in envs.items():
                if value is None and name not in self.given.envs and name in self.given.environ:
                    known[str(name)] = self.given.environ[name]
        data = dict(body)
        for name in SUBSTITUTED:
            missing: set[str] = set()
            if name in data:
                data[name] = replaced(data[name], known, missing)
            if missing and name in ("workdir", "file_mounts"):
                first = min(missing)
                raise self._refusal(
                    (name,), f"${{{first}}} has no value", f"add {first} to envs, or give --env {first}=value"
                )
        return data

    def _made(self, fields: TaskFields, body: Mapping[str, Any]) -> Task:
        data: dict[str, Any] = {name: value for name in SAME if (value := getattr(fields, name)) is not None}
        data["name"] = self._plain_name()
        for name, text in ACCEPTED.items():
            if value := getattr(fields, name):
                self.note(name, text.format(", ".join(value) if isinstance(value, dict) else ""))
        if fields.run is None:
            self._nothing_to_run(fields, data)
        data |= self.given.warm
        data["envs"] = self._envs(fields)
        data |= self._secrets(fields)
        data["resources"] = self._resources(fields)
        data |= self._restarts(fields, data)
        data |= self._workdir(fields, data)
        if fields.environment:
            data["environment"] = environment_at(fields.environment, self.base)
        try:
            data["mounts"] = mounts_of(fields.file_mounts or {}, self.base, self.note)
        except Slip as slip:
            slip.at = ("file_mounts", *slip.at)
            raise
        data["inputs"] = {name: self._input(value) for name, value in self._named(fields.inputs or {}, "input")}
        outputs = self._named(self._written(fields.outputs or {}), "output")
        data["outputs"] = {name: self._output(value) for name, value in outputs}
        return Task(**data)

    def _plain_name(self) -> str:
        if NAME.match(self._name):
            return self._name
        plain = re.sub(r"[^A-Za-z0-9_.\-]+", "-", self._name).strip("-")[:200]
        plain = plain if NAME.match(plain) else f"task-{plain}".rstrip("-")
        self.note("name", f"called {plain!r} here: letters, digits, '_', '-' and '.', starting with a letter")
        return plain

    def _nothing_to_run(self, fields: TaskFields, data: dict[str, Any]) -> None:
        if all(said is None for said in (fields.setup, fields.resources, fields.workdir, fields.file_mounts)):
            raise Slip(("run",), "a task needs a command to run", "add run: followed by a shell command")
        self.note("run", "there is none: the task ends when its machine is set up, and the machine with it")
        data["run"] = ""

    def _envs(self, fields: TaskFields) -> dict[str, str]:
        found = {}
        for name, value in {**(fields.envs or {}), **self.given.envs}.items():
            if not ENV_NAME.match(name):
                raise Slip(
                    ("envs", name), f"{name!r} is not a name of an environment variable", "letters, digits and '_'"
                )
            if value is None and name not in self.given.environ:
                raise Slip(("envs", name), "has no value", f"give --env {name}=value, or set {name} in the environment")
            found[name] = self.given.environ[name] if value is None else text_of(value)
        return found

    def _secrets(self, fields: TaskFields) -> dict[str, Any]:
        said = fields.secrets or {}
        names = [said] if isinstance(said, str) else list(said)
        values = (
            {name: str(value) for name, value in said.items() if value is not None} if isinstance(said, dict) else {}
        )
        names += [*(fields.managed_secrets or []), *self.given.secrets]
        for name in names:
            if not ENV_NAME.match(name):
                raise Slip(
                    ("secrets",), f"{name!r} is not a name of an environment variable", "letters, digits and '_'"
                )
        for name in values:
            self.note(f"secrets.{name}", "the value in the file counts where none is given; it is stored nowhere")
        return {"secrets": tuple(dict.fromkeys(names)), "secret_values": {k: SecretStr(v) for k, v in values.items()}}

    def _resources(self, fields: TaskFields) -> Resources:
        asked = fields.resources or ResourceFields()
        if fields.max_hourly_cost is not None and asked.max_hourly_cost is None:
            asked = asked.model_copy(update={"max_hourly_cost": fields.max_hourly_cost})
        try:
            return resources_of(asked, self.note)
        except Slip as slip:
            slip.at = ("resources", *slip.at)
            raise

    def _restarts(self, fields: TaskFields, data: Mapping[str, Any]) -> dict[str, Any]:
        asked = fields.resources.job_recovery if fields.resources else None
        said: dict[str, Any] = {"restarts": fields.restarts, "restart_on": fields.restart_on}
        if isinstance(asked, RecoveryFields):
            said = {"restarts": asked.max_restarts_on_errors, "restart_on": asked.recover_on_exit_codes}
        if asked is not None and (isinstance(asked, str) or asked.strategy):
            self.note("resources.job_recovery", "the strategy is left out: what follows a preemption is decided anew")
        if isinstance(asked, RecoveryFields) and asked.min_nodes:
            self.note("resources.job_recovery.min_nodes", "left out: all machines of a gang run, or none does")
        found = {name: value for name, value in said.items() if value}
        if found and data.get("num_nodes", 1) > 1:
            self.note("resources.job_recovery", "left out: only the command of a single machine is run again")
            return {}
        return found

    def _workdir(self, fields: TaskFields, data: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(fields.workdir, GitFields):
            setup = f"{_clone(fields.workdir)}\n{data.get('setup', '')}"
            return {"setup": setup}
        if not fields.workdir:
            return {}
        return {"workdir": str((self.base / Path(fields.workdir).expanduser()).absolute())}

    def _named(self, given: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
        """SkyPilot's form says the URI and the size only: ``{s3://bucket/path: 10}``."""
        return [
            (f"{kind}_{number}", ArtifactFields(uri=name, size_gb=float(value)))
            if "://" in name and isinstance(value, int | float)
            else (name, value)
            for number, (name, value) in enumerate(given.items())
        ]

    def _written(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Without folders on the machine of which SkyPilot is told the size: ``{model-dir: 0.1}``."""
        sizes = {name for name, value in given.items() if isinstance(value, int | float) and not ENV_NAME.match(name)}
        for name in (told := {name for name in sizes if "://" not in name}):
            self.note(
                f"outputs.{name}", "left out: a folder there is not kept; write to $SKY_OUTPUT_NAME what is to be"
            )
        return {name: value for name, value in given.items() if name not in told}

    def _input(self, value: Any) -> Any:
        return Artifact(**value.model_dump(exclude_none=True)) if isinstance(value, ArtifactFields) else value

    def _output(self, value: Any) -> Artifact:
        if isinstance(value, ArtifactFields):
            return Artifact(**value.model_dump(exclude_none=True))
        if isinstance(value, int | float):
            return Artifact(size_gb=value)
        return Artifact(uri=value)


def environment_at(environment: str, base: Path) -> str:
    """An environment's file, found from the folder of the task's own; ``caller`` is no file."""
    return environment if environment == "caller" else str((base / Path(environment).expanduser()).absolute())


def _clone(git: GitFields) -> str:
    """Shell lines that put a repository's files into the working folder."""
    import shlex

    url, ref = shlex.quote(git.url), shlex.quote(git.ref or "HEAD")
    return (
        f"git init -q . && git fetch -q --depth 1 {url} {ref} && git checkout -q FETCH_HEAD && "
        "git submodule -q update --init --recursive --depth 1 || exit"
    )
