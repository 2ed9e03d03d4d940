"""``skyloom gc`` as a task: what is tagged ours on the clouds and belongs to no live job is ended."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from sky_airflow.grammar.templates import UNKNOWN, known, not_yet_of
from sky_airflow.hooks.sky import SkyHook
from sky_airflow.operators.errors import permanent_errors
from sky_core.errors import SkyloomError, SpecError

if TYPE_CHECKING:
    from airflow.sdk import Context

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no", "none", "")


class SkyGcOperator(BaseOperator):
    """End machines of ours that belong to no live job, and remove what else is left over. For a DAG of its own,
    ``@daily`` say: the clouds are asked, not our records.

    Args:
        list_only: Remove nothing.
        sky_conn_id: A ``skyloom`` connection; None takes the settings from the environment.

    Raises:
        SkyloomError: if a cloud could not be asked; the others have been swept.
    """

    template_fields = ("list_only",)
    ui_color = "#bfe3f5"

    def __init__(self, *, list_only: Any = False, sky_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.list_only = list_only
        self.sky_conn_id = sky_conn_id
        truth(f"Task.{self.task_id}: list_only", known(list_only, not_yet_of(self)))

    def execute(self, context: Context) -> list[str]:
        """The lines that the command prints, which are in the task's log, too."""
        with permanent_errors():
            only_list = truth(f"Task.{self.task_id}: list_only", self.list_only)
        command = [sys.executable, "-m", "sky_core.cli", "gc", *(["--dry-run"] if only_list else [])]
        # A process of its own, since it imports the clouds' SDKs.
        hook = SkyHook(self.sky_conn_id)
        environment = {**hook.broker.settings.environ(), **hook.variables(), "NO_COLOR": "1"}
        done = subprocess.run(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        lines = done.stdout.splitlines()
        for line in lines:
            self.log.info(line)
        if done.returncode:
            raise SkyloomError("not all clouds could be swept: " + "; ".join(lines[-3:]))
        return lines


def truth(where: str, said: Any) -> bool:
    """A truth, or the text of one that a template gave.

    Raises:
        SpecError: if it is neither: what is removed is not to hang on a slip.
    """
    text = str(said).strip().lower()
    if said is not UNKNOWN and text not in TRUE + FALSE:
        raise SpecError(f"{where}: {said!r} is neither true nor false")
    return text in TRUE
