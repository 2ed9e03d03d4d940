"""What a user asks for: resources, artifacts, tasks and pipelines.

Frozen models without I/O, validated on construction. A mistake raises :class:`~sky_core.errors.SpecError`
whose message names the field. Units: hours, GB (10^9 bytes) for data, GiB for memory and disks, USD.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from sky_core.errors import SpecError

NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_.\-\[\]]{0,199}$")
ENV_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
AMOUNT = re.compile(r"^(?P<low>\d+(?:\.\d+)?)(?:(?P<plus>[+x])|-(?P<high>\d+(?:\.\d+)?))?$")
DURATION = re.compile(r"^(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>s|m|h|d)$")
HOURS_PER_UNIT = {"s": 1 / 3600, "m": 1 / 60, "h": 1.0, "d": 24.0}


class Spec(BaseModel):
    """Base of all spec models: frozen, no unknown fields, errors that name the field."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise SpecError(_explain(type(self).__name__, data, error)) from None


def _explain(kind: str, data: Mapping[str, Any], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "value"
    label = f"{kind}.{data['name']}" if isinstance(data.get("name"), str) else kind
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if first["type"] == "extra_forbidden":
        message = "no such field"
    return f"{label}: {field}: {message}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A cure for a name that is not known: ``"did you mean run?"``, or "" where none is like it."""
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.65)
    alike = [difflib.SequenceMatcher(None, name, other).ratio() for other in near]
    near = [other for other, ratio in zip(near, alike, strict=True) if ratio > max(alike) - 0.05]
    return f"did you mean {' or '.join(near)}?" if near else ""


def parse_hours(value: str | float | timedelta) -> float:
    """Turn ``"10m"``, ``"1.5h"``, ``timedelta`` or a number of hours into hours.

    Raises:
        ValueError: for anything else, or a duration that is not positive and finite.
    """
    if isinstance(value, timedelta):
        hours = value.total_seconds() / 3600
    elif isinstance(value, str):
        match = DURATION.match(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a duration; write e.g. '30s', '10m', '1.5h' or '2d'")
        hours = float(match["number"]) * HOURS_PER_UNIT[match["unit"]]
    else:
        hours = float(value)
    if not (math.isfinite(hours) and hours > 0):
        raise ValueError(f"a duration must be positive and finite, not {value!r}")
    return hours


Hours = Annotated[float, BeforeValidator(parse_hours)]


def parse_deadline(value: Any) -> Any:
    """A point in time that an ISO text names, else a duration in hours.

    Raises:
        ValueError: if it is neither, or a point in time without a time zone.
    """
    if isinstance(value, str) and DURATION.match(value.strip()) is None:
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(
                f"{value!r} is neither a duration nor a point in time; write e.g. '6h' or '2030-12-01T18:00:00+00:00'"
            ) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a deadline needs a time zone; write e.g. '{value.isoformat()}+00:00'")
        return value
    return parse_hours(value)


Deadline = Annotated[datetime | float, BeforeValidator(parse_deadline)]


def parse_estimate(value: Any) -> Any:
    """Run times as numbers of hours: one, or one for each kind of machine; what is neither stays as it is."""
    if isinstance(value, Mapping):
        return {kind: parse_estimate(hours) for kind, hours in value.items()}
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return parse_hours(value)


class Amount(BaseModel):
    """A required amount: exactly ``low``, at least ``low`` (``high`` = inf), or a range, ends included.

    With ``per_cpu`` it counts for each vCPU of the machine.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")
    low: float
    high: float
    per_cpu: bool = False

    @classmethod
    def parse(cls, value: Any) -> Amount:
        """``8`` and ``"8"`` mean exactly 8, ``"8+"`` at least 8, ``"8-16"`` a range, ``"4x"`` 4 or more a vCPU."""
        if isinstance(value, Amount):
            return value
        if isinstance(value, Mapping):
            return cls.model_validate(value)
        match = AMOUNT.match(str(value).strip())
        if match is None:
            raise ValueError(f"{value!r} is not an amount; write e.g. 8, '8+' or '8-16'")
        low = float(match["low"])
        high = math.inf if match["plus"] else float(match["high"] or low)
        if high < low or high <= 0:
            raise ValueError(f"{value!r} is an empty range")
        return cls(low=low, high=high, per_cpu=match["plus"] == "x")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def _parse_accelerators(value: Any) -> tuple[tuple[str, float], ...]:
    """Normal form of an any-of choice of accelerators: ``(("V100", 4.0), ("tpu-v3-8", 1.0))``."""
    if value is None:
        return ()
    if isinstance(value, str):
        model, _, number = value.partition(":")
        pairs = [(model.strip(), float(number) if number else 1.0)]
    elif isinstance(value, Mapping):
        pairs = [(str(name), float(count)) for name, count in value.items()]
    elif isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[1], int | float):
        pairs = [(str(value[0]), float(value[1]))]
    elif isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        pairs = [pair for item in items for pair in _parse_accelerators(item)]
    else:
        raise ValueError(f"{value!r} is not an accelerator; write e.g. 'V100:4' or ['V100:4', 'tpu-v3-8']")
    for name, count in pairs:
        if not name or not (math.isfinite(count) and count > 0):
            raise ValueError(f"{value!r} is not an accelerator; write e.g. 'V100:4'")
    return tuple(pairs)


def _parse_places(value: Any) -> tuple[str, ...]:
    """One place, a comma-separated list or a list of places, glob patterns allowed (``"eu-*"``)."""
    if value is None:
        return ()
    items = value.split(",") if isinstance(value, str) else list(value)
    return tuple(str(item).strip() for item in items)


Places = Annotated[tuple[str, ...], BeforeValidator(_parse_places)]


class Resources(Spec):
    """What a task needs of each machine.

    ``accelerators`` is an *any of*: ``"V100:4"``, ``{"V100": 4}``, or a list or set of such. ``cpus`` and
    ``memory`` (GiB) take ``8`` (exactly), ``"8+"`` (at least) or ``"8-16"``. ``cloud``, ``region``, ``zone`` and
    ``instance_type`` take one name, several, or glob patterns; ``exclude`` removes places by the same
    patterns (matched against cloud, region and zone). ``labels`` ask for features, e.g.
    ``{"confidential": "sgx"}`` or ``{"confidential": True}`` for any kind of it; ``tags`` are put on the machine.
    ``max_hourly_cost`` is what one machine may cost, USD.

    ``any_of`` are alternatives, ``ordered`` those of which the first is taken that can be had: what one of them says
    stands in place of what is said here.
    """

    accelerators: Annotated[tuple[tuple[str, float], ...], BeforeValidator(_parse_accelerators)] = ()
    cpus: Annotated[Amount, BeforeValidator(Amount.parse)] | None = None
    memory: Annotated[Amount, BeforeValidator(Amount.parse)] | None = None
    instance_type: Places = ()
    cloud: Places = ()
    region: Places = ()
    zone: Places = ()
    exclude: Places = ()
    arch: Literal["x86_64", "arm64"] | None = None
    use_spot: bool = False
    disk_size: Annotated[int, Field(gt=0)] = 64
    image: str | None = None
    ports: tuple[int, ...] = ()
    labels: Mapping[str, str | bool] = Field(default_factory=dict)
    tags: Mapping[str, str] = Field(default_factory=dict)
    max_hourly_cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    any_of: tuple[Resources, ...] = ()
    ordered: tuple[Resources, ...] = ()

    @property
    def alternatives(self) -> tuple[Resources, ...]:
        """What would do, each whole: itself, where it names none."""
        return self.any_of or self.ordered or (self,)

    @property
    def may_use_spot(self) -> bool:
        """Whether any of its alternatives may use spot."""
        return any(wanted.use_spot for wanted in self.alternatives)

    @model_validator(mode="before")
    @classmethod
    def _whole_alternatives(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not (data.get("any_of") or data.get("ordered")):
            return data
        if data.get("any_of") and data.get("ordered"):
            raise ValueError("any_of: give any_of or ordered, not both")
        common = {key: value for key, value in data.items() if key not in ("any_of", "ordered")}
        whole = {
            field: tuple(
                Resources(**{**common, **choice}) if isinstance(choice, Mapping) else choice
                for choice in data.get(field) or ()
            )
            for field in ("any_of", "ordered")
        }
        return {**common, **whole}

    @field_validator("cpus")
    @classmethod
    def _cpus_count(cls, value: Amount | None) -> Amount | None:
        if value is not None and value.per_cpu:
            raise ValueError("only memory is counted for each vCPU; write e.g. 8 or '8+'")
        return value

    @field_validator("cloud")
    @classmethod
    def _lower_case(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Custom rows (on-premises) bring clouds of their own; the planner rejects what no row has.
        return tuple(item.lower() for item in value)


class Artifact(Spec):
    """Data a task reads or writes, a file or a folder of an object store.

    ``uri`` is a full URI of s3, gs, az (``az://account/container/path``) or file, or None for the task's own
    bucket in the cloud it lands on (``sky://``). ``size_gb`` (GB) is what planning charges egress for.
    ``location`` (``"aws/us-east-1"``) says where a given ``uri`` lives, where its bucket does not tell.
    """

    uri: str | None = None
    size_gb: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    location: str | None = None

    @field_validator("uri")
    @classmethod
    def _full_uri(cls, value: str | None) -> str | None:
        if value is not None and "://" not in value:
            raise ValueError(f"{value!r} is not a URI; write e.g. 's3://bucket/path', or 'task.output' as an input")
        return value


class Mount(Spec):
    """What lies at a path of the machine when setup begins: a bucket's content, a local file or folder, or both.

    ``uri`` is as in :class:`Artifact`; instead of it ``bucket`` names a bucket that is found or made, in the object
    store of the cloud ``store`` (None: of the first that may be used). A local ``source`` is packed when the job is
    submitted. With ``write_back`` what the job writes there is in the bucket when it ends, and every now and then
    before.
    """

    uri: str | None = None
    bucket: str | None = None
    store: str | None = None
    source: str | None = None
    write_back: bool = False
    size_gb: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _from_somewhere(self) -> Mount:
        if not (self.uri or self.bucket or self.source):
            raise ValueError("source: give a bucket's URI or a local path")
        if self.write_back and not (self.uri or self.bucket):
            raise ValueError("write_back: only to a bucket")
        return self


class OutputRef(Spec):
    """One output of another task of the same pipeline, used as an input: a data edge."""

    task: str
    output: str

    def __str__(self) -> str:
        return f"{self.task}.{self.output}"


def _parse_input(value: Any) -> Any:
    if isinstance(value, str):
        if "://" in value:
            return Artifact(uri=value)
        task, dot, output = value.rpartition(".")
        if not dot:
            raise ValueError(f"{value!r} is neither a URI nor 'task.output'")
        return OutputRef(task=task, output=output)
    if isinstance(value, Mapping):
        return OutputRef(**value) if "task" in value else Artifact(**value)
    return value


Input = Annotated[Artifact | OutputRef, BeforeValidator(_parse_input)]
Output = Annotated[Artifact, BeforeValidator(lambda v: Artifact(**v) if isinstance(v, Mapping) else v)]


class Checkpoint(Spec):
    """How ``$SKY_CHECKPOINT_DIR`` is kept: synced every ``interval`` hours, the last ``keep`` kept.

    ``interval`` None: chosen by Young/Daly from the measured checkpoint time and preemption rate.
    """

    interval: Hours | None = None
    keep: Annotated[int, Field(ge=1)] = 2


def _parse_checkpoint(value: Any) -> Any:
    if value is True:
        return Checkpoint()
    if value is False:
        return None
    if isinstance(value, str | int | float | timedelta):
        return Checkpoint(interval=value)
    return value


HoursFunction = Callable[[Resources], float | None]  # None: the task cannot run there


class Task(Spec):
    """One coarse step of a pipeline: a shell command (or a stored function) on a cluster of ``num_nodes`` machines.

    ``run`` sees ``$SKY_INPUT_<NAME>`` and ``$SKY_OUTPUT_<NAME>`` (a path for each input and output),
    ``$SKY_CHECKPOINT_DIR``, ``$SKY_NODE_RANK``, ``$SKY_NUM_NODES``, ``$SKY_NODE_IPS`` and ``envs``. ``secrets``
    names variables whose values are taken from the submitter's environment (else from ``secret_values``, which are
    stored nowhere) and sealed with the team key. ``workdir`` is packed when the job is submitted. ``mounts`` says
    what lies at which path of the machine.
    ``function`` is the SHA-256 of a pickled call in the store (set by the engines instead of ``run``).

    ``hours`` estimates the run time on one candidate: a number; a mapping from accelerator
    (``"V100:4"``, ``"V100"``) or instance type to hours; or a function of the candidate's
    :class:`Resources` (one accelerator, one instance type, one place). None means "not known" and counts one
    hour, as in the dissertation (section 4.1.3), unless the history of past runs knows better.

    ``deadline`` is when the task has to be done: hours after its submission (when all it needs is there), a duration,
    or an aware datetime. With ``use_spot`` and ``checkpoint`` a spot policy leads the task to it.

    ``max_attempts`` is after how many launches in a row on which the command did not even start to run the task fails;
    None means what the settings say (8). ``budget_usd`` is what it may cost at most, all attempts together: a launch
    that would exceed it is not made.
    """

    name: str
    run: str | None = None
    function: str | None = None
    setup: str | None = None
    workdir: str | None = None
    envs: Mapping[str, str] = Field(default_factory=dict)
    secrets: Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)] = ()
    secret_values: Mapping[str, SecretStr] = Field(default_factory=dict, exclude=True, repr=False)
    num_nodes: Annotated[int, Field(ge=1)] = 1
    resources: Resources = Resources()
    inputs: Mapping[str, Input] = Field(default_factory=dict)
    outputs: Mapping[str, Output] = Field(default_factory=dict)
    mounts: Mapping[str, Mount] = Field(default_factory=dict)
    hours: Annotated[float | Mapping[str, float] | HoursFunction | None, BeforeValidator(parse_estimate)] = None
    checkpoint: Annotated[Checkpoint | None, BeforeValidator(_parse_checkpoint)] = None
    deadline: Deadline | None = None
    max_attempts: Annotated[int, Field(ge=1)] | None = None
    budget_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not NAME.match(value):
            raise ValueError(
                f"{value!r} is not a task name: letters, digits, '_', '-', '.', at most 200, starting with a letter"
            )
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
        return self

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


class Objective(Spec):
    """What a plan minimizes, and within which limits (the whole pipeline's makespan, hours; its cost, USD).

    ``"cost*time"`` is Cloud-Conductor's value: the plan whose cost times makespan is least.
    """

    minimize: Literal["cost", "time", "cost*time"] = "cost"
    deadline: Deadline | None = None
    budget_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    def deadline_hours(self, now: datetime | None = None) -> float | None:
        """Hours from ``now`` to the deadline, or None.

        Raises:
            SpecError: if the deadline is in the past.
        """
        if self.deadline is None or isinstance(self.deadline, float):
            return self.deadline
        hours = (self.deadline - (now or datetime.now(UTC))).total_seconds() / 3600
        if hours <= 0:
            raise SpecError(f"Objective: deadline: {self.deadline.isoformat()} is in the past")
        return hours


class Pipeline(Spec):
    """Tasks and their edges: data edges from inputs that are outputs, order edges ``(upstream, downstream)``."""

    name: str = "pipeline"
    tasks: tuple[Task, ...]
    order: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> Pipeline:
        if not self.tasks:
            raise ValueError("tasks: a pipeline needs at least one task")
        tasks: dict[str, Task] = {}
        for task in self.tasks:
            if task.name in tasks:
                raise ValueError(f"tasks: two tasks are called {task.name!r}")
            tasks[task.name] = task
        for task in self.tasks:
            for input_name, source in task.inputs.items():
                if isinstance(source, OutputRef):
                    _check_source(task, input_name, source, tasks.get(source.task))
        for edge in self.order:
            for end in edge:
                if end not in tasks:
                    raise ValueError(f"order: {edge[0]} >> {edge[1]} names {end!r}, which is no task of this pipeline")
        self._reject_cycle()
        return self

    def _reject_cycle(self) -> None:
        import networkx as nx

        graph = nx.DiGraph(self.edges())
        if not nx.is_directed_acyclic_graph(graph):
            cycle = [edge[0] for edge in nx.find_cycle(graph)]
            raise ValueError(f"tasks: the pipeline has a cycle: {' -> '.join([*cycle, cycle[0]])}")

    def task(self, name: str) -> Task:
        """The task of that name."""
        return next(task for task in self.tasks if task.name == name)

    def data_edges(self) -> dict[tuple[str, str], float]:
        """GB that flow from each upstream to each downstream task; unknown sizes count 0."""
        edges: dict[tuple[str, str], float] = {}
        tasks = {task.name: task for task in self.tasks}
        for task in self.tasks:
            for source in task.inputs.values():
                if isinstance(source, OutputRef):
                    size = tasks[source.task].outputs[source.output].size_gb or 0.0
                    edges[source.task, task.name] = edges.get((source.task, task.name), 0.0) + size
        return edges

    def edges(self) -> list[tuple[str, str]]:
        """All edges, data and order, each once."""
        return list(dict.fromkeys([*self.data_edges(), *self.order]))


def _check_source(task: Task, input_name: str, source: OutputRef, producer: Task | None) -> None:
    where = f"tasks.{task.name}.inputs.{input_name}"
    if producer is None:
        raise ValueError(f"{where}: {source} is nobody's output: there is no task {source.task!r}")
    if source.output not in producer.outputs:
        raise ValueError(
            f"{where}: {source} is nobody's output: {source.task} has {sorted(producer.outputs) or 'no outputs'}"
        )
