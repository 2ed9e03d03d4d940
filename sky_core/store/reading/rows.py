"""From whole rows of a table to records. Listings read thousands: which column is which is found out once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from operator import itemgetter
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic_core import from_json

from sky_core.store.records import Cluster, Event, Interest, Job, Launch, Observation, Run
from sky_core.store.tables import CLUSTERS, EVENTS, INTEREST, JOBS, LAUNCHES, OBSERVATIONS, RUNS

Record = TypeVar("Record")


def _reader(kind: type[Record], table: sa.Table, **decode: Callable[[Any], object]) -> Callable[[sa.Row[Any]], Record]:
    """What makes a record of a row of ``sa.select(table)``: columns go by their names, those given are decoded."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    take = itemgetter(*map(list(table.c.keys()).index, names))
    coded = [(names.index(name), function) for name, function in decode.items()]

    def read(row: sa.Row[Any]) -> Record:
        values = list(take(row))
        for at, function in coded:
            values[at] = function(values[at])
        return kind(*values)

    return read


def _document(text: str | None) -> Any:
    return {} if text is None or text == "{}" else json.loads(text)


def _ids(text: str) -> tuple[str, ...]:
    # Clouds' ids are plain letters: this reader takes a third of the time, but refuses some strings that events have.
    return () if text == "[]" else tuple(from_json(text))


job = _reader(Job, JOBS, memory=_document, result=_document, needs=_document)
cluster = _reader(Cluster, CLUSTERS, instance_ids=_ids)
event = _reader(Event, EVENTS, data=_document)
interest = _reader(Interest, INTEREST, how=_document)
launch = _reader(Launch, LAUNCHES)
observation = _reader(Observation, OBSERVATIONS)
run = _reader(Run, RUNS)
