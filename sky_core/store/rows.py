"""From rows to records."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, TypeVar

import sqlalchemy as sa

from sky_core.store.records import Cluster, Event, Interest, Job

Record = TypeVar("Record")


def record(kind: type[Record], row: sa.Row[Any], **decoded: Any) -> Record:
    """A record from the columns of the same names, but for those given already ``decoded``."""
    plain = {field.name: getattr(row, field.name) for field in fields(kind) if field.name not in decoded}  # type: ignore[arg-type]
    return kind(**plain, **decoded)


def job(row: sa.Row[Any]) -> Job:
    return record(
        Job, row, memory=json.loads(row.memory), result=json.loads(row.result), needs=json.loads(row.needs or "{}")
    )


def cluster(row: sa.Row[Any]) -> Cluster:
    return record(Cluster, row, instance_ids=tuple(json.loads(row.instance_ids)))


def event(row: sa.Row[Any]) -> Event:
    return record(Event, row, data=json.loads(row.data))


def interest(row: sa.Row[Any]) -> Interest:
    return record(Interest, row, how=json.loads(row.how))
