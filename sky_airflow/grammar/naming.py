"""What tasks are called in a plan: as in Airflow where that can be, which allows more in a task id than we do."""

from __future__ import annotations

import hashlib
import re

from sky_core.spec import NAME

_LONGEST = 190  # leaves room for "[1234]"


def task_name(task_id: str) -> str:
    """The name in the plan of the task with that id, or of all its mapped instances together."""
    if NAME.match(task_id) and len(task_id) <= _LONGEST:
        return task_id
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", task_id)[: _LONGEST - 20]
    digest = hashlib.sha256(task_id.encode()).hexdigest()[:8]
    return f"{plain}-{digest}" if plain[0].isalpha() else f"task-{plain}-{digest}"


def instance_name(task_id: str, map_index: int) -> str:
    """The name of one mapped instance that is planned by itself."""
    return f"{task_name(task_id)}[{map_index}]"
