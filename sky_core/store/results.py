"""What came of a job, as the store keeps it and drivers remember it."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12


class Produced(TypedDict):
    """An output of a job that has succeeded. ``location`` is the ``"cloud/region"`` of its bucket."""

    uri: str
    location: str
    size_gb: float


class Result(TypedDict, total=False):
    """What came of a job.

    Attributes:
        exit_code: Of its command; None if that never ended.
        error: Why it failed, or was cancelled.
        outputs: By name.
        value: Names the bytes that its function has returned, see :meth:`Store.payload`…
        value_error: …or why they are not here.
    """

    exit_code: int | None
    error: str | None
    outputs: Mapping[str, Produced]
    value: str
    value_error: str
