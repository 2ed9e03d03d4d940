"""One task."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sky_core.errors import SpecError
from sky_core.spec.data import Artifact, Checkpoint, Input, MountSource, Output, OutputRef, _parse_checkpoint
from sky_core.spec.elastic import Changing, Elastic
from sky_core.spec.engine import ELASTIC, SPREAD, Engine, Spark
from sky_core.spec.resources import Resources
from sky_core.spec.values import ENV_NAME, NAME, Deadline, Hours, Spec, one_or_several, parse_estimate

LONGEST_KEEP_H = 24.0  # what is idle for longer was forgotten
HoursFunction = Callable[[Resources], float | None]  # None: the task cannot run there


class Task(Spec):
    """One coarse step of a pipeline: a shell command (or a stored function) on a cluster of ``num_nodes`` machines.

    ``run`` sees ``$SKY_INPUT_<NAME>`` and ``$SKY_OUTPUT_<NAME>`` (a path for each input and output),
    ``$SKY_CHECKPOINT_DIR``, ``$SKY_NODE_RANK``, ``$SKY_NUM_NODES``, ``$SKY_NODE_IPS`` and ``envs``. ``secrets``
    names variables whose values are taken from the submitter's environment (else from ``secret_values``, which are
    stored nowhere) and sealed with the team key. ``workdir`` is packed when the job is submitted. ``mounts`` says
    what lies at which path of the machine.
    ``environment`` (``"uv.lock"``, ``"requirements.txt"``, ``"pyproject.toml"``, ``"caller"``) is made anew on the
    machine, in the versions of that file or of the submitting process, and comes first on ``PATH``.
    ``function`` is the SHA-256 of a pickled call in the store (set by the engines instead of ``run``).

    ``engine`` makes one computer of all machines: ``"torchrun"``, ``"jax"``, ``"mpi"``, ``"ray"``, ``"dask"`` or
    ``"spark"``, or a mapping with its ``name`` and options (:mod:`sky_core.spec.engine`). With ``elastic`` there are
    more or fewer of them, as it pays (:class:`~sky_core.spec.elastic.Elastic`): ``num_nodes`` then is the number of the
    reliable ones, and ``hours`` what the task takes with as many as there may be.

    ``hours`` estimates the run time on one candidate: a number; a mapping from accelerator
    (``"V100:4"``, ``"V100"``) or instance type to hours; or a function of the candidate's
    :class:`Resources` (one accelerator, one instance type, one place). None means "not known" and counts one
    hour, as in the dissertation (section 4.1.3), unless the history of past runs knows better.

    ``deadline`` is when the task has to be done: hours after its submission (when all it needs is there), a duration,
    or an aware datetime. With ``use_spot`` and ``checkpoint`` a spot policy leads the task to it.

    ``max_attempts`` is after how many launches in a row on which the command did not even start to run the task fails;
    None means what the settings say (8). ``budget_usd`` is what it may cost at most, all attempts together: a launch
    that would exceed it is not made. ``restarts`` is how often a command that failed is run again on its machine, and
    ``restart_on`` are exit codes after which it always is; not for gangs, whose machines would not begin together.

    ``keep`` is how long its machines are kept, idle and paid for, once its command has ended: hours, or a duration such
    as ``"30m"``. They are kept under the name ``cluster`` (without it, the task's), and the next task of that cluster
    whose needs they meet runs on them.
    """

    name: str
    run: str | None = None
    function: str | None = None
    setup: str | None = None
    workdir: str | None = None
    environment: str | None = None
    envs: Mapping[str, str] = Field(default_factory=dict)
    secrets: Annotated[tuple[str, ...], BeforeValidator(one_or_several)] = ()
    secret_values: Mapping[str, SecretStr] = Field(default_factory=dict, exclude=True, repr=False)
    num_nodes: Annotated[int, Field(ge=1)] = 1
    engine: Engine | None = None
    elastic: Changing | None = None
    resources: Resources = Resources()
    inputs: Mapping[str, Input] = Field(default_factory=dict)
    outputs: Mapping[str, Output] = Field(default_factory=dict)
    mounts: Mapping[str, MountSource] = Field(default_factory=dict)
    hours: Annotated[float | Mapping[str, float] | HoursFunction | None, BeforeValidator(parse_estimate)] = None
    checkpoint: Annotated[Checkpoint | None, BeforeValidator(_parse_checkpoint)] = None
    deadline: Deadline | None = None
    max_attempts: Annotated[int, Field(ge=1)] | None = None
    budget_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    restarts: Annotated[int, Field(ge=0)] = 0
    restart_on: Annotated[tuple[Annotated[int, Field(ge=1, le=255)], ...], BeforeValidator(one_or_several)] = ()
    keep: Hours | None = None
    cluster: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _reliable_ones(cls, data: Any) -> Any:
        """An elastic task is planned and begun with its reliable machines."""
        elastic = data.get("elastic") if isinstance(data, Mapping) else None
        if isinstance(elastic, Elastic):
            elastic = {"reliable": elastic.reliable}
        if not isinstance(elastic, Mapping) or data.get("num_nodes", 1) != 1:
            return data
        reliable = elastic.get("reliable")
        return {**data, "num_nodes": reliable} if isinstance(reliable, int) and reliable > 0 else data

    @field_validator("name", "cluster")
    @classmethod
    def _plain_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not NAME.match(value):
            what = "task" if info.field_name == "name" else "cluster"
            raise ValueError(
                f"{value!r} is not a {what} name: letters, digits, '_', '-', '.', at most 200, starting with a letter"
            )
        return value

    @field_validator("keep")
    @classmethod
    def _not_forgotten(cls, value: float | None) -> float | None:
        if value is not None and value > LONGEST_KEEP_H:
            raise ValueError(f"machines are kept for {LONGEST_KEEP_H:g} h at most; write e.g. '30m'")
        return value

    @field_validator("resources", mode="before")
    @classmethod
    def _resources(cls, value: Any) -> Any:
        return Resources(**value) if isinstance(value, Mapping) else value

    @field_validator("envs", mode="before")
    @classmethod
    def _envs(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value  # which the field's type refuses
        for name in value:
            if not ENV_NAME.match(str(name)):
                raise ValueError(f"{name!r} is not a name of an environment variable")
        return {str(name): str(content) for name, content in value.items()}

    @field_validator("inputs", "outputs")
    @classmethod
    def _artifact_names(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in value:
            if not ENV_NAME.match(name):
                raise ValueError(f"{name!r} cannot name an input or output: letters, digits and '_' only")
        variables = Counter(name.upper() for name in value)
        if twice := sorted(name for name in value if variables[name.upper()] > 1):
            raise ValueError(f"{' and '.join(twice)} differ by case only and would share one variable; rename one")
        return value

    @field_validator("hours")
    @classmethod
    def _positive_hours(cls, value: Any) -> Any:
        numbers = value.values() if isinstance(value, Mapping) else () if value is None or callable(value) else (value,)
        for number in numbers:
            if not (math.isfinite(number) and number > 0):
                raise ValueError(f"an estimate must be positive and finite, not {number!r}")
        return value

    @model_validator(mode="after")
    def _one_payload(self) -> Task:
        if self.run is None and self.function is None:
            raise ValueError("run: a task needs a command to run")
        if self.run is not None and self.function is not None:
            raise ValueError("run: give a command or a function, not both")
        contained = any(wanted.container for wanted in self.resources.alternatives)
        if self.environment and contained:
            raise ValueError("environment: a container's packages are those of its image; leave one of the two out")
        if self.engine and self.engine.name not in SPREAD and contained:
            raise ValueError(f"engine: {self.engine.name} is not run in containers; name its packages in environment")
        self._as_services_have_it()
        if self.num_nodes > 1 and (self.restarts or self.restart_on):
            raise ValueError("restarts: only for tasks of one machine; let the engine try a gang again")
        if self.elastic:
            self._refuse_what_is_not_elastic(self.elastic)
        return self

    def _as_services_have_it(self) -> None:
        if not any(wanted.managed for wanted in self.resources.alternatives):
            return
        if self.engine and self.engine != Spark():
            raise ValueError("engine: a service's cluster takes 'spark' without options; set them in the program")
        if self.environment or self.function:
            what = "environment" if self.environment else "function"
            raise ValueError(f"{what}: a service's cluster has the Python of its release; let run call spark-submit")
        if self.keep or self.cluster:
            raise ValueError("keep: a service's clusters are not kept for other tasks")

    def _refuse_what_is_not_elastic(self, elastic: Elastic) -> None:
        engine = self.engine.name if self.engine else "none"
        if engine not in ELASTIC:
            able = ", ".join(sorted(ELASTIC))
            raise ValueError(
                f"elastic: needs an engine that goes on when machines come and go: engine {able}, not {engine}"
            )
        if self.num_nodes != elastic.reliable:
            raise ValueError("num_nodes: elastic says how many machines there are; leave num_nodes out")
        if self.restarts or self.restart_on:
            raise ValueError("restarts: only for tasks of one machine; let the engine try a gang again")
        if self.resources.may_use_spot:
            raise ValueError("elastic: buys spot machines by itself, beside reliable ones; leave use_spot out")

    @property
    def warm(self) -> str | None:
        """The cluster whose machines it may run on, and under whose name its own are kept; None without one."""
        return self.cluster or (self.name if self.keep else None)

    @property
    def given(self) -> dict[str, Artifact]:
        """The data that lie somewhere before the pipeline begins: inputs by name, mounted buckets by path."""
        found = {name: source for name, source in self.inputs.items() if isinstance(source, Artifact)}
        buckets = {path: mount for path, mount in self.mounts.items() if mount.uri}
        return found | {path: Artifact(uri=mount.uri, size_gb=mount.size_gb) for path, mount in buckets.items()}

    def output(self, name: str) -> OutputRef:
        """A reference to one of this task's outputs, to be another task's input."""
        if name not in self.outputs:
            raise SpecError(f"Task.{self.name}: outputs: no output {name!r}; it has {sorted(self.outputs) or 'none'}")
        return OutputRef(task=self.name, output=name)

    def hours_to_deadline(self, submitted: datetime) -> float | None:
        """Hours from ``submitted`` to the deadline, or None.

        Raises:
            SpecError: if the deadline had passed by then.
        """
        if self.deadline is None or isinstance(self.deadline, float):
            return self.deadline
        hours = (self.deadline - submitted).total_seconds() / 3600
        if hours <= 0:
            raise SpecError(f"Task.{self.name}: deadline: {self.deadline.isoformat()} is in the past")
        return hours
