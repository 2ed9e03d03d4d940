"""``SkyOperator.partial(…).expand(…)``: checked when the file is parsed, and with outputs that others can take."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from airflow.sdk.definitions.mappedoperator import MappedOperator, OperatorPartial
from airflow.sdk.definitions.xcom_arg import XComArg

from sky_airflow.dags import check, parameters
from sky_airflow.grammar.fields import loose
from sky_airflow.grammar.foreign import refuse_foreign
from sky_airflow.grammar.limits import refuse_own_limits
from sky_airflow.grammar.literals import refuse_missing
from sky_airflow.grammar.outputs import Outputs, to_map_over
from sky_airflow.grammar.templates import check_syntax


class SkyPartial(OperatorPartial):
    """What ``SkyOperator.partial()`` gives."""

    @classmethod
    def of(cls, made: OperatorPartial) -> SkyPartial:
        """The same with our checks."""
        made._expand_called = True  # it is not the one that is going to be expanded
        kwargs = {name: loose(value) if name in ("inputs", "outputs") else value for name, value in made.kwargs.items()}
        return cls(operator_class=made.operator_class, kwargs=kwargs, params=made.params)

    def _expand(self, expand_input: Any, *, strict: bool) -> MappedOperator:
        if isinstance(expand_input.value, Mapping):
            kinds = ("inputs", "outputs")
            loosened = {name: loose(value) if name in kinds else value for name, value in expand_input.value.items()}
            expand_input = type(expand_input)(loosened)
        operator = super()._expand(to_map_over(expand_input), strict=strict)
        check_mapped(operator)
        # Airflow has no place for what one class of operators has besides.
        operator.outputs = Outputs(operator, parameters(operator).get("outputs"))  # type: ignore[attr-defined]
        return operator


def check_mapped(operator: MappedOperator) -> None:
    """See that a mapped operator can be meant, and that it waits for whatever it takes from others.

    Raises:
        SpecError: naming the field that is wrong.
    """
    said = operator.partial_kwargs
    refuse_foreign(operator.operator_class, operator.task_id, {"resources": said.get("resources")})
    for field in ("outputs", "secrets"):  # which Airflow does not know as templates
        XComArg.apply_upstream_relationship(operator, said.get(field))
    check_syntax(operator, {name: said.get(name) for name in operator.template_fields})
    check(operator)
    # As of an operator that is not mapped: Airflow asks for it when it has parsed the DAG's file.
    operator.resolve_template_files = partial(refuse_missing, operator, parameters(operator))  # type: ignore[method-assign]
    if said.get("sky") and operator.dag is not None:
        refuse_own_limits(operator, operator.dag)
