"""``@sky``: a flow that runs as a whole on a machine planned for it, whoever calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.flows import InfrastructureBoundFlow, bind_flow_to_infrastructure

from sky_prefect.pool.configuration import SkyJobConfiguration
from sky_prefect.pool.worker import SkyWorker

P = ParamSpec("P")
R = TypeVar("R")

JOB_VARIABLES = frozenset({"minimize", "deadline", "budget_usd"})


def sky(
    work_pool: str, env: Mapping[str, str] | None = None, **needs: Any
) -> Callable[[Flow[P, R]], InfrastructureBoundFlow[P, R]]:
    """Bind a flow to a work pool of type ``skyloom``, which is made if it is missing; goes above ``@flow``.

    Args:
        env: Variables of the flow run's process; they reach its machine sealed.
        needs: As ``@resources`` takes them, with ``minimize``, ``deadline`` and ``budget_usd`` of the flow run.

    >>> @sky(work_pool="clouds", cpus="8+", hours=2, minimize="time")
    ... @flow
    ... def nightly(): ...

    Raises:
        SpecError: for a field that does not exist or a value that cannot be meant, when the file is loaded.
    """
    said = {name: value for name, value in needs.items() if name in JOB_VARIABLES}
    variables = {**said, "resources": {name: value for name, value in needs.items() if name not in JOB_VARIABLES}}
    if env:
        variables["env"] = dict(env)
    configuration = SkyJobConfiguration(**variables)
    configuration.pipeline()  # says at once what is wrong
    assert configuration.objective

    def bind(flow: Flow[P, R]) -> InfrastructureBoundFlow[P, R]:
        return bind_flow_to_infrastructure(flow, work_pool, job_variables=variables, worker_cls=SkyWorker)

    return bind
