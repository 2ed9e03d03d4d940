"""What is known of a field whose value is a template, another task's XCom or mapped, and when.

When a DAG file is parsed nothing is rendered: what is a template is left out of what is checked. When a run is planned
it is rendered as far as the run's own context tells; the rest is left out then. A task's own fields are rendered by
Airflow before it runs, and checked whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from airflow.sdk.definitions._internal.mixins import ResolveMixin
from airflow.sdk.definitions._internal.templater import LiteralValue
from pydantic import BaseModel

from sky_core.errors import SpecError

MARKS = ("{{", "{%", "{#")
SCRIPTS = (".sh", ".bash")
# What of a context belongs to one task instance alone: nobody else can tell what such a template will come to.
OF_ONE_INSTANCE = frozenset(
    {"ti", "task_instance", "task", "task_instance_key_str", "task_reschedule_count", "try_number",
     "map_index_template", "expanded_ti_count", "conn", "inlets", "outlets", "inlet_events", "outlet_events",
     "task_state_store", "asset_state_store"}
)  # fmt: skip


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()
Render = Callable[[str], Any]


def not_yet(text: str) -> Any:
    """Renders nothing: what is known when a DAG file is parsed."""
    return UNKNOWN if is_template(text) else text


def not_yet_of(operator: Any) -> Render:
    """The same for an operator whose DAG may give Jinja other delimiters."""
    marks = _marks(operator)
    return not_yet if marks is MARKS else lambda text: UNKNOWN if is_template(text, marks) else text


def is_template(text: str, marks: Sequence[str] = MARKS) -> bool:
    """Whether Airflow's Jinja would do anything to a text."""
    return any(mark in text for mark in marks)


def _marks(operator: Any) -> Sequence[str]:
    options = _options(operator)
    if not options:
        return MARKS
    names = ("variable_start_string", "block_start_string", "comment_start_string")
    lines = [options[name] for name in ("line_statement_prefix", "line_comment_prefix") if options.get(name)]
    return [*(options.get(name, usual) for name, usual in zip(names, MARKS, strict=True)), *lines]


def known(value: Any, render: Render = not_yet, left_out: list[Any] | None = None) -> Any:
    """A value with its templates rendered and without the parts that are not known yet; UNKNOWN if it is one itself.

    Args:
        left_out: Takes what is not known.
    """

    def unknown() -> Any:
        if left_out is not None:
            left_out.append(value)
        return UNKNOWN

    if isinstance(value, str):
        rendered = render(value)
        return unknown() if rendered is UNKNOWN else rendered
    if isinstance(value, LiteralValue):
        return value.value
    if isinstance(value, ResolveMixin):
        return unknown()
    if isinstance(value, Mapping):
        parts = {key: known(part, render, left_out) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not UNKNOWN}
    if isinstance(value, list | tuple | set | frozenset):
        return [part for item in value if (part := known(item, render, left_out)) is not UNKNOWN]
    if isinstance(value, os.PathLike):
        return known(os.fspath(value), render, left_out)
    if isinstance(value, BaseModel) or not (callable(value) or hasattr(value, "template_fields")):
        return value
    return unknown()


def rendering(operator: Any, context: Mapping[str, Any], *, own: bool = False) -> Render:
    """Renders an operator's templates in a context, as far as that can be done before its task runs.

    Args:
        own: The context is that of this very task instance, so that all of it counts.
    """
    env, marks = None, _marks(operator)

    def render(template: str) -> Any:
        nonlocal env
        if not is_template(template, marks):
            return template
        if env is None:
            env = operator.get_template_env()
        try:
            if not own and _names(env, template) & OF_ONE_INSTANCE:
                return UNKNOWN
            return operator.render_template(template, context, env)
        except Exception:  # noqa: BLE001 - whatever macros and variables raise: the task will say so itself
            return UNKNOWN

    return render


def _names(env: Any, template: str) -> set[str]:
    from jinja2 import meta

    return meta.find_undeclared_variables(env.parse(template))


def check_syntax(operator: Any, fields: Mapping[str, Any]) -> None:
    """See that what looks like a template is one, while the file is parsed.

    A DAG that gives Jinja other delimiters is left to Jinja.

    Raises:
        SpecError: naming the field.
    """
    for field, value in fields.items():
        for text in _texts(value):
            if is_template(text) and not _options(operator) and (wrong := _wrong_syntax(text)):
                cure = "write {% raw %}…{% endraw %} around what is meant for the shell" if "{#" in text else ""
                raise SpecError(f"Task.{operator.task_id}: {field}: this template cannot be read: {wrong}", cure=cure)


def _options(operator: Any) -> Any:
    dag = operator.get_dag()
    return dag is not None and dag.jinja_environment_kwargs


def _texts(value: Any) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return ()
    return [text for item in value for text in _texts(item)]


@lru_cache(maxsize=512)
def _wrong_syntax(text: str) -> str:
    from jinja2 import TemplateSyntaxError

    try:
        _plain_env().parse(text)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    return ""


@lru_cache(maxsize=1)
def _plain_env() -> Any:
    from airflow.sdk.definitions._internal.templater import FILTERS
    from jinja2 import Environment

    env = Environment(extensions=["jinja2.ext.do"], autoescape=False)  # noqa: S701 - nothing is rendered
    env.filters.update(FILTERS)
    return env


def script_name(command: Any) -> str | None:
    """The file that a command is to be read from, below the DAG's folder: ``run="scripts/train.sh"``, or None.

    As Airflow's own operators have it; ``./train.sh`` is a command, that of a file of the working folder.
    """
    if not isinstance(command, str) or not command.endswith(SCRIPTS) or len(command.split()) != 1:
        return None
    return None if command.startswith((".", "/", "~", "$")) or is_template(command) else command


def read_script(operator: Any, field: str, name: str) -> str:
    """The content of a command's file, a template as a whole.

    Raises:
        SpecError: if there is none.
    """
    env = operator.get_template_env()
    try:
        return str(env.loader.get_source(env, name)[0])
    except Exception as error:
        raise SpecError(
            f"Task.{operator.task_id}: {field}: there is no file {name} below {operator.dag.folder}",
            cure=f"make it, name its folder in template_searchpath, or write './{name}' for a file of the workdir",
        ) from error
