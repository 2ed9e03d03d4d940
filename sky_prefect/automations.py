"""An automation for flow runs whose process is gone: Prefect itself does not notice when one is killed.

    python -m sky_prefect.automations

A flow run's process tells that it lives by events, where ``PREFECT_FLOWS_HEARTBEAT_FREQUENCY`` is set (runs in a
work pool of ours do so by themselves). A run that falls silent is set to Crashed, so that it can be retried, and the
retry finds its jobs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

NAME = "Skyloom: dead flow runs"
BEAT = "prefect.flow-run.heartbeat"
ENDS = frozenset(f"prefect.flow-run.{state}" for state in (
    "Completed", "Failed", "Cancelled", "Crashed", "TimedOut", "AwaitingRetry", "Suspended", "ProcessLost",
))  # fmt: skip
SILENT_S = 300.0  # longer than it takes to replace a machine that a cloud takes back


def dead_flows(silent_s: float = SILENT_S) -> Automation:
    """The automation that sets flow runs to Crashed which have beaten once and then not for ``silent_s`` seconds."""
    return Automation(
        name=NAME,
        description="Sets flow runs to Crashed whose process does not live any more; a retry finds their jobs.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            for_each={"prefect.resource.id"},
            after={BEAT},
            expect={BEAT, *ENDS},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silent_s),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, name="Crashed", message=f"Its process has been silent for {silent_s:.0f} s."
            )
        ],
    )


if __name__ == "__main__":
    made: Any = dead_flows()  # Prefect does not tell of ``_sync`` in its types
    print(f"made the automation {NAME!r}: {made.create(_sync=True).id}")
