"""What a Prefect task needs of the clouds, said beside the task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from prefect import Task as PrefectTask
from prefect.logging import get_logger

from sky_core import engine_kit
from sky_core.spec import Artifact, Resources, Task
from sky_core.spec.values import parse_estimate
from sky_prefect import compat
from sky_prefect.remote.packing import API

ATTRIBUTE = "__sky_needs__"
RESOURCE_FIELDS = frozenset(Resources.model_fields)
TASK_FIELDS = engine_kit.TASK_FIELDS - {"workdir"}  # a function travels with the modules beside its file
OWN_FIELDS = frozenset({"output_gb"})

logger = get_logger("sky")
Function = TypeVar("Function", bound=Callable[..., Any])
_overrides: ContextVar[Mapping[str, Mapping[str, Any]] | None] = ContextVar("sky_overrides", default=None)


def resources(**needs: Any) -> Callable[[Function], Function]:
    """Let a task run on the cloud that suits the whole flow best; goes below ``@task``.

    Takes the fields of :class:`sky_core.spec.Resources` (accelerators, cpus, memory, region, use_spot, labels, …),
    of :class:`sky_core.spec.Task` (hours, checkpoint, setup, envs, secrets, num_nodes, engine, elastic,
    deadline, max_attempts), and ``output_gb``: how large the task's result is, in GB, which is what planning charges
    egress for.

    >>> @task
    ... @resources(accelerators=["V100:4", "tpu-v3-8"], use_spot=True, hours={"V100:4": 9, "tpu-v3-8": 5.4})
    ... def train(images): ...

    Raises:
        SpecError: for a field that does not exist or a value that cannot be meant, when the flow file is loaded.
    """
    build_task("task", needs)  # says at once what is wrong
    compat.on_delay(_warn_of_delay)

    def mark(function: Function) -> Function:
        target = function.fn if isinstance(function, PrefectTask) else function
        setattr(target, ATTRIBUTE, dict(needs))
        return function

    return mark


def _warn_of_delay(task: PrefectTask[..., Any]) -> None:
    if needs_of(task, {}) is not None:
        told = "it gets them where it is served by sky_prefect.serve, and runs where it is served by anything else"
        logger.warning("the background task %r asks for cloud resources: %s", task.name, told)


@contextmanager
def resources_override(**by_task: Mapping[str, Any]) -> Iterator[None]:
    """Change what tasks need for the calls inside: ``with resources_override(train={"use_spot": False}): …``."""
    token = _overrides.set({**(_overrides.get() or {}), **by_task})
    try:
        yield
    finally:
        _overrides.reset(token)


def needs_of(task: PrefectTask[..., Any], runner: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The task's needs: its decorator's, over them the runner's for its name, over both the context's; None if none."""
    layers = [getattr(task.fn, ATTRIBUTE, None), runner.get(task.name), (_overrides.get() or {}).get(task.name)]
    said = [layer for layer in layers if layer is not None]
    if not said:
        return None
    merged: dict[str, Any] = {}
    for layer in said:
        merged |= layer
    return merged


def timed(hours: Any, times: int) -> Any:
    """An estimate of the hours, as ``@resources`` takes it, of so many calls one after the other."""
    hours = parse_estimate(hours)
    if isinstance(hours, Mapping):
        return {kind: times * each for kind, each in hours.items()}
    if callable(hours):
        return lambda machine: None if (one := hours(machine)) is None else times * one
    return times * hours


def with_secrets(needs: Mapping[str, Any], values: Mapping[str, str]) -> Mapping[str, Any]:
    """The needs with further secrets, by environment variable."""
    if not values:
        return needs
    named = needs.get("secrets", ())
    names = (named,) if isinstance(named, str) else tuple(named)
    given = {**needs.get("secret_values", {}), **values}
    return {**needs, "secrets": (*names, *values), "secret_values": given}


def build_task(name: str, needs: Mapping[str, Any], **fields: Any) -> Task:
    """The spec of a Python task with these needs; its value is its one output.

    Raises:
        SpecError: naming the field that is wrong.
    """
    asked = {key: value for key, value in needs.items() if key in RESOURCE_FIELDS}
    own = {key: value for key, value in needs.items() if key in TASK_FIELDS}
    if isinstance(own.get("envs", {}), Mapping):
        own["envs"] = {**API, **own.get("envs", {})}
    unknown = sorted(set(needs) - RESOURCE_FIELDS - TASK_FIELDS - OWN_FIELDS)
    if unknown:
        own[unknown[0]] = needs[unknown[0]]  # the spec says that there is no such field
    size = needs.get("output_gb")
    spec: dict[str, Any] = {"function": "planned", "outputs": {"result": Artifact(size_gb=size)}}
    return Task(name=name, resources=Resources(**asked), **{**spec, **own, **fields})
