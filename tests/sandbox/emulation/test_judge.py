"""The sandbox judges by what the clouds document, not by what the providers believe."""

from __future__ import annotations

from typing import Any

import pytest

from sky_core.clouds import connect
from sky_core.errors import InvalidRequest
from tests.conftest import Sandbox
from tests.sandbox.clouds.test_contract import SUBJECTS

AWS_UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami"


@pytest.mark.parametrize(
    ("api", "module", "name", "believed"),
    [
        ("aws", "sky_core.clouds.aws.images", "UBUNTU", AWS_UBUNTU),
        ("azure", "sky_core.clouds.azure.images", "UBUNTU", "Canonical:ubuntu-24_04-lts:server-gen3:latest"),
        ("gcp", "sky_core.clouds.gcp.names", "UBUNTU", "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404"),
        ("tpu", "sky_core.clouds.gcp.names", "TPU_GENERATIONS", {"v3": ("v3", "tpu-ubuntu2404-base")}),
    ],
)
def test_a_name_that_only_the_provider_believes_in_is_refused(
    sandbox: Sandbox, token: str, monkeypatch: pytest.MonkeyPatch, api: str, module: str, name: str, believed: Any
) -> None:
    subject = SUBJECTS[api]
    cloud = connect(subject.cloud, sandbox.settings)
    monkeypatch.setattr(f"{module}.{name}", believed)
    with pytest.raises(InvalidRequest):
        cloud.launch(subject.request(token))
    assert not sandbox.live()
