"""Accounts as companies and newcomers have them: what is closed, off or none, and what works all the same."""

from __future__ import annotations

from contextlib import suppress

import pytest

from sky_core.clouds import connect
from sky_core.errors import AuthError, CloudError, NotSetUp, QuotaError, Throttled
from tests.conftest import Sandbox, until
from tests.sandbox.clouds.test_contract import SUBJECTS

OTHER_REGION = {
    "aws": {"region": "eu-west-1", "zone": "eu-west-1a"},
    "gcp": {"region": "europe-west1", "zone": "europe-west1-b"},
    "azure": {"region": "westeurope", "zone": "westeurope-1"},
}
CLOUDS = list(OTHER_REGION)
GPUS = {
    "aws": {"instance_type": "g4dn.xlarge", "accelerator": "T4"},
    "gcp": {"instance_type": "n1-standard-4", "accelerator": "T4", "accelerator_count": 1},
    "azure": {"instance_type": "Standard_NC4as_T4_v3", "accelerator": "T4"},
}


@pytest.mark.parametrize("name", CLOUDS)
def test_a_policy_that_denies_regions_loses_only_those(sandbox: Sandbox, token: str, name: str) -> None:
    subject, cloud = SUBJECTS[name], connect(name, sandbox.settings)
    sandbox.control.account(denied=[OTHER_REGION[name]["region"]])
    with pytest.raises(AuthError) as refused:
        cloud.launch(subject.request(token, **OTHER_REGION[name], asked_before=False))
    assert refused.value.scope == "region"
    assert len(cloud.launch(subject.request(f"{token}-b", asked_before=False))) == 1
    assert len(cloud.find({"skyloom-cluster": f"{token}-b"}).instances) == 1, "the search is not lost either"


def test_a_region_that_is_not_enabled_is_no_wrong_password(sandbox: Sandbox, token: str) -> None:
    subject, cloud = SUBJECTS["aws"], connect("aws", sandbox.settings)
    sandbox.control.account("new")
    with pytest.raises(AuthError, match="enable-region") as refused:
        cloud.launch(subject.request(token, region="eu-south-1", zone="eu-south-1a"))
    assert refused.value.scope == "region"
    assert cloud.find({"skyloom-cluster": token}).unreachable == {}, "it is not even looked at"


@pytest.mark.parametrize("name", CLOUDS)
def test_a_quota_of_none_is_told_as_that(sandbox: Sandbox, token: str, name: str) -> None:
    subject, cloud = SUBJECTS[name], connect(name, sandbox.settings)
    sandbox.control.account(accelerators=False)
    with pytest.raises(QuotaError) as refused:
        cloud.launch(subject.request(token, **GPUS[name]))
    assert refused.value.scope == "family"
    assert "ask for it: https://" in str(refused.value)
    asked = [e for e in sandbox.control.audit() if e.get("token") == token and e.get("action") == subject.create]
    assert not asked, "the quotas were looked at first"
    assert len(refused.value.elsewhere) > 10, "and those of the other regions with them"
    assert cloud.launch(subject.request(f"{token}-b"))


def test_spot_without_its_role_leaves_the_other_market(sandbox: Sandbox, token: str) -> None:
    subject, cloud = SUBJECTS["aws"], connect("aws", sandbox.settings)
    sandbox.control.account(spot_role=False)
    with pytest.raises(AuthError, match="create-service-linked-role") as refused:
        cloud.launch(subject.request(token, use_spot=True))
    assert refused.value.scope == "market"
    assert cloud.launch(subject.request(f"{token}-b"))


def test_tpus_that_are_not_enabled_leave_machines_alone(sandbox: Sandbox, token: str) -> None:
    cloud = connect("gcp", sandbox.settings)
    sandbox.control.account(registered=False)
    with pytest.raises(AuthError) as refused:
        cloud.launch(SUBJECTS["tpu"].request(token))
    assert refused.value.scope == "type"
    assert cloud.launch(SUBJECTS["gcp"].request(f"{token}-b"))


def test_a_provider_of_azure_that_is_not_registered_gets_registered(sandbox: Sandbox, token: str) -> None:
    subject, cloud = SUBJECTS["azure"], connect("azure", sandbox.settings)
    sandbox.control.account(registered=False)

    def launched() -> bool:
        with suppress(Throttled):  # while that is under way
            return bool(cloud.launch(subject.request(token)))
        return False

    until(launched)


@pytest.mark.parametrize(("name", "scope"), [("aws", "region"), ("gcp", "cloud")])
def test_without_a_default_network_the_setting_is_named(sandbox: Sandbox, token: str, name: str, scope: str) -> None:
    subject, cloud = SUBJECTS[name], connect(name, sandbox.settings)
    sandbox.control.account(default_network=False)
    with pytest.raises(NotSetUp, match=rf"clouds\.{name}\.network") as refused:
        cloud.launch(subject.request(token))
    assert refused.value.scope == scope


@pytest.mark.parametrize("name", ["gcp", "azure"])
def test_where_no_address_may_be_public_nothing_is_left(sandbox: Sandbox, token: str, name: str) -> None:
    subject, cloud = SUBJECTS[name], connect(name, sandbox.settings)
    sandbox.control.account(public_addresses=False)
    with pytest.raises(CloudError):
        cloud.launch(subject.request(token))
    until(lambda: not cloud.find({"skyloom-cluster": token}).instances)
