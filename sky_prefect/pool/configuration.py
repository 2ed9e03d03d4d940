"""What a work pool and its deployments say of a flow run's machine, and the task that it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from prefect.workers.base import BaseJobConfiguration
from pydantic import Field

from sky_core import engine_kit
from sky_core.errors import SpecError
from sky_core.spec import Objective, Pipeline, Resources, Task
from sky_prefect.needs import RESOURCE_FIELDS
from sky_prefect.window import node_name

COMMAND = "python3 -m prefect flow-run execute"

OF_THE_WORKER = (
    "PREFECT_SERVER_", "PREFECT_WORKER_", "PREFECT_RUNNER_", "PREFECT_CLI_", "PREFECT_TESTING_", "PREFECT_INTERNAL_",
    "PREFECT_HOME", "PREFECT_PROFILES_PATH", "PREFECT_RESULTS_LOCAL_STORAGE_PATH", "PREFECT_LOGGING_CONFIG_PATH",
    "PREFECT_TASKS_SCHEDULING_",
)  # fmt: skip
"""Settings that are about the worker's own host: the machine has no server to run, and none of its folders."""

ON_THE_MACHINE = {
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",  # never a server on a machine that is paid for
    "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule",  # an eviction: the run goes on, on another machine
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}


class SkyJobConfiguration(BaseJobConfiguration):
    """How a flow run's machine is chosen. Its ``env`` reaches the machine sealed: the API's key is in it."""

    resources: dict[str, Any] = Field(
        default_factory=dict,
        description="What the flow run needs, as @resources takes it: cpus, accelerators, use_spot, hours…",
    )
    minimize: Literal["cost", "time", "cost*time"] = Field(
        "cost", description="What the choice of a machine minimizes."
    )
    deadline: float | str | None = Field(None, description="Hours from the submission, or a duration such as 6h.")
    budget_usd: float | None = Field(None, description="What the flow run may cost.")

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        ours = {
            name: value for name, value in super()._base_environment().items() if not name.startswith(OF_THE_WORKER)
        }
        return {**ours, **ON_THE_MACHINE}

    @staticmethod
    def _base_flow_run_command() -> str:
        return COMMAND

    @property
    def objective(self) -> Objective:
        """What the plan is to minimize, and its limits."""
        return Objective(minimize=self.minimize, deadline=self.deadline, budget_usd=self.budget_usd)

    @property
    def variables(self) -> dict[str, str]:
        """What the command finds in its environment."""
        return {name: value for name, value in self.env.items() if value is not None}

    def pipeline(self, workdir: Path | None = None) -> Pipeline:
        """The flow run as a pipeline of one task, named after the flow, so that its past runs tell how long it takes.

        Args:
            workdir: The folder that it begins in a copy of, if not what its resources say.

        Raises:
            SpecError: naming the field that is wrong.
        """
        flow = self.labels.get("prefect.io/flow-name", "flow")
        fields: dict[str, Any] = {"secrets": (*self.variables,)} if self.variables else {}
        if workdir is not None:
            fields["workdir"] = str(workdir)
        task = command_task(node_name(flow, 0), self.command or COMMAND, self.resources, **fields)
        if task.num_nodes > 1:
            raise SpecError(
                f"Task.{task.name}: num_nodes: a flow run is one process, on one machine; its tasks may have more, "
                "through SkyTaskRunner"
            )
        return Pipeline(name=f"{flow}/flow-run", tasks=(task,))


def command_task(
    name: str, command: str, needs: Mapping[str, Any], secrets: tuple[str, ...] = (), **fields: Any
) -> Task:
    """The task that runs a command with these needs, in the worker's own packages unless they say otherwise.

    Raises:
        SpecError: naming the field that is wrong.
    """
    resources = Resources(**{key: value for key, value in needs.items() if key in RESOURCE_FIELDS})
    own = {key: value for key, value in needs.items() if key not in RESOURCE_FIELDS}
    refused = sorted(set(own) - engine_kit.TASK_FIELDS)
    if refused:
        own = {refused[0]: own[refused[0]]}  # the spec says that there is no such field
    if "environment" not in own and not any(one.container for one in resources.alternatives):
        own["environment"] = "caller"
    named = own.pop("secrets", ())
    named = (named,) if isinstance(named, str) else tuple(named)
    return Task(name=name, run=command, resources=resources, secrets=(*named, *secrets), **{**own, **fields})
