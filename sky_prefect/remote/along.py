"""What a function may ask Prefect for on its machine, asked for here before its call is sent."""

from __future__ import annotations

import base64
import pickle
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any

from prefect import Task, artifacts, context, states
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run, task_run
from prefect.transactions import get_transaction
from prefect.variables import Variable

from sky_core.broker.calls.by_value import travels
from sky_core.broker.calls.code import texts, within
from sky_prefect.remote import machine, standins

FIELDS: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "flow_run": (flow_run, ("id", "name", "tags", "parameters", "run_count", "flow_name", "flow_version")),
    "task_run": (task_run, ("id", "name", "tags", "parameters", "run_count", "task_name")),
    "deployment": (deployment, ("id",)),
}
"""Of ``prefect.runtime``, what is known without asking the API."""
TOLD: Mapping[str, tuple[str, ...]] = {
    "create_markdown_artifact": ("markdown", "key", "description"),
    "create_table_artifact": ("table", "key", "description"),
    "create_link_artifact": ("link", "link_text", "key", "description"),
    "create_image_artifact": ("image_url", "key", "description"),
    "create_progress_artifact": ("progress", "key", "description"),
    "update_progress_artifact": ("artifact_id", "progress", "description"),
}
"""Functions of ``prefect.artifacts`` whose call goes back to the flow's process, with their parameters in order."""
CONTEXTS = frozenset({"get_run_context", "TaskRunContext", "FlowRunContext"})
USED = frozenset({"flow_run", "task_run", "deployment", "runtime", "Variable", "Secret", "get_transaction"}) | CONTEXTS
RUN_FIELDS = ("id", "name", "tags", "run_count", "start_time", "expected_start_time")
"""Of the runs in a context, beside what only one of them has."""
NAME = re.compile(r"^(secret/)?[A-Za-z0-9_-]{1,255}$")


@dataclass(frozen=True)
class Along:
    """What goes along with one call.

    Attributes:
        about: Attributes of :class:`sky_prefect.remote.standins.Here`.
        secrets: Values that have to be sealed, by environment variable.
    """

    about: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


def along(function: Callable[..., Any]) -> Along | None:
    """What goes along with a function; None if it uses nothing of Prefect but what stands for itself.

    Names of variables and secrets count if they stand in the function, or in a local one that it uses.
    """
    codes = list(_codes(function, set()))
    names = {name for code in codes for name in code.co_names}
    if not names & USED and not any(name.partition(".")[0] == "prefect" for name in names):
        return None
    runs = {
        kind: {name: getattr(module, name) for name in fields if name in names}
        for kind, (module, fields) in FIELDS.items()
        if kind in names
    }
    said = {text for code in codes for text in texts(code.co_consts) if NAME.match(text)}
    found, secrets = _asked(said, "Variable" in names, "Secret" in names)
    variable_of = {name: f"SKY_PREFECT_SECRET_{number}" for number, name in enumerate(sorted(secrets))}
    about = {
        "runs": runs,
        "contexts": _contexts(names) if names & CONTEXTS else {},
        "written": {},
        "variables": found,
        "secrets": variable_of,
        "absent": frozenset(text.rpartition("/")[2] for text in said) - set(found) - set(secrets),
    }
    return Along(about, {variable_of[name]: as_variable(value) for name, value in secrets.items()})


def _contexts(names: set[str]) -> dict[str, Any]:
    """What a function may ask of its run's contexts; of parameters only if it names them: they may be large."""
    found: dict[str, Any] = {}
    parameters = {"parameters"} & names
    more: dict[str, Any]
    if task := TaskRunContext.get():
        run = _known("task_run", task.task_run, (*RUN_FIELDS, "flow_run_id", "task_key", "dynamic_key"))
        known = _known("task", task.task, ("name", "task_key", "description", "tags", "retries", "version"))
        more = dict.fromkeys(parameters, task.parameters)
        found["TaskRunContext"] = standins.TaskRunContext(
            "TaskRunContext", task_run=run, task=known, start_time=task.start_time, **more
        )
    if (flow := FlowRunContext.get()) and flow.flow_run and flow.flow:
        run = _known("flow_run", flow.flow_run, (*RUN_FIELDS, "flow_id", "deployment_id", *parameters))
        known = _known("flow", flow.flow, ("name", "version", "description"))
        more = dict.fromkeys(parameters, flow.parameters)
        found["FlowRunContext"] = standins.FlowRunContext(
            "FlowRunContext", flow_run=run, flow=known, start_time=flow.start_time, **more
        )
    return found


def _known(what: str, thing: Any, fields: Iterable[str]) -> standins.Known:
    return standins.Known(what, **{name: getattr(thing, name) for name in fields})


def _codes(function: Any, seen: set[int]) -> Iterator[CodeType]:
    """The code of a function, of those inside it, and of the local ones that it names."""
    function = getattr(function, "fn", function) if isinstance(function, Task) else function
    function = getattr(function, "__wrapped__", function)
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    own = list(within(function.__code__))
    yield from own
    cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
    used = [function.__globals__[name] for code in own for name in code.co_names if name in function.__globals__]
    for other in [*cells, *used]:
        inner = other.fn if isinstance(other, Task) else other
        if isinstance(inner, FunctionType) and travels(inner):
            yield from _codes(inner, seen)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _asked(names: Iterable[str], variables: bool, secrets: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables and the secrets of those names that there are, asked of the API."""
    found: dict[str, Any] = {}
    sealed: dict[str, Any] = {}
    if not (variables or secrets):
        return found, sealed
    with get_client(sync_client=True) as client:
        for name in sorted(names):
            if variables and "/" not in name and (variable := client.read_variable_by_name(name)) is not None:
                found[name] = variable.value
            if secrets:
                block = name.rpartition("/")[2]
                load: Any = Secret.load
                try:
                    sealed[block] = load(block, _sync=True).value.get_secret_value()
                except ValueError:
                    continue  # there is none of that name
    return found, sealed


def as_variable(value: Any) -> str:
    """A secret as the content of an environment variable, which :class:`standins.SealedValue` reads."""
    return base64.b64encode(pickle.dumps(value)).decode()


def stand_in(thing: Any) -> Any:
    """What stands for a member or module of Prefect's on a machine; None if nothing does."""
    return _STAND_INS.get(id(thing))


def _tree() -> dict[str, dict[str, Any]]:
    """What stands for Prefect's modules: their members, by module."""
    tellers = {name: standins.Teller(name, given) for name, given in TOLD.items()}
    tellers |= {f"a{name}": teller for name, teller in tellers.items()}
    emit = standins.Teller("emit_event", ("event", "resource"))
    runtimes = {kind: standins.Runtime(kind) for kind in FIELDS}
    logger = {"get_run_logger": machine.run_logger}
    state_makers = {name: machine.StateMaker(name) for name in STATES}
    system = standins.Module("prefect.blocks.system", {"Secret": standins.Secret})
    contexts = {name: getattr(standins, name) for name in CONTEXTS}
    modules: dict[str, dict[str, Any]] = {
        "prefect.logging": logger,
        "prefect.logging.loggers": logger,
        "prefect.runtime": runtimes,
        "prefect.variables": {"Variable": standins.Variable},
        "prefect.artifacts": tellers,
        "prefect.events": {"emit_event": emit},
        "prefect.states": state_makers,
        "prefect.context": contexts,
        "prefect.transactions": {"get_transaction": standins.get_transaction},
        "prefect.blocks": {"system": system},
        "prefect.blocks.system": {"Secret": standins.Secret},
    }
    children = {
        name.partition(".")[2]: standins.Module(name, members)
        for name, members in modules.items()
        if name.count(".") == 1
    }
    return {"prefect": {**logger, **children}, **modules}


STATES = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling")  # that a function may make and return
_TREE = _tree()
MODULES: Mapping[str, Any] = {
    **{name: standins.Module(name, members) for name, members in _TREE.items()},
    **{f"prefect.runtime.{kind}": standins.Runtime(kind) for kind in FIELDS},
}
_STAND_INS: Mapping[int, Any] = {  # by the identity of what they stand for, which is there as long as this process
    id(thing): made
    for thing, made in (
        (get_run_logger, machine.run_logger),
        (Variable, standins.Variable),
        (Secret, standins.Secret),
        (get_transaction, standins.get_transaction),
        *((getattr(context, name), made) for name, made in _TREE["prefect.context"].items()),
        (emit_event, _TREE["prefect.events"]["emit_event"]),
        *((getattr(states, name), made) for name, made in _TREE["prefect.states"].items()),
        *((getattr(artifacts, name), teller) for name, teller in _TREE["prefect.artifacts"].items()),
        *((sys.modules[name], made) for name, made in MODULES.items() if name in sys.modules),
    )
}
