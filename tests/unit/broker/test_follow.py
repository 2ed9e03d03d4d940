"""Whoever follows a job outlasts a store that is away, and misses nothing of it."""

import pytest

from sky_core.broker import Broker
from sky_core.broker.interest import Waiter
from sky_core.config import Settings
from sky_core.errors import StoreAway


@pytest.fixture
def broker(tmp_path):
    return Broker.open(Settings.load({"SKYLOOM_HOME": str(tmp_path)}))


def away(*args):
    raise StoreAway("the store is away")


def test_a_store_that_is_away_for_a_while_is_outlasted(broker, monkeypatch):
    submitted = broker.store.submit("k", plan_key="p", task="t", spec="{}", owner=None)
    following, waiter = broker.follow(submitted.id), Waiter("me")
    _, events, _ = next(following)
    assert [event.kind for event in events] == ["submitted"]
    broker.store.request_cancel(submitted.id, "enough")
    with monkeypatch.context() as outage:
        for name in ("job", "show_interest"):
            outage.setattr(broker.store, name, away)
        waiter.renew(broker.store, broker.settings, submitted.id)
        assert next(following) == (submitted, [], []), "as it was last seen"
    job, events, _ = next(following)
    assert ([event.kind for event in events], job.cancel_reason) == (["cancel requested"], "enough")
    waiter.renew(broker.store, broker.settings, submitted.id)
    assert [interest.who for interest in broker.store.interest_of(submitted.id)] == ["me"]


def test_an_outage_between_two_reads_hides_nothing(broker, monkeypatch):
    """The job's end is not told before what led to it."""
    submitted = broker.store.submit("k", plan_key="p", task="t", spec="{}", owner=None)
    following = broker.follow(submitted.id)
    next(following)
    broker.store.request_cancel(submitted.id, "enough")
    with monkeypatch.context() as outage:
        outage.setattr(broker.store, "events", away)
        assert next(following)[0].cancel_reason is None
    assert [event.kind for event in next(following)[1]] == ["cancel requested"]
