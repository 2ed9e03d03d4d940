"""Values of Sky tasks in Airflow's own processes: what XCom can keep, and what stays where it was made."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sky_airflow.exchange import MARK, is_lazy, is_reference, is_whole, listed, read_back, to_xcom
from sky_airflow.hooks.sky import SkyHook
from sky_core.errors import SkyloomError, SpecError
from sky_core.spec import Artifact

if TYPE_CHECKING:
    from sky_core.broker import Broker

XCOM_BYTES = 48_000  # pickled; a larger value stays in its cloud and XCom gets the reference


def load(value: Any, folder: str | Path | None = None, *, sky_conn_id: str | None = None) -> Any:
    """What a Sky task has handed on, brought to where a plain ``@task`` runs.

    A function's value as that value; a command's output as the path of a copy of it. References inside lists and
    mappings are loaded, too; whatever is none stays as it is.

    Args:
        folder: Where copies of outputs are put, by default a fresh temporary folder, which is the caller's to remove.
        sky_conn_id: The connection that leads to the task's store; by default the one that the task had.

    Raises:
        TransferError: if it cannot be brought.
    """
    value = read_back(value)
    if not is_reference(value):
        if is_whole(value):
            value = value["outputs"]
        if isinstance(value, Mapping):
            return {key: load(part, folder, sky_conn_id=sky_conn_id) for key, part in value.items()}
        if isinstance(value, list | tuple) or is_lazy(value):
            return [load(part, folder, sky_conn_id=sky_conn_id) for part in listed(value)]
        return value
    broker = SkyHook(sky_conn_id or value.get("sky_conn_id")).broker
    job, artifact = broker.job(value["job_id"]), Artifact(**value[MARK])
    if "value" in job.result:
        whole = broker.value(job)
        return whole[value["item"]] if "item" in value else whole
    if artifact.uri is None:
        raise SkyloomError(f"job {job.id} has left nothing to load")
    return broker.bring(artifact.uri, Path(folder or tempfile.mkdtemp(prefix="skyloom-")))


def why_not_in_xcom(value: Any) -> str:
    """Why XCom cannot keep a value, or give it back; "" if it can."""
    from airflow.sdk.serde import deserialize, serialize

    try:
        deserialize(serialize(value))
        json.dumps(serialize(value), allow_nan=False)
    except Exception as error:  # noqa: BLE001 - whatever serializers raise
        return f"{type(error).__name__}: {error}"
    return ""


def handed_on(broker: Broker, job: Any, artifact: Artifact, sky_conn_id: str | None, *, parts: bool) -> tuple[Any, str]:
    """What becomes of a function's value in XCom: itself where it is small and plain, else the reference to it.

    Args:
        parts: Others take it apart (they are mapped over it, or take single keys), so its items go on one by one.

    Returns:
        The value for XCom, and a word on what was not plain, or "".

    Raises:
        SpecError: if it is to be taken apart and cannot be.
    """
    reference = to_xcom(job.id, artifact, sky_conn_id=sky_conn_id)
    if "value" not in job.result:
        if parts:
            raise SpecError(f"Task.{job.task}: others take its value apart, which is too large for that")
        return reference, job.result.get("value_error", "")
    small = len(broker.store.payload(job.result["value"])) <= XCOM_BYTES
    if not (small or parts):
        return reference, ""
    value = broker.value(job)
    wrong = why_not_in_xcom(value) if small else "large"
    if not wrong:
        return value, ""
    if not parts or not isinstance(value, Mapping | list | tuple):
        return reference, f"its value, a {type(value).__name__}, is handed on as a reference ({wrong})"
    keys = list(value) if isinstance(value, Mapping) else range(len(value))
    items = {key: _item(job.id, artifact, key, value[key], sky_conn_id) for key in keys}
    return (items if isinstance(value, Mapping) else list(items.values())), ""


def _item(job_id: str, artifact: Artifact, key: Any, value: Any, sky_conn_id: str | None) -> Any:
    plain = not why_not_in_xcom(value) and len(json.dumps(value, default=str)) <= XCOM_BYTES
    return value if plain else to_xcom(job_id, artifact, item=key, sky_conn_id=sky_conn_id)
