"""The Google Cloud provider's VMs through google-cloud-compute against the sandbox."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sky_core.clouds.base import LaunchRequest, Switch
from sky_core.clouds.gcp.provider import Gcp
from sky_core.errors import (
    AuthError,
    CapacityError,
    CloudError,
    InvalidRequest,
    QuotaError,
    Throttled,
    UnknownOutcome,
)
from tests.conftest import Sandbox, until
from tests.sandbox.ssh import connect, request, running

ZONE = "us-central1-a"


def vm(token: str, **changes: Any) -> LaunchRequest:
    place = {"instance_type": "n2-standard-2", "region": "us-central1", "zone": ZONE}
    return request(token, **{**place, **changes})


def inserts(sandbox: Sandbox, name: str) -> list[str]:
    calls = [e for e in sandbox.control.audit() if e.get("action") == "instances.insert" and e.get("token") == name]
    return [call["outcome"] for call in calls]


def test_launch_log_in_and_terminate(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    gcp.check()
    [accepted] = gcp.launch(vm(token))
    assert (accepted.id, accepted.use_spot, accepted.zone) == (f"{ZONE}/{token}", True, ZONE)
    [machine] = running(gcp, [accepted])
    assert machine.ip is not None
    session = connect(machine.ip, sandbox.settings.clouds["gcp"].ssh_port)
    assert session.run("echo $SKY_SANDBOX; echo $LOGNAME") == (0, "1\nskyloom\n")
    assert [i.id for i in gcp.find({"skyloom-cluster": token}).instances] == [machine.id]
    gcp.terminate([machine.id])
    until(lambda: gcp.find({"skyloom-cluster": token}).instances == ())
    [gone] = gcp.describe([machine.id])
    assert (gone.state, gone.preempted) == ("gone", False)
    [entry] = [e for e in sandbox.control.ledger(tags={"skyloom-cluster": token}) if e["kind"] == "machine"]
    assert gone.ended_at == pytest.approx(entry["ended"], abs=0.002), "also told of one that is not there any more"
    assert sandbox.live() == []


def test_same_token_same_machines(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    first = gcp.launch(vm(token, num_nodes=2))
    again = Gcp(sandbox.settings.clouds["gcp"]).launch(vm(token, num_nodes=2))
    assert [i.id for i in first] == [i.id for i in again] == [f"{ZONE}/{token}-0", f"{ZONE}/{token}-1"]
    assert len(sandbox.live()) == 2


def test_a_name_that_somebody_else_uses_is_refused_and_spared(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    """Google forgets request ids in time; then only labels tell whose machine it is."""
    gcp.launch(vm(token, tags={"skyloom-cluster": "other"}, zone="us-central1-b"))
    with pytest.raises(InvalidRequest, match="another machine"):
        gcp._check_ours("us-central1-b", token, vm(token, zone="us-central1-b"))
    with pytest.raises(InvalidRequest, match="another machine"):
        gcp._check_ours("us-central1-b", token, vm(token, tags={}, instance_type="n2-standard-4"))
    assert sandbox.live() == [f"us-central1-b/{token}"]


def test_a_lost_reply_does_not_launch_twice(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.fault("gcp", "instances.insert", "lost", code="backendError", token=token)
    with pytest.raises(UnknownOutcome):
        gcp.launch(vm(token))
    assert sandbox.live() == [f"{ZONE}/{token}"], "an unclear launch must not be undone"
    assert [i.id for i in gcp.launch(vm(token))] == [f"{ZONE}/{token}"]
    assert inserts(sandbox, token) == ["created", "replayed"]


def test_a_gang_with_a_lost_reply_is_completed(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.fault("gcp", "instances.insert", "lost", code="500", token=f"{token}-1")
    with pytest.raises(UnknownOutcome):
        gcp.launch(vm(token, num_nodes=3))
    assert len(gcp.launch(vm(token, num_nodes=3))) == 3
    assert len(sandbox.live()) == 3


def test_the_machines_of_a_gang_are_asked_for_at_once(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.fault("gcp", "instances.insert", "slow", seconds=2.0, times=8)
    began = time.monotonic()
    assert [i.id for i in gcp.launch(vm(token, num_nodes=8))] == [f"{ZONE}/{token}-{rank}" for rank in range(8)]
    assert time.monotonic() - began < 8 * 2.0


def test_gangs_are_all_or_nothing(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.capacity(ZONE, "n2-standard-2", "spot", 2)
    with pytest.raises(CapacityError) as refused:
        gcp.launch(vm(token, num_nodes=3))
    assert (refused.value.scope, refused.value.code) == ("zone", "ZONE_RESOURCE_POOL_EXHAUSTED")
    assert sandbox.live() == [], "what was made is gone when the refusal is raised"
    assert len(gcp.launch(vm(token, zone="us-central1-b", num_nodes=3))) == 3


def test_a_refusal_of_then_is_no_answer_for_now(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.capacity(ZONE, "*", "spot", 0)
    for _ in range(2):
        with pytest.raises(CapacityError):
            gcp.launch(vm(token))
    sandbox.control.capacity(ZONE, "*", "spot", None)
    assert len(gcp.launch(vm(token))) == 1
    assert len(gcp.launch(vm(token))) == 1
    assert len(sandbox.live()) == 1


def test_a_gang_that_cannot_be_taken_back_is_not_settled(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.capacity(ZONE, "*", "spot", 1)
    sandbox.control.fault("gcp", "instances.delete", "error", code="forbidden", times=10)
    with pytest.raises(CapacityError) as refused:
        gcp.launch(vm(token, num_nodes=2, asked_before=False))
    assert not refused.value.settled


@pytest.mark.parametrize("type_", ["n1-standard-8", "n1-standard-16"])
def test_v100s_run_out_whatever_they_are_attached_to(sandbox: Sandbox, gcp: Gcp, token: str, type_: str) -> None:
    sandbox.control.capacity(ZONE, "V100", "spot", 0)
    v100 = vm(token, instance_type=type_, accelerator="V100", accelerator_count=2)
    with pytest.raises(CapacityError):
        gcp.launch(v100)
    assert len(gcp.launch(vm(f"{token}-t4", instance_type=type_, accelerator="T4", accelerator_count=1))) == 1
    assert len(gcp.launch(vm(f"{token}-od", instance_type=type_, accelerator="V100", use_spot=False))) == 1


def test_without_a_zone_the_region_finds_one_with_room(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    for zone in (ZONE, "us-central1-b"):
        sandbox.control.capacity(zone, "*", "spot", 0)
    [machine] = gcp.launch(vm(token, zone=None))
    assert machine.zone == "us-central1-c"
    for zone in (ZONE, "us-central1-b"):
        sandbox.control.capacity(zone, "*", "spot", None)
    assert [i.id for i in gcp.launch(vm(token, zone=None))] == [machine.id], "a machine in any zone is the machine"
    sandbox.control.capacity("us-central1", "*", "spot", 0)
    with pytest.raises(CapacityError) as refused:
        gcp.launch(vm(f"{token}-none", zone=None))
    assert refused.value.scope == "region"
    with pytest.raises(InvalidRequest, match="mars-central1"):
        gcp.launch(vm(token, region="mars-central1", zone=None))


def test_quota(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.quota("gcp", "us-central1", 3)
    gcp.launch(vm(token))
    with pytest.raises(QuotaError) as refused:
        gcp.launch(vm(f"{token}-2"))
    assert (refused.value.scope, refused.value.code) == ("region", "QUOTA_EXCEEDED")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("rateLimitExceeded", Throttled),
        ("quotaExceeded", QuotaError),
        ("forbidden", AuthError),
        ("authError", AuthError),
        ("invalid", InvalidRequest),
        ("backendError", UnknownOutcome),
        ("500", UnknownOutcome),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", CapacityError),
    ],
)
def test_errors_are_sorted(sandbox: Sandbox, gcp: Gcp, token: str, code: str, error: type[CloudError]) -> None:
    sandbox.control.fault("gcp", "instances.insert", "error", code=code, times=2, token=token)
    with pytest.raises(error) as raised:
        gcp.launch(vm(token))
    assert type(raised.value) is error
    assert sandbox.live() == []


def test_a_passing_fault_of_a_read_is_not_seen(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.fault("gcp", "instances.aggregatedList", "error", code="backendError")
    sandbox.control.fault("gcp", "zones.list", "slow", seconds=0.2)
    gcp.check()
    assert gcp.find({"skyloom-cluster": token}).instances == ()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"instance_type": "zz-large"}, CapacityError, "machineTypes/zz-large"),
        ({"zone": "us-central1-z"}, InvalidRequest, "Unknown zone"),
        ({"image": "no image"}, InvalidRequest, "malformed"),
        ({"image": "projects/nobody/global/images/family/x"}, InvalidRequest, "nobody"),
        ({"accelerator": "Inferentia"}, InvalidRequest, "Inferentia"),
        ({"instance_type": "g2-standard-4", "accelerator": "V100"}, InvalidRequest, "not compatible"),
    ],
)
def test_what_google_does_not_sell(
    sandbox: Sandbox, gcp: Gcp, token: str, changes: dict[str, Any], error: type[CloudError], message: str
) -> None:
    with pytest.raises(error, match=message):
        gcp.launch(vm(token, **changes))
    assert sandbox.live() == []


def test_preemption_is_told_during_its_grace_and_after(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    warned, taken = running(gcp, gcp.launch(vm(token, num_nodes=2)))
    sandbox.control.preempt(warned.id, notice_s=600)
    [leaving] = gcp.describe([warned.id])
    assert (leaving.state, leaving.preempted) == ("stopping", True)
    sandbox.control.preempt(taken.id, notice_s=0)
    gone = until(lambda: [i for i in gcp.describe([taken.id]) if i.state == "gone"])
    assert (gone[0].preempted, gone[0].reason) == (True, "compute.instances.preempted")
    assert [i.id for i in gcp.find({"skyloom-cluster": token}).instances] == [warned.id], "it was deleted with its disk"
    assert [i.state for i in gcp.launch(vm(token, num_nodes=2))] == ["stopping", "gone"], "and is not made twice"


def test_a_machine_that_halted_itself_is_still_found(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    """Its disk costs money until somebody deletes it."""
    [machine] = running(gcp, gcp.launch(vm(token)))
    assert machine.ip is not None
    connect(machine.ip, sandbox.settings.clouds["gcp"].ssh_port).client.exec_command("sudo shutdown -h now")
    until(lambda: [m["state"] for m in sandbox.control.machines(live=True)] == ["off"])
    [halted] = gcp.find({"skyloom-cluster": token}).instances
    assert (halted.state, halted.preempted, halted.reason) == ("stopping", False, "TERMINATED")
    gcp.terminate([halted.id])
    assert gcp.find({"skyloom-cluster": token}).instances == ()
    [gone] = gcp.describe([halted.id])
    assert gone.ended_at == halted.ended_at, "not its deletion, until which it cost nothing"


def test_unknown_and_ended_machines_are_fine(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    [machine] = gcp.launch(vm(token))
    for _ in range(2):
        gcp.terminate([machine.id, "us-west1-a/ghost", "us-west1-a/tpu/ghost"])
    until(lambda: [i.state for i in gcp.describe(["us-west1-a/ghost", machine.id])] == ["gone", "gone"])


def test_tags_of_any_spelling_are_found_and_kept(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    tags = {"skyloom": token, "skyloom-job": "DAG/Run 1:Train[3]", "Owner": "Ä" * 80, "9": ""}
    gcp.launch(vm(token, tags=tags))
    gcp.launch(
        vm(
            f"{token}-b",
            tags={**tags, "skyloom-job": "dag/run 1:train[3]"},
            region="europe-west4",
            zone="europe-west4-b",
        )
    )
    [machine] = gcp.find({"skyloom-job": "DAG/Run 1:Train[3]"}).instances
    assert (machine.id, dict(machine.tags)) == (f"{ZONE}/{token}", tags)
    assert {i.region for i in gcp.find({"skyloom": token}).instances} == {"us-central1", "europe-west4"}
    assert {i.region for i in gcp.find({"skyloom": token}, regions=["europe-west4"]).instances} == {"europe-west4"}


def test_google_ends_machines_at_their_maximum(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    [machine] = gcp.launch(vm(token, use_spot=False, switch=Switch("", 60.0, 7200.0)))
    scheduling = gcp._instances.get(project=gcp.project, zone=ZONE, instance=token).scheduling
    assert scheduling.max_run_duration.seconds == 7200
    assert scheduling.instance_termination_action == "DELETE"
    assert machine.use_spot is False


@pytest.mark.parametrize(
    ("changes", "image", "disk", "gib"),
    [
        ({}, "ubuntu-2404-lts-amd64", "pd-balanced", 64),
        ({"instance_type": "c4a-standard-4", "arch": "arm64"}, "ubuntu-2404-lts-arm64", "hyperdisk-balanced", 64),
        ({"instance_type": "a2-highgpu-1g", "accelerator": "A100", "disk_gib": 20}, "common-cu129", "pd-balanced", 50),
        ({"image": "projects/debian-cloud/global/images/family/debian-12"}, "debian-12", "pd-balanced", 64),
    ],
)
def test_images_and_disks_fit_the_machine(token: str, changes: dict[str, Any], image: str, disk: str, gib: int) -> None:
    from google.cloud.compute_v1 import NetworkInterface

    from sky_core.clouds.gcp.bodies import instance_body

    body = instance_body(ZONE, token, vm(token, **changes), "", NetworkInterface())
    boot = body.disks[0].initialize_params
    assert image in boot.source_image
    assert (boot.disk_type.rsplit("/", 1)[-1], boot.disk_size_gb, body.disks[0].auto_delete) == (disk, gib, True)
    assert not body.service_accounts, "the project's default one may do more than its user's code should"
    named = instance_body(ZONE, token, vm(token, **changes), "", NetworkInterface(), "me@here").service_accounts[0]
    assert (named.email, *named.scopes) == ("me@here", "https://www.googleapis.com/auth/cloud-platform")


def test_ssh_is_open_to_the_caller_only(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    gcp.launch(vm(token, ports=(8080,)))
    port = str(sandbox.settings.clouds["gcp"].ssh_port)
    found = sorted(gcp._network._firewalls.list(project=gcp.project), key=lambda rule: rule.priority)
    rules = [rule for rule in found if rule.allowed and "8080" in rule.allowed[0].ports]
    assert [(set(r.allowed[0].ports), list(r.source_ranges)) for r in rules] == [({port, "8080"}, ["127.0.0.1/32"])]
    last = found[-1]
    assert (last.denied[0].I_p_protocol, list(last.source_ranges)) == ("all", ["0.0.0.0/0"]), "nobody else"
    assert last.priority < 65534, "before the rule of the default network that lets the world in"


def test_storage(sandbox: Sandbox, gcp: Gcp) -> None:
    import fsspec

    for region in ("us-central1", "europe-west4"):
        storage = gcp.storage(region)
        assert storage == gcp.storage(region) == Gcp(sandbox.settings.clouds["gcp"]).storage(region)
        files = fsspec.filesystem("gs", **gcp.storage_options())
        files.pipe_file(f"{storage.url}/a/b", b"content")
        assert files.cat_file(f"{storage.url}/a/b") == b"content"


def test_a_bucket_of_our_name_that_is_a_strangers_is_not_used(sandbox: Sandbox, gcp: Gcp) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    config = sandbox.settings.clouds["gcp"]
    config = config.model_copy(update={"bucket_prefix": "squatted"})
    strangers = Client("strangers", AnonymousCredentials(), client_options={"api_endpoint": config.storage_endpoint})
    strangers._http.headers["Authorization"] = "Bearer strangers"
    strangers.create_bucket("squatted-us-central1", location="us-central1")
    with pytest.raises(AuthError, match="squatted-us-central1 belongs to another project") as refused:
        Gcp(config).storage("us-central1")
    assert refused.value.scope == "region", "other regions have names of their own"
    assert Gcp(config).storage("europe-west4").url == "gs://squatted-europe-west4"


def test_no_credentials_at_all(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    config = sandbox.settings.clouds["gcp"].model_copy(update={"credentials": {}})
    with pytest.raises(AuthError, match="gcloud auth"):
        Gcp(config)


def test_nobody_answers(sandbox: Sandbox) -> None:
    config = sandbox.settings.clouds["gcp"].model_copy(update={"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(UnknownOutcome):
        Gcp(config).launch(vm("nobody"))
