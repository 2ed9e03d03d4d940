"""What authors who come from other operators call our parameters: told what is meant here."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from airflow.sdk import BaseOperator

from sky_airflow.grammar.fields import ALSO_CALLED
from sky_core.errors import SpecError
from sky_core.spec import Resources, did_you_mean

# Of BashOperator, KubernetesPodOperator, BatchOperator, DockerOperator and SkyPilot's tasks.
ELSEWHERE = {
    **dict.fromkeys(("bash_command", "command", "commands", "cmds", "cmd", "arguments", "args", "entrypoint"), "run=…"),
    **dict.fromkeys(("env", "env_vars", "environ", "environment_variables"), "envs={…}"),
    **dict.fromkeys(("resources", "container_resources", "resource_requirements"), "requires={…}"),
    **dict.fromkeys(("cwd", "working_dir", "working_directory"), "workdir=…"),
    **dict.fromkeys(("file_mounts", "volumes", "volume_mounts"), "mounts={…}"),
    **dict.fromkeys(("nodes", "num_machines"), "num_nodes=…"),
    **dict.fromkeys(("secret", "env_from"), "secrets={…}"),
    **dict.fromkeys(("timeout", "timeout_seconds"), "execution_timeout=…"),
    **dict.fromkeys(("image", "docker_image"), 'requires={"image": "docker:…"}'),
    "name": "task_id=…",
}


def refuse_foreign(kind: type, task_id: Any, given: Mapping[str, Any]) -> None:
    """See that nothing is asked for by a name that it does not have here.

    Airflow takes ``resources`` without a word and does nothing with them, and of other names says only that they are
    wrong.

    Args:
        kind: The operator's class, which may have parameters of its own.
        given: What it is made of, by name.

    Raises:
        SpecError: naming the parameter and what it is called here.
    """
    own = _parameters(kind)
    for name, value in given.items():
        if name in own or (name == "resources" and value is None):
            continue
        if (name == "resources" or name not in _of_every_operator()) and (cure := _meant(name, own)):
            raise SpecError(f"Task.{task_id}: {name}: not a parameter here", cure=cure)


def _meant(name: str, own: Collection[str]) -> str:
    if name in ELSEWHERE:
        return f"write {ELSEWHERE[name]}"
    field = ALSO_CALLED.get(name, name)
    if field in Resources.model_fields:
        return f'write requires={{"{field}": …}}'
    return did_you_mean(name, own)


@cache
def _parameters(kind: type) -> frozenset[str]:
    """What an operator's class and those below BaseOperator that it stands on take by name."""
    kinds = [one for one in kind.__mro__ if issubclass(one, BaseOperator) and one is not BaseOperator]
    found = {name for one in kinds for name in inspect.signature(one.__init__).parameters}
    return frozenset(found - {"self", "args", "kwargs"})


@cache
def _of_every_operator() -> frozenset[str]:
    signature = inspect.signature(BaseOperator.__init__)
    return frozenset(signature.parameters) | {"_airflow_from_mapped", "_airflow_mapped_validation_only"}
