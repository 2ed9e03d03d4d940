"""What a step came to is put together from its parts, and is written as one."""

from sky_core.events import Leaving, Started
from sky_core.job.memory import Memory
from sky_core.job.outcome import Outcome
from sky_core.store import Cluster, Launch


def cluster(attempt: int, **about) -> Cluster:
    fields = {
        "token": f"sky-1-{attempt}", "job_id": "job-1", "attempt": attempt, "state": "intended", "cloud": "aws",
        "region": "us-east-1", "zone": None, "instance_type": "t3.small", "use_spot": False, "num_nodes": 1,
        "price": 0.02, "host_key": "", "intended_at": 1.0, **about,
    }  # fmt: skip
    return Cluster(**fields)


def test_what_is_decided_later_stands_and_what_is_told_adds_up():
    first = Outcome(
        memory=Memory(), after_s=5.0, state="running", events=(Started(attempt=1, ips=()),), clusters=(cluster(1),)
    )
    later = Outcome(memory=Memory(leaving=True), events=(Leaving(attempt=1),), clusters=(cluster(1, state="ended"),))
    both = first.then(later)
    assert both.memory.leaving
    assert (both.after_s, both.state) == (0.0, "running")
    assert [event.kind for event in both.events] == ["started", "leaving"]
    assert [changed.state for changed in both.clusters] == ["ended"]
    assert both.has_ended(cluster(1))
    assert first.then(None) is first


def test_an_intent_bears_the_time_at_which_it_is_written():
    owed = [Launch(f"sky-1-{attempt}", "job-1", "aws", "us-east-1", None, asked_at=1.0) for attempt in (1, 2)]
    intent = Outcome(memory=Memory(), attempt=2, clusters=(cluster(1), cluster(2)), launches=tuple(owed))
    written = intent.intended_at(7.0)
    assert [changed.intended_at for changed in written.clusters] == [1.0, 7.0]
    assert [launch.asked_at for launch in written.launches] == [1.0, 7.0]
