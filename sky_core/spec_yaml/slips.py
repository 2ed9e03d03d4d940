"""A mistake in a file as one line: file and line, task, field, what is wrong, and the cure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from sky_core.errors import SpecError
from sky_core.spec import did_you_mean
from sky_core.spec.wording import WANTED, in_words
from sky_core.spec_yaml.reading import At, Document

Model = TypeVar("Model", bound=BaseModel)

LONGEST = 40


class Slip(Exception):
    """A mistake at one place of a document."""

    def __init__(self, at: At, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.at, self.cure = at, cure


def refusal(document: Document, at: At, task: str, message: str, cure: str = "") -> SpecError:
    """The mistake at that place of a task, or of a pipeline with ``task`` "", as the error that users see."""
    below = at[2:] if task and at[:1] == ("tasks",) else at  # what a task says of itself starts after its number
    field = ".".join(map(str, below))
    who = f"Task.{task}: " if task else "Pipeline: "
    return SpecError(f"{document.where(at)}{who}{field}{': ' if field else ''}{message}", cure=cure)


def checked(model: type[Model], data: Any, document: Document, at: At, task: str) -> Model:
    """``data``, which stands at that place, by the schema.

    Raises:
        SpecError: if it is not like the schema.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details: list[Mapping[str, Any]] = [dict(detail) for detail in error.errors(include_url=False)]
        first = min(details, key=lambda detail: _rank(detail, data))
        way = _way(first["loc"], data)
        message, cure = _words(first, model, way, data)
        raise refusal(document, (*at, *way), task, message, cure) from None


def _rank(detail: Mapping[str, Any], data: Any) -> tuple[int, int]:
    """Unknown names first, then what lies deepest: in a union that is the kind that was meant."""
    kinds = list(WANTED)
    kind = kinds.index(detail["type"]) if detail["type"] in kinds else -1
    return (0 if kind <= 0 else 1, -len(_way(detail["loc"], data)))


def _way(loc: tuple[str | int, ...], data: Any) -> At:
    """The keys of a location that are in the data; those that name a kind of a union are not."""
    way: list[str | int] = []
    here = data
    for number, key in enumerate(loc):
        inner = here if isinstance(here, Mapping) else dict(enumerate(here)) if isinstance(here, list) else {}
        if key in inner:
            way.append(key)
            here = inner[key]
        elif isinstance(here, Mapping) and number == len(loc) - 1 and isinstance(key, str) and key.isidentifier():
            way.append(key)
    return tuple(way)


def _words(detail: Mapping[str, Any], model: type[BaseModel], way: At, data: Any) -> tuple[str, str]:
    holder, field = _field_of(model, way)
    if detail["type"] == "extra_forbidden":
        known, name = sorted(holder.model_fields), str(way[-1])
        parts = {field: _models(holder.model_fields[field].annotation) for field in known}
        inner = [field for field, models in parts.items() if any(name in model.model_fields for model in models)]
        cure = f"write it below {inner[0]}" if len(inner) == 1 else did_you_mean(name, known)
        return "no such field", cure or f"there are {', '.join(known)}"
    if detail["type"] == "missing":
        return "is missing", ""
    shown = repr(detail["input"])
    shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
    example = (holder.model_fields[field].examples or [""])[0] if field else ""
    return f"{in_words(detail)}, not {shown}", f"write e.g. {example}" if example else ""


def _field_of(model: type[BaseModel], way: At) -> tuple[type[BaseModel], str]:
    """The model that the way leads into, and its field on the way."""
    field = ""
    for key in way:
        if not isinstance(key, str) or key not in model.model_fields:
            continue
        field = key
        inner = _models(model.model_fields[key].annotation)
        if inner and key != way[-1]:
            model, field = inner[0], ""
    return model, field


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation such as ``dict[str, str | StorageFields] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
