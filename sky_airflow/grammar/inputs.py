"""A command's inputs as its author may give them: one artifact each, or as many as mapped instances have made."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sky_airflow.exchange import as_artifact, listed, only_output, read_back
from sky_airflow.grammar.fields import artifact, plain
from sky_core.errors import SpecError
from sky_core.spec import Artifact


@dataclass(frozen=True)
class Inputs:
    """What a command reads.

    Attributes:
        artifacts: By the name that the machine knows them by.
        folders: Names that stand for several artifacts, and the names of these: on the machine such an input is a
            folder with a link to each, ``0``, ``1``, ….
    """

    artifacts: Mapping[str, Artifact]
    folders: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def before(self, command: str) -> str:
        """The command, preceded by what makes the folders."""
        lines = []
        for name, members in self.folders.items():
            variable = f"SKY_INPUT_{name.upper()}"
            lines.append(f'export {variable}="$(mktemp -d)"')
            lines += [f'ln -s "$SKY_INPUT_{member.upper()}" "${variable}"/{shlex.quote(str(number))}'
                      for number, member in enumerate(members)]  # fmt: skip
        return "\n".join([*lines, command])


def read_inputs(task: str, said: Any) -> Inputs:
    """The inputs of a task, every reference and template in them resolved.

    An input that is nothing (its task was skipped) is left out.

    Raises:
        SpecError: naming the input that is neither an artifact nor several.
    """
    said = plain(task, "inputs", said) or {}
    if not isinstance(said, Mapping):
        raise SpecError(f"Task.{task}: inputs: {said!r} is not a mapping from names to artifacts")
    found: dict[str, Artifact] = {}
    folders: dict[str, list[str]] = {}
    for name, value in said.items():
        where = f"Task.{task}: inputs.{name}"
        several = _several(value)
        if several is None:
            for one in _one(where, value):
                found[name] = one
            continue
        members = {f"{name}_{number}": one for number, part in enumerate(several) for one in _one(where, part)}
        if twice := sorted(set(members) & (set(found) | set(said))):
            raise SpecError(f"{where}: its parts are called {', '.join(twice)} like other inputs", cure="rename one")
        found |= members
        folders[name] = list(members)
    return Inputs(found, folders)


def _several(value: Any) -> Sequence[Any] | None:
    if isinstance(value, str | os.PathLike | Mapping | Artifact) or value is None:
        return None
    return listed(value) if isinstance(value, Sequence) else None


def _one(where: str, value: Any) -> Iterator[Artifact]:
    value = as_artifact(only_output(where, read_back(value)))
    if value is None or value == "None":
        return
    if isinstance(value, str) and "://" not in value:
        raise SpecError(f"{where}: {value!r} is neither a URI nor another task's output")
    yield artifact(where, value)
