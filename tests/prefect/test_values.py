"""Values of cloud tasks are loaded here; one that cannot be stays where it is, and only machines get the reference."""

from __future__ import annotations

from contextvars import copy_context
from types import SimpleNamespace

import cloudpickle
import pytest
from prefect.client.schemas.objects import State, StateType
from prefect.results import ResultRecord

from sky_core.broker.calls import Reference, pack
from sky_core.errors import TransferError
from sky_core.remote.agent import call
from sky_core.spec import Artifact
from sky_prefect.remote.values import Values, for_a_machine, without_reference

LIES = Artifact(uri="s3://b/result", size_gb=0.1, location="aws/us-east-1")


class BrokerOf:
    """A broker whose store has one result, as bytes; None for one that was too large."""

    def __init__(self, content):
        self.content = content
        self.store = SimpleNamespace(payload=lambda sha: self.content)

    def job(self, job_id):
        return SimpleNamespace(id=job_id, result={"value": "sha"} if self.content is not None else {})

    def outputs(self, job):
        return {"result": LIES}

    def value(self, job):
        if self.content is None:
            raise TransferError("its value is not here")
        return "fetched"


def result(value):
    return call.pack("result", cloudpickle.dumps(("value", value)))


def test_a_large_value_is_sent_to_the_next_machine_as_a_reference_and_a_small_one_as_it_is():
    values = Values()
    large, small = (
        values.of(broker, broker.job("job-1")) for broker in (BrokerOf(result("x" * 20_000)), BrokerOf(result([1])))
    )
    assert (large, small) == ("x" * 20_000, [1])
    assert values.reference(large) == Reference("job-1", LIES)
    assert values.reference(small) is None
    assert values.reference("x" * 20_000) is None, "it is this object that lies there, not one that is equal"
    payload, inputs = pack(len, [{"a": [large], "b": small}], {}, lies=values.reference)
    assert inputs == {"arg_0": LIES}
    assert len(payload) < 1000


@pytest.mark.parametrize("content", [None, call.pack("result", b"cno_such_module\nThing\n.")])
def test_a_value_that_cannot_be_loaded_here_is_fetched_when_it_is_looked_at(content):
    broker = BrokerOf(content)
    left = Values().of(broker, broker.job("job-2"))
    assert left == Reference("job-2", LIES)
    state = State(type=StateType.COMPLETED, data=ResultRecord(metadata={}, result=left))
    shown = without_reference(state, broker)
    if content is None:
        with pytest.raises(TransferError, match="not here"):
            shown.result(_sync=True)
    else:
        assert shown.result(_sync=True) == "fetched"
    context = copy_context()
    context.run(for_a_machine.set, True)
    assert context.run(lambda: shown.data.result) == left


def test_other_states_stay_as_they_are():
    state = State(type=StateType.COMPLETED, data=ResultRecord(metadata={}, result=3))
    assert without_reference(state, BrokerOf(None)).result(_sync=True) == 3
