"""The quota that a machine counts against, by the names that EC2's and Compute Engine's lists print."""

from __future__ import annotations

import pytest

from sky_core.clouds.aws.account.quotas import quota_of
from sky_core.clouds.gcp.account.quotas import metric_of

STANDARD = "Standard (A, C, D, H, I, M, R, T, Z)"
ON_DEMAND = [f"Running On-Demand {one} instances" for one in (STANDARD, "G and VT", "P", "Inf", "Trn", "DL", "F", "X")]
SPOT = [
    f"All {one} Spot Instance Requests"
    for one in (STANDARD, "G and VT", "P4, P3 and P2", "P5", "Inf", "Trn", "DL", "F", "X")
]


@pytest.mark.parametrize(
    ("instance_type", "on_demand", "spot"),
    [
        ("p3.2xlarge", "P", "P4, P3 and P2"),
        ("p4d.24xlarge", "P", "P4, P3 and P2"),
        ("p5en.48xlarge", "P", "P5"),
        ("g5.xlarge", "G and VT", "G and VT"),
        ("gr6.4xlarge", "G and VT", "G and VT"),
        ("inf2.xlarge", "Inf", "Inf"),
        ("trn1.2xlarge", "Trn", "Trn"),
        ("dl1.24xlarge", "DL", "DL"),
        ("t3.small", STANDARD, STANDARD),
    ],
)
def test_of_a_type_of_ec2(instance_type, on_demand, spot):
    names = [*ON_DEMAND, *SPOT]
    assert quota_of(names, instance_type, False) == f"Running On-Demand {on_demand} instances"
    assert quota_of(names, instance_type, True) == f"All {spot} Spot Instance Requests"


def test_of_an_account_that_has_the_older_names():
    assert quota_of(["All P Spot Instance Requests"], "p4d.24xlarge", True) == "All P Spot Instance Requests"
    assert quota_of(ON_DEMAND, "p6-b200.48xlarge", True) is None


@pytest.mark.parametrize(
    ("gpu", "kind"),
    [
        ("nvidia-tesla-t4", "T4"),
        ("nvidia-tesla-a100", "A100"),
        ("nvidia-a100-80gb", "A100_80GB"),
        ("nvidia-h100-80gb", "H100"),
        ("nvidia-h100-mega-80gb", "H100_MEGA"),
        ("nvidia-h200-141gb", "H200"),
        ("nvidia-rtx-pro-6000", "RTX_PRO_6000"),
    ],
)
def test_of_a_gpu_of_google(gpu, kind):
    assert metric_of(gpu, use_spot=False) == f"NVIDIA_{kind}_GPUS"
    assert metric_of(gpu, use_spot=True) == f"PREEMPTIBLE_NVIDIA_{kind}_GPUS"
