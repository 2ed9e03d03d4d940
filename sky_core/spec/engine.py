"""The engine that makes one computer of a task's machines: its name, and what may be said of it beside.

Each is started by its own launcher (:mod:`sky_core.remote.agent.engines`), in the version that the task's environment
has; nothing is installed for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from sky_core.errors import SpecError
from sky_core.spec.values import Spec, did_you_mean

Count = Annotated[int, Field(ge=1)]


def _memory(pattern: str, example: str) -> AfterValidator:
    """What an engine's own reader of amounts takes, so that a slip is met here and not on machines."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value, re.IGNORECASE) is None:
            raise ValueError(f"{value!r} is no amount of memory; write e.g. {example!r}")
        return value

    return AfterValidator(check)


def _written(value: Any) -> Any:
    """Numbers and truths as Spark's own files write them."""
    if not isinstance(value, Mapping):
        return value
    texts = {True: "true", False: "false"}
    return {
        key: texts[one] if isinstance(one, bool) else str(one) if isinstance(one, int | float) else one
        for key, one in value.items()
    }


# dask.utils.parse_bytes, and the shares of a machine that distributed takes beside
DaskMemory = Annotated[str, _memory(r"auto|\d+(\.\d+)?(e\d+)? ?([kmgtp]i?)?b?", "4GiB")]
# JavaUtils.byteStringAs; a number alone would be bytes
SparkMemory = Annotated[str, _memory(r"\d+[kmgtp]b?", "12g")]


class _Engine(Spec):
    """What all engines have.

    Attributes:
        ready_s: Seconds after which machines that have not joined are waited for no longer.
    """

    ready_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0


class Torchrun(_Engine):
    """``torchrun``: the command as so many processes on each machine, which find each other by ``env://``.

    Attributes:
        processes: For each machine; None is one for each accelerator, or one without.
    """

    name: Literal["torchrun"] = "torchrun"
    processes: Count | None = None


class Jax(_Engine):
    """JAX: the command once on each machine, where ``jax.distributed.initialize()`` needs no arguments."""

    name: Literal["jax"] = "jax"


class Mpi(_Engine):
    """``mpirun`` of MPICH or Open MPI: the command as ranks on all machines.

    Attributes:
        processes: For each machine; None is one for each accelerator, or for each CPU without.
    """

    name: Literal["mpi"] = "mpi"
    processes: Count | None = None


class Ray(_Engine):
    """A Ray cluster; the command is run on rank 0, where ``ray.init()`` finds it.

    Attributes:
        num_cpus: CPUs that each machine offers to tasks; None is all that Ray finds.
    """

    name: Literal["ray"] = "ray"
    num_cpus: Count | None = None


class Dask(_Engine):
    """A Dask cluster; the command is run on rank 0, where ``Client()`` finds it.

    Attributes:
        workers: Worker processes on each machine.
        threads: Threads of each; None is a share of the machine's CPUs.
        memory: Of each, as Dask spells it (``"4GiB"``); None is a share of the machine's.
    """

    name: Literal["dask"] = "dask"
    workers: Count = 1
    threads: Count | None = None
    memory: DaskMemory | None = None


class Spark(_Engine):
    """A standalone Spark cluster; the command is run on rank 0, where ``SparkSession.builder.getOrCreate()`` finds it.

    Attributes:
        cores: CPUs that each machine offers; None is all of them.
        memory: Memory that each machine offers, as Spark spells it (``"12g"``); None is what Spark takes.
        conf: Lines of ``spark-defaults.conf``.
    """

    name: Literal["spark"] = "spark"
    cores: Count | None = None
    memory: SparkMemory | None = None
    conf: Annotated[Mapping[str, str], BeforeValidator(_written)] = Field(default_factory=dict)


ENGINES: Mapping[str, type[_Engine]] = {
    model.model_fields["name"].default: model for model in (Torchrun, Mpi, Ray, Dask, Spark, Jax)
}
ELASTIC = frozenset({"torchrun", "ray", "dask"})  # machines may come and go while the command goes on
SPREAD = frozenset({"torchrun", "jax"})  # every rank runs the command; with the others rank 0 does, for all


def parse_engine(value: Any) -> Any:
    """``"ray"``, or a mapping with its name and options.

    Raises:
        ValueError: if there is no such engine, or it has no such option; an option's name comes first then.
    """
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        return value  # which the field's type refuses
    known = ", ".join(ENGINES)
    if "name" not in value:
        raise ValueError(f"its name is missing: one of {known}; write e.g. {{name: dask, workers: 2}}")
    name = str(value["name"])
    if name not in ENGINES:
        hint = did_you_mean(name, ENGINES)
        raise ValueError(f"{name!r} is no engine: one of {known}{f'; {hint}' if hint else ''}")
    kind = ENGINES[name]
    for option in set(value) - kind.model_fields.keys():
        there = ", ".join(sorted(kind.model_fields.keys() - {"name"}))
        hint = did_you_mean(option, kind.model_fields)
        raise ValueError(f"{name} has no option {option!r}: it has {there}{f'; {hint}' if hint else ''}")
    try:
        return kind(**value)
    except SpecError as error:
        raise ValueError(str(error.args[0]).partition(": ")[2]) from None


Engine = Annotated[Torchrun | Mpi | Ray | Dask | Spark | Jax, BeforeValidator(parse_engine)]
