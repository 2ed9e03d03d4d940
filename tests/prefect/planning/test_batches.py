"""Where there may be fewer machines than tasks, like tasks share them: who with whom, and who waits for whom."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from uuid import uuid4

import pytest

from sky_prefect.needs import timed
from sky_prefect.planning.batches import gather
from sky_prefect.remote.lots import Lots
from sky_prefect.window import Node, node_name, pipeline_of

SMALL = {"cpus": "2+", "hours": 0.1, "output_gb": 0.01}


class Flow:
    """Nodes as a flow would have submitted them."""

    def __init__(self):
        self.nodes, self.names, self.tasks = {}, {}, {}

    def name(self, stem):
        number = self.names[stem] = self.names.get(stem, -1) + 1
        return node_name(stem, number)

    def submit(self, name, data=(), order=(), needs=SMALL, timeout=None):
        task = self.tasks.setdefault(name, SimpleNamespace(name=name, fn=object(), timeout_seconds=timeout))
        run = SimpleNamespace(id=uuid4())
        above = [{node.task_run.id for node in nodes} for nodes in (data, order)]
        node = Node(self.name(name), task, {}, None, run, None, None, needs, *above)
        self.nodes[run.id] = node
        return node

    def gather(self, machines):
        gather(list(self.nodes.values()), self.nodes, machines, self.name)

    def pipeline(self):
        return pipeline_of("flow", self.nodes)


def test_a_wide_map_is_as_many_tasks_of_the_plan_as_there_may_be_machines():
    flow = Flow()
    squares = [flow.submit("square") for _ in range(500)]
    flow.gather(8)
    tasks = {task.name: task for task in flow.pipeline().tasks}
    assert list(tasks) == ["square.x63", *(f"square.x63[{number}]" for number in range(1, 7)), "square.x59"]
    assert tasks["square.x63"].hours == pytest.approx(6.3)
    assert tasks["square.x59"].outputs["result"].size_gb == pytest.approx(0.59)
    assert squares[0].planned == "square.x63" == squares[62].planned != squares[63].planned


def test_a_map_over_a_map_keeps_its_batches_apart_and_no_task_waits_for_its_own_batch():
    flow = Flow()
    squares = [flow.submit("square") for _ in range(6)]
    here = [flow.submit("here", [one], needs=None) for one in squares]
    cubes = [flow.submit("cube", [one]) for one in squares]
    after = [flow.submit("square", order=[one]) for one in here]
    total = flow.submit("total", cubes)
    flow.gather(2)
    pipeline = flow.pipeline()
    assert {task.name for task in pipeline.tasks} == {
        "square.x3", "square.x3[1]", "cube.x3", "cube.x3[1]", "square.x3[2]", "square.x3[3]", "total",
    }  # fmt: skip
    assert set(pipeline.edges()) == {
        ("square.x3", "cube.x3"), ("square.x3[1]", "cube.x3[1]"), ("square.x3", "square.x3[2]"),
        ("square.x3[1]", "square.x3[3]"), ("cube.x3", "total"), ("cube.x3[1]", "total"),
    }  # fmt: skip
    assert total.batch is None
    assert after[0].planned == "square.x3[2]"


def test_what_holds_for_one_machine_and_one_call_keeps_its_own():
    flow = Flow()
    alone = [
        [flow.submit("late", timeout=5) for _ in range(4)],
        [flow.submit("saved", needs={**SMALL, "checkpoint": "5m"}) for _ in range(4)],
        [flow.submit("gang", needs={**SMALL, "num_nodes": 2}) for _ in range(4)],
        [flow.submit("two") for _ in range(2)],
    ]
    unlike = [flow.submit("unlike", needs={**SMALL, "cpus": cpus}) for cpus in (1, 2, 3, 4)]
    flow.gather(2)
    assert [node.batch for nodes in [*alone, unlike] for node in nodes] == [None] * 18


def test_hours_of_several_calls():
    assert timed("0.5", 4) == 2
    assert timed({"T4": 1, "L4": 0.5}, 3) == {"T4": 3, "L4": 1.5}
    assert timed(lambda machine: machine, 3)(2) == 6
    assert timed(lambda machine: None, 3)(2) is None


def test_a_lot_goes_once_all_are_there_or_have_left_and_each_gets_its_own_answer():
    lots = Lots(range(4), quiet_s=600)
    made = []

    def make(lot):
        made.append([call.args for call in lot])
        for call in lot:
            call.answer.set_result((call.who * 10, True))

    with ThreadPoolExecutor() as threads:
        answers = [threads.submit(lots.call, who, make, print, (who,), {}) for who in (2, 0, 3)]
        lots.leave(1)
        assert [answer.result(60)[0] for answer in answers] == [20, 0, 30]
    assert made == [[(0,), (2,), (3,)]]
    lots.leave(0)
    lots.leave(3)
    assert lots.call(2, make, print, ("again",), {}) == (20, True), "a retry does not wait for those who are through"


def test_a_lot_does_not_wait_for_ever_and_there_is_one_at_a_time():
    """As where a limit lets a task begin only once another has ended."""
    lots = Lots(range(3), quiet_s=0.05)
    first_ended, at_once, most = threading.Event(), 0, 0

    def make(lot):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        first_ended.wait(0.2)
        at_once -= 1
        for call in lot:
            call.answer.set_result((call.tried, True))

    def later(who):
        first_ended.wait(60)
        return lots.call(who, make, print, (), {})

    with ThreadPoolExecutor() as threads:
        others = [threads.submit(later, who) for who in (1, 2)]
        assert lots.call(0, make, print, (), {}) == (0, True)
        first_ended.set()
        again = threads.submit(lots.call, 0, make, print, (), {})
        assert [one.result(60)[0] for one in [*others, again]] == [0, 0, 1]
    assert most == 1


def test_an_error_is_that_of_all_in_the_lot():
    lots = Lots(range(2))

    def make(lot):
        lot[0].answer.set_result(("first", True))
        raise LookupError("no machine")

    with ThreadPoolExecutor() as threads:
        answers = [threads.submit(lots.call, who, make, print, (), {}) for who in range(2)]
        assert answers[0].result(60) == ("first", True)
        with pytest.raises(LookupError, match="no machine"):
            answers[1].result(60)
