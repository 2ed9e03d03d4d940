"""What engines share: the fields that they hand on, and the way through tasks that are not ours."""

from __future__ import annotations

from sky_core.engine_kit import TASK_FIELDS, nearest_ours
from sky_core.spec import Task

LADDER = {(rung, side): [(rung - 1, "a"), (rung - 1, "b")] if rung else [] for rung in range(60) for side in "ab"}


def test_a_ladder_of_other_tasks_is_climbed_once() -> None:
    """Two tasks a rung, each after both below: 2**58 paths."""
    looked: list[tuple[int, str]] = []

    def parents(node: tuple[int, str]) -> list[tuple[int, str]]:
        looked.append(node)
        return LADDER[node]

    assert nearest_ours((59, "a"), parents, lambda node: node[0] == 0) == {(0, "a"), (0, "b")}
    assert len(looked) == len(set(looked)) <= len(LADDER)


def test_nothing_is_sought_above_a_task_of_ours() -> None:
    above = {"d": ["c", "x"], "c": ["b"], "x": ["b"], "b": ["a"], "a": []}
    assert nearest_ours("d", above.__getitem__, lambda node: node in "abc") == {"b", "c"}
    assert nearest_ours("a", above.__getitem__, lambda node: True) == set()


def test_an_engine_hands_on_all_of_a_task_that_it_does_not_make_itself() -> None:
    assert set(Task.model_fields) == TASK_FIELDS | {"name", "run", "function", "resources", "inputs", "outputs"}
