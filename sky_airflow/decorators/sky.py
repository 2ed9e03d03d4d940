"""``@task.sky``: a Python function on the machine that the plan chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from sky_airflow.dags import artifacts, build_task
from sky_airflow.exchange import to_references, to_xcom
from sky_airflow.operators.sky import SkyOperator
from sky_core.broker.calls import RESULT, pack
from sky_core.spec import Artifact, Task

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.store import Job

XCOM_BYTES = 48_000  # pickled; a larger value stays in its cloud and XCom gets the reference


class SkyDecoratedOperator(DecoratedOperator, SkyOperator):
    """The operator behind ``@task.sky``. Arguments that are outputs of Sky tasks are loaded on the machine:
    another function's value as that value, a command's output as a :class:`pathlib.Path`.
    """

    custom_operator_name = "@task.sky"
    template_fields: Sequence[str] = (*SkyOperator.template_fields, "op_args", "op_kwargs")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **SkyOperator.template_fields_renderers,
        **DecoratedOperator.template_fields_renderers,
    }

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Any,
        op_kwargs: Any,
        output_gb: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs,
            outputs={RESULT: Artifact(size_gb=output_gb)}, **kwargs,
        )  # fmt: skip

    def build(self, broker: Broker, name: str) -> Task:
        """The call pickled into the store, with references to other tasks' outputs as inputs."""
        args, kwargs = to_references(list(self.op_args)), to_references(dict(self.op_kwargs))
        payload, inputs = pack(self.python_callable, args, kwargs)
        sha = broker.store.put_payload(payload)
        return build_task(name, vars(self), function=sha, inputs=inputs, outputs=artifacts(self.declared_outputs))

    def returned(self, job: Job, produced: Mapping[str, Artifact]) -> Any:
        """The function's value where it is small and plain JSON, else the reference to it."""
        import json

        if "value" in job.result and len(self.broker.store.payload(job.result["value"])) <= XCOM_BYTES:
            value = self.broker.value(job)
            try:
                json.dumps(value)
            except (TypeError, ValueError):
                pass
            else:
                return value
        return to_xcom(job.id, produced[RESULT])


def sky_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """Turn a function into a Sky task: ``@task.sky(requires={"accelerators": ["T4", "Inferentia"]}, hours=1)``."""
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=SkyDecoratedOperator,
        **kwargs,
    )
