"""What each cloud tells of the account's quotas when it is asked: plenty, but for accelerators where there are none.

Names: https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html,
https://cloud.google.com/compute/resource-usage#gpu_quota, and what ``az vm list-usage`` prints.
"""

from __future__ import annotations

from typing import Any

from sky_sandbox.accounts import Account

PLENTY, FEW = 1000, 3
AWS_ALIKE = ("Standard (A, C, D, H, I, M, R, T, Z)", "G and VT", "Inf", "Trn", "DL", "F", "X")  # in both markets
AWS_FAMILIES, AWS_SPOT_FAMILIES = (*AWS_ALIKE, "P"), (*AWS_ALIKE, "P4, P3 and P2", "P5")
GOOGLE_GPUS = ("K80", "P4", "P100", "T4", "V100", "L4", "A100", "A100_80GB", "H100")
AZURE_FAMILIES = {
    "standardDSv5Family": False,
    "standardBSFamily": False,
    "Standard NCASv3_T4 Family": True,
    "standardNCSv3Family": True,
    "standardNDSv2Family": True,
    "StandardNCADSA100v4Family": True,
    "StandardNVADSA10v5Family": True,
    "standardNCADSH100v5Family": True,
    "StandardNDASv4_A100Family": True,
    "standard NDAMSv4_A100Family": True,
    "standardNDSH100v5Family": True,
}
# On demand they count against GPUS_PER_GPU_FAMILY, of which a region's description tells nothing:
# https://cloud.google.com/compute/resource-usage#gpu_quota
BY_FAMILY = {"H100"}


def aws_quotas(account: Account, region: str) -> dict[str, Any]:
    """The reply of ListServiceQuotas."""
    names = [(f"Running On-Demand {family} instances", family) for family in AWS_FAMILIES]
    names += [(f"All {family} Spot Instance Requests", family) for family in AWS_SPOT_FAMILIES]
    found = [
        {
            "ServiceCode": "ec2",
            "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
            "QuotaArn": f"arn:aws:servicequotas:{region}:123456789012:ec2/L-{number:08}",
            "QuotaCode": f"L-{number:08}",
            "QuotaName": name,
            "Value": float(PLENTY if account.accelerators or family.startswith(("Standard", "X")) else 0),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }
        for number, (name, family) in enumerate(names)
    ]
    return {"Quotas": found}


def google_quotas(account: Account) -> list[dict[str, Any]]:
    """The quotas of a region."""
    gpus = PLENTY if account.accelerators else 0
    limits = {"PREEMPTIBLE_CPUS": PLENTY, "SSD_TOTAL_GB": PLENTY, "IN_USE_ADDRESSES": PLENTY}
    for kind in GOOGLE_GPUS:
        limits |= {f"PREEMPTIBLE_NVIDIA_{kind}_GPUS": gpus}
        if kind not in BY_FAMILY:
            limits |= {f"NVIDIA_{kind}_GPUS": gpus}
    return [{"metric": metric, "limit": float(limit), "usage": 0.0} for metric, limit in limits.items()]


def google_project_quotas(account: Account) -> list[dict[str, Any]]:
    """The quotas of a project, over all regions."""
    limit = float(PLENTY if account.accelerators else 0)
    return [{"metric": "GPUS_ALL_REGIONS", "limit": limit, "usage": 0.0}]


def azure_usages(account: Account) -> list[dict[str, Any]]:
    """The usages of a location."""
    limits = {name: 0 if gpus and not account.accelerators else PLENTY for name, gpus in AZURE_FAMILIES.items()}
    limits |= {"cores": PLENTY, "lowPriorityCores": PLENTY if account.accelerators else FEW}
    return [
        {"name": {"value": name, "localizedValue": name}, "unit": "Count", "currentValue": 0, "limit": limit}
        for name, limit in limits.items()
    ]
