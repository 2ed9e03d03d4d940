"""The values that fields are made of: amounts, durations, deadlines, places; and the base of all models."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
)

from sky_core.errors import SpecError
from sky_core.measures.durations import DURATION, parse_hours
from sky_core.spec.wording import in_words

NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_.\-\[\]]{0,199}$")
ENV_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
AMOUNT = re.compile(r"^(?P<low>\d+(?:\.\d+)?)(?:(?P<plus>[+x])|-(?P<high>\d+(?:\.\d+)?))?$")


class Spec(BaseModel):
    """Base of all spec models: frozen, no unknown fields, errors that name the field."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise SpecError(_explain(type(self), data, error)) from None


def _explain(model: type[Spec], data: Mapping[str, Any], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = model.__name__
    label = f"{name}.{data['name']}" if isinstance(data.get("name"), str) else name
    way = [str(part) for part in first["loc"]]
    message = in_words(first)
    if first["type"] == "extra_forbidden" and len(way) == 1 and (cure := did_you_mean(way[0], model.model_fields)):
        message = f"{message}; {cure}"
    return ": ".join([label, *([".".join(way)] if way else []), message])  # one of the whole names its field itself


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A cure for a name that is not known: ``"did you mean run?"``, or "" where none is like it."""
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.65)
    alike = [difflib.SequenceMatcher(None, name, other).ratio() for other in near]
    near = [other for other, ratio in zip(near, alike, strict=True) if ratio > max(alike) - 0.05]
    return f"did you mean {' or '.join(near)}?" if near else ""


Hours = Annotated[float, BeforeValidator(parse_hours)]


def parse_deadline(value: Any) -> Any:
    """A point in time that an ISO text names, else a duration in hours.

    Raises:
        ValueError: if it is neither, or a point in time without a time zone.
    """
    if isinstance(value, str) and DURATION.match(value.strip()) is None:
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(
                f"{value!r} is neither a duration nor a point in time; write e.g. '6h' or '2030-12-01T18:00:00+00:00'"
            ) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a deadline needs a time zone; write e.g. '{value.isoformat()}+00:00'")
        return value
    return parse_hours(value)


Deadline = Annotated[datetime | float, BeforeValidator(parse_deadline)]


def parse_estimate(value: Any) -> Any:
    """Run times as numbers of hours: one, or one for each kind of machine; what is neither stays as it is."""
    if isinstance(value, Mapping):
        return {kind: parse_estimate(hours) for kind, hours in value.items()}
    if isinstance(value, timedelta):
        return parse_hours(value)
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return parse_hours(value)


class Amount(BaseModel):
    """A required amount: exactly ``low``, at least ``low`` (``high`` = inf), or a range, ends included.

    With ``per_cpu`` it counts for each vCPU of the machine.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")
    low: float
    high: float
    per_cpu: bool = False

    @classmethod
    def parse(cls, value: Any) -> Amount:
        """``8`` and ``"8"`` mean exactly 8, ``"8+"`` at least 8, ``"8-16"`` a range, ``"4x"`` 4 or more a vCPU."""
        if isinstance(value, Amount):
            return value
        if isinstance(value, Mapping):
            return cls.model_validate(value)
        match = AMOUNT.match(str(value).strip())
        if match is None:
            raise ValueError(f"{value!r} is not an amount; write e.g. 8, '8+' or '8-16'")
        low = float(match["low"])
        high = math.inf if match["plus"] else float(match["high"] or low)
        if high < low or high <= 0:
            raise ValueError(f"{value!r} is an empty range")
        return cls(low=low, high=high, per_cpu=match["plus"] == "x")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def _parse_accelerators(value: Any) -> tuple[tuple[str, float], ...]:
    """Normal form of an any-of choice of accelerators: ``(("V100", 4.0), ("tpu-v3-8", 1.0))``."""
    if value is None:
        return ()
    if isinstance(value, str):
        model, _, number = value.partition(":")
        pairs = [(model.strip(), float(number) if number else 1.0)]
    elif isinstance(value, Mapping):
        pairs = [(str(name), float(count)) for name, count in value.items()]
    elif isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[1], int | float):
        pairs = [(str(value[0]), float(value[1]))]
    elif isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        pairs = [pair for item in items for pair in _parse_accelerators(item)]
    else:
        raise ValueError(f"{value!r} is not an accelerator; write e.g. 'V100:4' or ['V100:4', 'tpu-v3-8']")
    for name, count in pairs:
        if not name or not (math.isfinite(count) and count > 0):
            raise ValueError(f"{value!r} is not an accelerator; write e.g. 'V100:4'")
    return tuple(pairs)


def _parse_places(value: Any) -> tuple[str, ...]:
    """One place, a comma-separated list or a list of places, glob patterns allowed (``"eu-*"``)."""
    if value is None:
        return ()
    items = value.split(",") if isinstance(value, str) else list(value)
    return tuple(str(item).strip() for item in items)


def one_or_several(value: Any) -> Any:
    """What may be several, where one was written."""
    return (value,) if isinstance(value, str | int) else value


Places = Annotated[tuple[str, ...], BeforeValidator(_parse_places)]
