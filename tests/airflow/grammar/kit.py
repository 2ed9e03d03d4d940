"""The same DAG twice: of Sky tasks, and of plain ones that run where Airflow does."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator, XComArg, task
from airflow.sdk.exceptions import AirflowSkipException

from sky_airflow import load
from sky_airflow.operators.sky import SkyOperator

SMALL = {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small"}
NEEDS = {"requires": SMALL, "hours": 0.01}
NOT_FOR_PLAIN = {"requires", "hours", "output_gb", "num_nodes", "checkpoint", "deadline", "deferrable"}


class PlainCommand(BaseOperator):
    """What a command of a Sky task amounts to where there is but one machine."""

    template_fields = ("run", "inputs", "envs")

    def __init__(self, *, run=None, inputs=None, outputs=None, envs=None, secrets=None, setup=None, **kwargs):
        super().__init__(**kwargs)
        self.run, self.inputs, self.envs = run, inputs, envs
        self.declared, self.secrets, self.setup = dict(outputs or {}), secrets, setup

    @property
    def outputs(self) -> dict[str, XComArg]:
        return {name: XComArg(self, key=name) for name in self.declared}

    def execute(self, context):
        folder = Path(tempfile.mkdtemp(prefix="plain-"))
        secrets = self.render_template(self.secrets or {}, context)
        made = {name: str(folder / name) for name in self.declared}
        given = {name: self._path(folder, value) for name, value in (self.inputs or {}).items() if value is not None}
        env = {**os.environ, **{key: str(value) for key, value in {**(self.envs or {}), **secrets}.items()}}
        env |= {f"SKY_OUTPUT_{name.upper()}": path for name, path in made.items()}
        env |= {f"SKY_INPUT_{name.upper()}": path for name, path in given.items()}
        code = subprocess.run(["bash", "-c", self.run], env=env, cwd=folder, check=False).returncode
        if code == 99:
            raise AirflowSkipException("exit code 99")
        assert code == 0, code
        for name, path in made.items():
            context["ti"].xcom_push(key=name, value=path)
        return {"job_id": "none", "outputs": made}

    @staticmethod
    def _path(folder, value):
        if isinstance(value, Mapping):  # a command's whole value
            (value,) = value["outputs"].values()
        if isinstance(value, str):
            return value
        several = Path(tempfile.mkdtemp(dir=folder))
        for number, path in enumerate(value):
            (several / str(number)).symlink_to(path)
        return str(several)


class Kit:
    """What a DAG is made of."""

    def __init__(self, sky: bool, dag: DAG) -> None:
        self.sky = sky
        self.dag = dag

    def function(self, function: Callable[..., Any] | None = None, **kwargs: Any) -> Any:
        """``@task.sky``, or ``@task``."""
        if self.sky:
            made = task.sky(**{**NEEDS, **kwargs})
        else:
            made = task(**{key: value for key, value in kwargs.items() if key not in NOT_FOR_PLAIN})
        return made if function is None else made(function)

    def command(self, task_id: str, run: Any = None, **fields: Any) -> Any:
        """A SkyOperator, or its plain twin; without ``run`` one that is still to be expanded."""
        if run is None:
            return self.mapped(task_id, **fields)
        kind, given = self._command(fields)
        return kind(task_id=task_id, run=run, **given)

    def mapped(self, task_id: str, **fields: Any) -> Any:
        """A command that is still to be expanded."""
        kind, given = self._command(fields)
        return kind.partial(task_id=task_id, **given)

    def _command(self, fields: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        if self.sky:
            return SkyOperator, {**NEEDS, **fields}
        return PlainCommand, {name: value for name, value in fields.items() if name not in NOT_FOR_PLAIN}

    def output(self, operator: Any, name: str) -> Any:
        """One output of a command, mapped or not."""
        if self.sky or not operator.is_mapped:
            return operator.outputs[name]
        return XComArg(operator, key=name)

    def each(self, operator: Any, name: str) -> Any:
        """One output of each instance of a mapped command, to be mapped over."""
        return operator.outputs[name] if self.sky else operator.output.map(lambda said: said["outputs"][name])

    def result(self, value: Any) -> Any:
        """Keep what came of it all, to be compared; a plain task in both."""
        return _result(value)


def shown(value: Any) -> Any:
    """A value as text that is the same wherever it was made; files as what is in them."""
    if isinstance(value, Mapping):
        return {str(key): shown(part) for key, part in value.items()}
    if isinstance(value, list | tuple) or hasattr(value, "__next__"):
        return [shown(part) for part in value]
    if isinstance(value, os.PathLike | str) and str(value).startswith("/") and Path(value).is_file():
        return Path(value).read_text().strip()
    return repr(sorted(value)) if isinstance(value, set) else repr(value)


@task(task_id="result", trigger_rule="none_failed")
def _result(value):
    loaded = load(value)
    if type(loaded).__module__.startswith("airflow."):
        loaded = list(loaded)
    if isinstance(loaded, Mapping) and set(loaded) == {"job_id", "outputs"}:
        loaded = loaded["outputs"]
    return shown(loaded)
