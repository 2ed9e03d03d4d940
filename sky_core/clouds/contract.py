"""What every cloud promises (:mod:`sky_core.clouds.base`), as checks that a provider's own tests run on it.

    @pytest.mark.parametrize("promise", PROMISES)
    def test_contract(promise):
        promise(Subject(lambda: connect("meadow", settings), "calf", "north", "north-1"))

Each takes what it launches down again. They ask the real provider, so that of an emulated cloud or of a test account;
what needs a cloud that fails on order (lost replies, refusals half-way) is in this project's own tests.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sky_core.clouds.base import (
    REFUSALS,
    TAG_CLUSTER,
    TAG_JOB,
    TAG_OWNER,
    Cloud,
    Instance,
    LaunchRequest,
    Reach,
    State,
)
from sky_core.clouds.userdata import public_key
from sky_core.errors import AuthError, InvalidRequest

OWNER = "contract"
LOOK_S = 0.2


@dataclass(frozen=True)
class Subject:
    """A cloud under test, and a machine that it sells.

    Attributes:
        connect: Makes a connection of its own each time, as each driver has one.
        nodes: How many of the machine a gang may have.
        clock_s: How far the cloud's record of a launch may be from this machine's clock.
        patience_s: How long the end of a machine may take.
        queue_s: How long it may wait in the cloud's own queue; None to be had at once.
    """

    connect: Callable[[], Cloud]
    instance_type: str
    region: str
    zone: str | None
    accelerator: str | None = None
    nodes: int = 2
    clock_s: float = 120.0
    patience_s: float = 600.0
    queue_s: float | None = None

    def request(self, token: str, nodes: int = 1) -> LaunchRequest:
        """A launch on demand."""
        key = _key()
        return LaunchRequest(
            token=token,
            instance_type=self.instance_type,
            region=self.region,
            zone=self.zone,
            use_spot=False,
            num_nodes=nodes,
            accelerator=self.accelerator,
            host_key=key,
            authorized_key=public_key(key),
            queue_s=self.queue_s,
            tags={TAG_OWNER: OWNER, TAG_CLUSTER: token, TAG_JOB: f"job-{token}"},
        )


Promise = Callable[[Subject], None]


def finds_by_tag_and_ends_by_id(subject: Subject) -> None:
    """A gang is found by its tags, described by its ids, and gone once it is told to end, however often."""
    token, cloud = new_token(), subject.connect()
    cloud.check()
    before = time.time()
    with _ended(subject, token):
        gang = cloud.launch(subject.request(token, subject.nodes))
        ids = [instance.id for instance in gang]
        assert len(set(ids)) == len(ids) == subject.nodes, f"{subject.nodes} machines with ids of their own: {ids}"
        assert sorted(ids) == sorted(_tagged(cloud, token)), "a search by tag finds what was launched, and no more"
        assert _tagged(cloud, f"{token}-other") == [], "another launch's tag finds nothing"
        described = cloud.describe(ids)
        assert [instance.id for instance in described] == ids, "descriptions keep the order of the ids"
        for instance in described:
            _is_what_was_asked_for(subject, instance, cloud.name, token, before)
        for _ in range(2):
            cloud.terminate(ids)
        _until(subject, lambda: _tagged(cloud, token) == [], "what was told to end is still found")
        _until(subject, lambda: _states(cloud, ids) == {"gone"}, "what has ended is not described as gone")


def gives_the_same_machines_for_the_same_token(subject: Subject) -> None:
    """A driver that takes over makes the same call again, and gets the same machines."""
    token, request = new_token(), subject.request
    with _ended(subject, token):
        first = subject.connect().launch(request(token))
        again = subject.connect().launch(request(token))
        assert [i.id for i in first] == [i.id for i in again], "one token, two launches"
        assert len(_tagged(subject.connect(), token)) == 1, "a second machine was launched for the token"


def refuses_what_it_does_not_sell(subject: Subject) -> None:
    """A machine that there is none of is refused, by an error that says no, and nothing is left of it."""
    token, cloud = new_token(), subject.connect()
    with _ended(subject, token):
        try:
            cloud.launch(replace(subject.request(token), instance_type="no-such-machine", accelerator=None))
        except REFUSALS:
            assert _tagged(cloud, token) == [], "something is left of a refused launch"
        else:
            raise AssertionError("a machine type that does not exist was launched")


def has_one_bucket_in_a_region(subject: Subject) -> None:
    """Asking for the bucket makes it if need be, and is the same bucket each time."""
    first, again = (subject.connect().storage(subject.region) for _ in range(2))
    assert first == again, "two buckets in one region"
    scheme, _, path = first.url.partition("://")
    assert scheme, f"a bucket's URL has a scheme, and storage() gave {first.url!r}"
    assert path.strip("/") == path != "", f"a bucket's URL ends without a slash: {first.url}"


def lends_for_a_while_or_says_what_to_set(subject: Subject) -> None:
    """Machines get options that end, and that no log shows; a login that cannot lend says what would help."""
    cloud = subject.connect()
    url = cloud.storage(subject.region).url
    try:
        loan = cloud.lend([Reach(f"{url}/contract", write=True)], cloud.name)
    except AuthError as error:
        if not error.cure:
            raise AssertionError(f"an error without a cure: {error}") from error
        return
    assert loan.ends_at is None or loan.ends_at > time.time() + 60, "a loan that has ended already"
    for value in loan.options.values():
        assert not isinstance(value, str) or value not in repr(loan), "a loan's repr shows what it lends"


def keeps_what_holds_data(subject: Subject) -> None:
    """Leftovers that hold data are told of and never removed."""
    cloud = subject.connect()
    cloud.storage(subject.region)
    for thing in cloud.leftovers({TAG_OWNER: OWNER}).things:
        assert thing.cloud == cloud.name, f"a leftover of another cloud: {thing}"
        if not thing.holds_data:
            continue
        try:
            cloud.remove(thing)
        except InvalidRequest:
            continue
        raise AssertionError(f"{thing.id} may hold somebody's data, and was removed")


PROMISES: tuple[Promise, ...] = (
    finds_by_tag_and_ends_by_id,
    gives_the_same_machines_for_the_same_token,
    refuses_what_it_does_not_sell,
    has_one_bucket_in_a_region,
    lends_for_a_while_or_says_what_to_set,
    keeps_what_holds_data,
)


def new_token() -> str:
    """A token that no launch ever had."""
    return f"contract-{uuid.uuid4().hex[:12]}"


def _key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _tagged(cloud: Cloud, token: str) -> list[str]:
    return [instance.id for instance in cloud.find({TAG_CLUSTER: token}).instances]


def _states(cloud: Cloud, ids: list[str]) -> set[State]:
    return {instance.state for instance in cloud.describe(ids)}


def _is_what_was_asked_for(subject: Subject, instance: Instance, cloud: str, token: str, asked_at: float) -> None:
    is_at = (instance.cloud, instance.region, instance.instance_type)
    assert is_at == (cloud, subject.region, subject.instance_type), f"not what was asked for: {is_at}"
    assert instance.state in ("pending", "running"), f"a machine just launched is {instance.state}"
    assert instance.tags.get(TAG_CLUSTER) == token, f"without its tag: {dict(instance.tags)}"
    assert instance.ended_at is None, "a machine that runs has an end"
    made_at = instance.launched_at
    assert made_at is None or abs(made_at - asked_at) < subject.clock_s, f"asked for at {asked_at}, made at {made_at}"


def _until(subject: Subject, condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + subject.patience_s
    while not condition():
        assert time.monotonic() < deadline, f"{otherwise}, after {subject.patience_s:g} s"
        time.sleep(LOOK_S)


@contextmanager
def _ended(subject: Subject, token: str) -> Iterator[None]:
    """Nothing of the launch is left running, however the check ends."""
    try:
        yield
    finally:
        cloud = subject.connect()
        cloud.terminate(_tagged(cloud, token))
