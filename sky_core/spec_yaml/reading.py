"""YAML as it is written: scalars by YAML 1.2, nothing lost in silence, and the line of everything.

PyYAML reads the syntax; what a scalar means is decided here, by the core schema of YAML 1.2
(https://yaml.org/spec/1.2.2/#103-core-schema): ``12:30`` is no number of base 60, ``0755`` is no octal, ``on`` and
``yes`` are words. Keys are always text. A key that stands twice is refused, and so are tags of other languages.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sky_core.errors import SpecError

At = tuple[str | int, ...]  # the way to a value: keys and positions

MOST_NODES = 20_000  # a file of a few lines can unfold to more than memory holds by repeating its anchors
PLAIN: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r"|~|null|Null|NULL"), lambda text: None),
    (re.compile(r"true|True|TRUE"), lambda text: True),
    (re.compile(r"false|False|FALSE"), lambda text: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)
TAG, PLAIN_TAG = "tag:yaml.org,2002:", "plain"
TAGS = frozenset({PLAIN_TAG, *(TAG + name for name in ("str", "int", "float", "bool", "null", "seq", "map", "set"))})
MERGE = "<<"
AS_YAML = "each line is `name: value`, indented as its neighbours; text with ': ' or ' #' in it goes in quotes"


class _Syntax(yaml.BaseLoader):
    """PyYAML without its YAML 1.1: a scalar that is neither quoted nor tagged is called ``PLAIN_TAG``."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return PLAIN_TAG
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


@dataclass
class Document:
    """One document of a file.

    Attributes:
        file: Its name as messages give it; "" for a mapping that came from nowhere.
        value: Plain Python values.
        lines: Where each value stands, counted from 1.
    """

    file: str
    value: Any
    lines: dict[At, int] = field(default_factory=dict)

    def where(self, at: At) -> str:
        """``"file.yaml:12: "``: the line of the value, or of the nearest that holds it. "" without a file."""
        while at and at not in self.lines:
            at = at[:-1]
        line = self.lines.get(at)
        return "" if not self.file else f"{self.file}: " if line is None else f"{self.file}:{line}: "


def read_documents(source: str | Path | Mapping[str, Any], as_written: Collection[str]) -> list[Document]:
    """The documents of a YAML file that are not empty, or the one that is given parsed.

    Args:
        as_written: Keys whose value, or whose values one level below, are text whatever they look like.

    Raises:
        SpecError: in one line with the place, for all that is not plain YAML.
    """
    if isinstance(source, Mapping):
        return [Document("", dict(source))]
    text = _text(source)
    try:
        nodes = []
        syntax = _Syntax(text)
        while syntax.check_node():
            nodes.append(syntax.get_node())
        found = [_Builder(str(source), as_written).document(node) for node in nodes]
    except yaml.YAMLError as error:
        raise SpecError(_said(str(source), error), cure=AS_YAML) from None
    except RecursionError:
        raise SpecError(f"{source}: nested too deeply") from None
    return [document for document in found if document.value is not None]


def _text(source: str | Path) -> str:
    try:
        content = Path(source).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise SpecError(f"{source}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError(
            f"{source}:{line}: byte 0x{content[error.start]:02x} is not UTF-8", cure="save the file as UTF-8"
        ) from None


def _said(file: str, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        return f"{file}:{mark.line + 1}: {said}" if mark else f"{file}: {said}"
    return f"{file}: {' '.join(str(error).split())}"


class _Builder:
    """Makes plain values of one document's nodes."""

    def __init__(self, file: str, as_written: Collection[str]) -> None:
        self._document = Document(file, None)
        self._as_written = as_written
        self._count = 0
        self._open: set[int] = set()

    def document(self, node: Any) -> Document:
        self._document.value = self._value(node, ())
        return self._document

    def _value(self, node: Any, at: At) -> Any:
        self._count += 1
        self._document.lines[at] = node.start_mark.line + 1
        if self._count > MOST_NODES:
            raise self._error(node, f"the file unfolds to more than {MOST_NODES:,} values")
        if node.tag not in TAGS:
            raise self._error(
                node, f"the tag {node.tag.replace(TAG, '!!')} is not understood", "write it without a tag"
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, at)
        if id(node) in self._open:
            raise self._error(node, "an anchor is used within itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self._value(item, (*at, number)) for number, item in enumerate(node.value)]
            return self._mapping(node, at)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: Any, at: At) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "a key has to be a word")
            name, line = str(key.value), key.start_mark.line + 1
            if name == MERGE and key.style is None:
                for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(part, yaml.MappingNode):
                        raise self._error(part, "<<: only mappings can be merged")
                    merged = {**self._mapping(part, at), **merged}
                continue
            if name in found:
                raise self._error(key, f"{name}: given twice, in line {lines[name]} and here", "keep one of them")
            found[name], lines[name] = self._value(value, (*at, name)), line
            self._document.lines[(*at, name)] = line
        return {**merged, **found}

    def _scalar(self, node: Any, at: At) -> Any:
        text: str = node.value
        if node.style is not None or node.tag == f"{TAG}str":
            return text
        made = next((made for pattern, made in PLAIN if pattern.fullmatch(text)), None)
        if made is None:
            return text
        try:
            value = made(text)
        except ValueError:  # more digits than Python makes a number of
            return text
        return text if value is not None and self._stays_text(at) else value

    def _stays_text(self, at: At) -> bool:
        return any(isinstance(key, str) and key in self._as_written for key in at[-2:])

    def _error(self, node: Any, message: str, cure: str = "") -> SpecError:
        return SpecError(f"{self._document.file}:{node.start_mark.line + 1}: {message}", cure=cure)
