"""The job that a cluster is: its engine, and a command that stays until it is told to end."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from sky_core.errors import SpecError
from sky_core.spec import Task

CALLER = "caller"
CLIENTS = {"dask": "distributed", "ray": "ray"}  # engines that a client elsewhere can use through one port: its package

# In the working folder of the machine that clients reach.
ADDRESS, END = ".skyloom-address", ".skyloom-end"
READY = "[skyloom] the cluster is ready"
STAY = f"""\
echo "$SKY_CLUSTER_ADDRESS" > {ADDRESS}.new && mv {ADDRESS}.new {ADDRESS}
echo '{READY}'
until test -e {END}; do sleep 0.5; done
"""


MADE_HERE = ("run", "function", "inputs", "outputs")  # fields of a task that a cluster makes itself, or has not


def cluster_task(name: str, *, engine: Any, environment: str | None = CALLER, **fields: Any) -> Task:
    """The task that a cluster is.

    Args:
        environment: By default the packages of this process, since client and cluster have to be of one version.
        fields: Others of :class:`sky_core.spec.Task`.

    Raises:
        SpecError: naming the field that is wrong.
    """
    refuse_own(name, fields)
    task = Task(name=name, run=STAY, engine=engine, environment=environment, **fields)
    refuse_no_client(name, task.engine)
    return task


def refuse_own(name: str, fields: Mapping[str, Any]) -> None:
    """See that a cluster is asked for nothing that belongs to a task with a command of its own.

    Raises:
        SpecError: naming the field.
    """
    for field in MADE_HERE:
        if fields.get(field) is not None:
            cure = "a command of its own belongs to a task with an engine: run=… beside engine=…"
            raise SpecError(f"Task.{name}: {field}: a cluster has none", cure=cure)


def refuse_no_client(name: str, engine: Any) -> None:
    """See that there is such a thing as a client of this engine.

    Raises:
        SpecError: if programs can use it only from within the cluster.
    """
    if engine is None or engine.name not in CLIENTS:
        said = "a cluster needs one" if engine is None else f"{engine.name} cannot be used from another host"
        raise SpecError(
            f"Task.{name}: engine: {said}: one of {', '.join(CLIENTS)}",
            cure="run the program itself on the machines: run=… beside engine=…",
        )


def refuse_no_package(task: Task) -> None:
    """See that the engine is installed here, where what is installed here is what the cluster gets.

    Raises:
        SpecError: if it is not.
    """
    assert task.engine is not None
    name, package = task.engine.name, CLIENTS[task.engine.name]
    if task.environment == CALLER and find_spec(package) is None:
        raise SpecError(
            f"Task.{task.name}: engine: {name}: {package} is not installed here, so the cluster would not have it",
            cure=f"pip install 'skyloom[{name}]', or name a file of packages in environment",
        )
