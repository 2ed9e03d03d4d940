"""``@task.sky``: a Python function on the machine that the plan chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import attr
from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, _TaskDecorator

from sky_airflow.exchange import to_references
from sky_airflow.grammar.arguments import refuse_what_stays, wanted
from sky_airflow.grammar.fields import artifacts, build_task
from sky_airflow.grammar.naming import task_name
from sky_airflow.grammar.outputs import to_map_over
from sky_airflow.grammar.partials import check_mapped
from sky_airflow.operators.sky import SkyOperator
from sky_airflow.values import handed_on
from sky_airflow.verdicts import STAND_IN_MODULES, STAND_INS, own_error
from sky_core.broker.calls import RESULT, pack
from sky_core.errors import SpecError, TaskFailed
from sky_core.spec import Artifact, Task

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sky_core.broker import Broker
    from sky_core.store import Job


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
        output_gb: Any = None,
        **kwargs: Any,
    ) -> None:
        if senseless := sorted({"run", "inputs", "outputs"} & set(kwargs)):
            cure = "pass other tasks' outputs as arguments, and return what others need"
            raise SpecError(f"Task.{kwargs.get('task_id')}: {senseless[0]}: not for a function", cure=cure)
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs,
            outputs={RESULT: {"size_gb": output_gb}}, **kwargs,
        )  # fmt: skip
        refuse_what_stays(self.task_id, python_callable, self.op_args, self.op_kwargs)

    def build(self, broker: Broker, context: Context) -> Task:
        """The call pickled into the store, with references to other tasks' outputs as inputs."""
        name = task_name(self.task_id)
        kwargs = {**wanted(self.python_callable, self.op_args, self.op_kwargs, context), **self.op_kwargs}
        payload, inputs = pack(
            self.python_callable, to_references(list(self.op_args)), to_references(kwargs), stand_ins=STAND_INS,
            files=STAND_IN_MODULES,
        )  # fmt: skip
        sha = broker.store.put_payload(payload)
        outputs = artifacts(name, self.declared_outputs)
        return build_task(name, self._said(context), function=sha, inputs=inputs, outputs=outputs)

    def returned(self, job: Job, produced: Mapping[str, Artifact]) -> Any:
        """The function's value where it is small and plain, else the reference to it."""
        parts = self.multiple_outputs or next(self.iter_mapped_dependants(), None) is not None
        value, said = handed_on(self.broker, job, produced[RESULT], self.sky_conn_id, parts=parts)
        if said:
            self.log.warning("%s: %s: sky_airflow.load() brings it into a plain @task", self.task_id, said)
        return value

    def failed(self, job: Job, failure: TaskFailed) -> Exception:
        """What the function itself has raised, where it could be sent here."""
        return own_error(self.broker, job) or failure


class SkyTaskDecorator(_TaskDecorator):  # type: ignore[type-arg]
    """``@task.sky`` itself: what is mapped is checked as everything else is, when the file is parsed."""

    def _expand(self, expand_input: Any, *, strict: bool) -> Any:
        made = super()._expand(to_map_over(expand_input), strict=strict)
        check_mapped(made.operator)  # type: ignore[attr-defined]
        return made


def sky_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """Turn a function into a Sky task: ``@task.sky(requires={"accelerators": ["T4", "Inferentia"]}, hours=1)``."""
    unset: Any = attr.NOTHING  # inferred from the function's annotation

    def decorate(function: Callable[..., Any]) -> Any:
        return SkyTaskDecorator(
            function=function,
            multiple_outputs=unset if multiple_outputs is None else multiple_outputs,
            operator_class=SkyDecoratedOperator,
            kwargs=dict(kwargs),
            decorator_name="task.sky",
        )

    return cast("TaskDecorator", decorate if python_callable is None else decorate(python_callable))
