"""Machines of one's own: claims on the slots of real hosts, by a provider that has nothing but SSH."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from sky_core.clouds.base import TAG_CLUSTER, LaunchRequest
from sky_core.clouds.ssh.provider import Ssh
from sky_core.errors import AuthError, CapacityError, InvalidRequest, NotConnected, UnknownOutcome
from tests.sandbox import ssh
from tests.sandbox.lab import Lab


def request(token: str, **changes: object) -> LaunchRequest:
    fields = {"instance_type": "box", "region": "basement", "zone": None, "use_spot": False, **changes}
    return ssh.request(token, **fields)


def test_no_host_is_booked_twice_however_many_ask_at_once(lab: Lab) -> None:
    def ask(number: int) -> int:
        try:
            return len(Ssh(lab.config()).launch(request(f"job-{number}-1")))
        except CapacityError:
            return 0

    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(ask, range(6)))
    assert sorted(got) == [0, 0, 0, 0, 1, 1]
    assert [len(lab.claims(machine)) for machine in lab.machines] == [1, 1]


def test_half_a_gang_is_given_back(lab: Lab) -> None:
    cloud = Ssh(lab.config())
    cloud.launch(request("first-1"))
    with pytest.raises(CapacityError):
        cloud.launch(request("gang-1", num_nodes=2))
    assert cloud.find({TAG_CLUSTER: "gang-1"}).instances == ()
    assert sum(len(lab.claims(machine)) for machine in lab.machines) == 1


def test_a_host_whose_key_is_not_pinned_is_refused_with_the_cure(lab: Lab) -> None:
    lab.known_hosts.write_text("")
    cloud = Ssh(lab.config())
    with pytest.raises(AuthError, match=r"host key of .* is not known .*ssh-keyscan -p \d+ 127\..*host_keys in"):
        cloud.launch(request("first-1"))
    with pytest.raises(AuthError, match="is not known"):
        cloud.check()


def test_a_stranger_under_a_hosts_address_is_told_nothing(lab: Lab) -> None:
    first, second = lab.machines
    lab.known_hosts.write_text(f"[{first.ip}]:{first.port} {second.host_key}\n")
    with pytest.raises(AuthError, match="host key differs"):
        Ssh(lab.config()).check()
    assert lab.claims(first) == []


def test_a_key_that_a_host_does_not_take_is_named(lab: Lab) -> None:
    lab.key_file.write_text(ssh.USER_KEY)
    with pytest.raises(AuthError, match=r"does not let us in.*authorized_keys"):
        Ssh(lab.config()).launch(request("first-1"))


def test_what_hosts_never_give_is_refused(lab: Lab) -> None:
    cloud = Ssh(lab.config())
    for changes in ({"use_spot": True}, {"image": "ubuntu"}, {"num_nodes": 3}):
        with pytest.raises(InvalidRequest):
            cloud.launch(request("first-1", **changes))


def test_a_host_that_falls_silent_is_waited_for_and_then_given_up(lab: Lab) -> None:
    patient, cloud = Ssh(lab.config()), Ssh(lab.config(lost_after_s=0))
    (instance,) = cloud.launch(request("first-1"))
    (machine,) = (machine for machine in lab.machines if lab.claims(machine))
    lab.park.kill(machine)
    with pytest.raises(UnknownOutcome):
        patient.describe([instance.id])
    with pytest.raises(UnknownOutcome):
        patient.terminate([instance.id])
    assert [name.split(":")[0] for name in patient.find({}).unreachable] == [machine.ip]
    cloud.terminate([instance.id])
    assert [one.state for one in cloud.describe([instance.id])] == ["gone"]
    assert cloud.launch(request("second-1"))[0].ip != instance.ip, "the other host takes over"
    with pytest.raises(CapacityError) as taken:
        cloud.launch(request("third-1"))
    assert "1 of 2 hosts give none" in str(taken.value), "taken slots are not all there is to it"
    assert not taken.value.settled, "the silent host may have heard us"


def test_no_host_at_all_means_no_cloud(lab: Lab) -> None:
    for machine in lab.machines:
        lab.park.kill(machine)
    with pytest.raises(NotConnected, match="no host answers"):
        Ssh(lab.config()).launch(request("first-1"))
