"""A step can change the fields of a job's memory, and no others."""

from __future__ import annotations

from typing import get_type_hints

from sky_core.job.memory import Changes, Memory


def test_the_changes_of_a_step_are_the_fields_of_the_memory_with_their_types():
    assert get_type_hints(Changes) == {name: hint for name, hint in get_type_hints(Memory).items() if name[0] != "_"
                                       and name in Memory.model_fields}  # fmt: skip
