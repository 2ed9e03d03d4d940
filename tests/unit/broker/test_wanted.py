"""When nobody has waited for a job for long: the engine is asked, and what it says, or does not say, is kept to."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from sky_core import Resources, Task
from sky_core.broker.interest import RENEW_S, UNTIL_SILENT, Waiter, want_to_the_end
from sky_core.config import Settings
from sky_core.driver import wanted
from sky_core.driver.asking import ask
from sky_core.driver.inquiries import Inquiries
from sky_core.job.memory import Memory
from sky_core.store import Store
from tests.conftest import until

ENGINE = {"engine": "e", "run": 1}


@dataclass
class Step:
    """A step of a job whose engine gives one answer; what it comes to is remembered."""

    driving: SimpleNamespace
    job: object
    memory: Memory = field(default_factory=lambda: Memory(started=True, phase="running"))
    task: Task = field(default_factory=lambda: Task(name="t", run="x", checkpoint="5m", resources=Resources()))
    cluster: object = "a cluster"
    successor: object = None
    events: list = field(default_factory=list)

    def comes_to(self, events=(), **memory):
        self.events += [event.kind for event in events]
        self.memory = self.memory.model_copy(update=memory)

    def look(self):
        """Look again once the engine has answered, as if enough time had passed."""
        for _ in range(3):  # to ask, to hear the answer, to act on what it has come to
            self.driving.inquiries._looked.clear()
            wanted.look(self)
            until(lambda: self.driving.inquiries._asking is None)
            self.job = self.driving.store.job(self.job.id)  # as every step reads it
        return self


@pytest.fixture
def later():
    """What the store's clock is ahead by."""
    return SimpleNamespace(s=0.0)


@pytest.fixture
def step(tmp_path, later, monkeypatch):
    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path)})
    store = Store(settings.store_url)
    job = store.submit("k", plan_key="p", task="t", spec="{}", owner=None)
    now = store.now
    monkeypatch.setattr(store, "now", lambda: now() + later.s)
    return lambda answer=None: Step(
        SimpleNamespace(settings=settings, store=store, inquiries=Inquiries(lambda hows: [answer] * len(hows))),
        job,
    )


def ask_for(step, how=ENGINE):
    step.driving.store.show_interest(step.job.id, "me", how)


@pytest.mark.parametrize("silent", [0, 200])
def test_a_job_that_is_waited_for_goes_on(step, later, silent):
    one = step(answer=False)
    ask_for(one)
    later.s = silent
    assert one.look().events == []


def test_a_no_ends_the_job_with_a_last_checkpoint(step, later):
    one = step(answer=False)
    ask_for(one)
    later.s = 400
    assert one.look().events == ["dismissed"]
    assert one.memory.leaving
    assert one.look().job.cancel_reason is None, "its checkpoint is being taken"
    later.s = 400 + wanted.FAREWELL_S + 1
    assert one.look().job.cancel_reason == "its engine does not want it any more"


def test_a_no_ends_a_job_without_checkpoints_at_once(step, later):
    one = replace(step(answer=False), task=Task(name="t", run="x", resources=Resources()))
    ask_for(one)
    later.s = 400
    assert one.look().job.cancel_reason is not None


def test_a_job_that_was_dismissed_is_not_begun_again(step, later):
    one = step(answer=False)
    ask_for(one)
    later.s = 400
    one.look()
    one.memory, one.cluster = one.memory.next_attempt(ran=True), None
    assert one.look().job.cancel_reason is not None


def test_a_yes_lets_it_go_on_for_as_long_as_it_is_said(step, later):
    one = step(answer=True)
    ask_for(one)
    later.s = 100_000
    assert one.look().events == []


@pytest.mark.parametrize("how", [ENGINE, {}, None])
def test_without_an_answer_it_goes_on_for_hours_with_a_warning(step, later, how):
    """Nobody can be asked, the engine does not answer, or nobody ever waited."""
    one = step(answer=None)
    if how is not None:
        ask_for(one, how)
    later.s = 5 * 3600
    assert one.look().look().events == ["unwanted"], "told once"
    later.s = 7 * 3600
    assert one.look().events == ["unwanted", "dismissed"]


def test_what_is_of_use_to_its_holder_alone_ends_soon_after_him_whoever_looked_at_it_meanwhile(step, later):
    one = step(answer=None)
    ask_for(one, {UNTIL_SILENT: True})
    one.driving.store.show_interest(one.job.id, "skyloom logs", {})
    later.s = 400
    assert one.look().events == ["dismissed"]


def test_it_may_go_on_for_ever(step, later):
    one = step(answer=None)
    one.driving.settings = one.driving.settings.model_copy(update={"unwanted_ttl_s": 0.0})
    later.s = 1e6
    assert one.look().events == ["unwanted"]


def test_whoever_comes_back_is_told_again_the_next_time(step, later):
    one = step(answer=None)
    ask_for(one)
    later.s = 4000
    one.look()
    later.s = 0
    assert not one.look().memory.unwanted


def test_a_job_wanted_to_its_end_is_never_asked_about(step, later):
    one = step(answer=False)
    want_to_the_end(one.driving.store, one.job.id)
    later.s = 1e6
    assert one.look().events == []


def test_interest_is_renewed_now_and_then_only(step, monkeypatch):
    one, said = step(), []
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr("sky_core.broker.interest.time.monotonic", lambda: now.s)
    monkeypatch.setattr(one.driving.store, "show_interest", lambda *about: said.append(about))
    waiter = Waiter("me", ENGINE)
    for now.s in (100, 110, 100 + RENEW_S, 110 + RENEW_S):
        waiter.renew(one.driving.store, one.driving.settings, "job-1")
    assert said == [("job-1", "me", ENGINE)] * 2


def test_an_engine_that_is_not_installed_does_not_answer():
    assert ask([{"engine": "nobody's"}, {}]) == [None, None]
