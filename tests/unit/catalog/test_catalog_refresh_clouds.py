"""Refreshing from the clouds' own APIs: replies in their documented format, on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from sky_core.catalog import Catalog
from sky_core.catalog.refresh.sources.aws import LINUX, Aws
from sky_core.catalog.refresh.sources.azure import Azure
from sky_core.catalog.refresh.sources.gcp import Gcp
from tests.unit.catalog.catalog_server import KNOWN, Pages, offerings, run, serve


@pytest.fixture
def pages() -> Iterator[Pages]:
    with serve() as served:
        yield served


# --- Azure ----------------------------------------------------------------------------------------------------


def retail(name: str, price: float, **fields: Any) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": price,
        "unitPrice": price,
        "armRegionName": "eastus",
        "location": "US East",
        "effectiveStartDate": "2024-01-01T00:00:00Z",
        "meterName": "D8s v5",
        "productName": "Virtual Machines Dsv5 Series",
        "skuName": "Standard_D8s_v5",
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": name,
        **fields,
    }


def retail_pages(pages: Pages) -> None:
    second = {
        "BillingCurrency": "USD",
        "Items": [
            retail("Standard_D8s_v5", 0.752, productName="Virtual Machines Dsv5 Series Windows"),
            retail("Standard_D8s_v5", 0.2, skuName="D8s v5 Low Priority"),
            retail("Standard_D8s_v5", 400, type="Reservation"),
            retail("Standard_NC6s_v3", 3.0),
            retail("Standard_X9_v9", 1.0),
        ],
        "NextPageLink": None,
    }
    first = {
        "BillingCurrency": "USD",
        "Items": [retail("Standard_D8s_v5", 0.39), retail("Standard_D8s_v5", 0.05, skuName="D8s v5 Spot")],
        "NextPageLink": f"{pages.url}/api/retail/prices?$skip=100",
    }
    pages.replies["/api/retail/prices"] = lambda query: second if "$skip" in query else first


def test_azures_retail_prices_need_no_credentials(pages: Pages, tmp_path: Path) -> None:
    retail_pages(pages)
    result = run(tmp_path, Azure(retail=f"{pages.url}/api/retail/prices"))
    assert (result.rows, result.refused) == (2, "")
    assert dict(result.rejected) == {"unknown machine type without a shape": 1}
    here = offerings(tmp_path, instance_type="Standard_D8s_v5", region="eastus")
    assert set(here) == {("eastus", f"eastus-{zone}", "Standard_D8s_v5") for zone in (1, 2, 3)}
    assert {(row["price"], row["spot_price"]) for row in here.values()} == {(0.39, 0.05)}
    assert [
        row["price"] for row in offerings(tmp_path, accelerators="V100", region="eastus", cloud="azure").values()
    ] == [3.0]


def sku(name: str, zones: list[str], capabilities: dict[str, str], **fields: Any) -> dict[str, Any]:
    return {
        "resourceType": "virtualMachines",
        "name": name,
        "tier": "Standard",
        "locations": ["eastus"],
        "restrictions": [],
        "locationInfo": [{"location": "eastus", "zones": zones, "zoneDetails": []}],
        "capabilities": [{"name": key, "value": value} for key, value in capabilities.items()],
        **fields,
    }


def test_azures_skus_tell_zones_shapes_and_restrictions(pages: Pages, tmp_path: Path) -> None:
    retail_pages(pages)
    closed = [
        {"type": "Location", "restrictionInfo": {"locations": ["eastus"]}, "reasonCode": "NotAvailableForSubscription"}
    ]
    gpu = {"vCPUs": "6", "MemoryGB": "112", "GPUs": "1", "CpuArchitectureType": "x64"}
    pages.replies["/subscriptions/sub-1/providers/Microsoft.Compute/skus"] = {
        "value": [
            sku("Standard_D8s_v5", ["1", "3"], {"vCPUs": "8", "MemoryGB": "32", "CpuArchitectureType": "x64"}),
            sku("Standard_NC6s_v3", [], gpu, restrictions=closed),
            sku("Standard_X9_v9", [], {"vCPUs": "9", "MemoryGB": "18", "CpuArchitectureType": "Arm64"}),
            {"resourceType": "disks", "name": "Premium_LRS"},
        ]
    }
    result = run(
        tmp_path, Azure("sub-1", lambda: "a-token", retail=f"{pages.url}/api/retail/prices", management=pages.url)
    )
    assert (result.rows, result.refused, dict(result.rejected)) == (3, "", {})
    assert pages.asked[-1][1]["Authorization"] == "Bearer a-token"
    found = offerings(tmp_path, region="eastus", instance_type="*")
    assert set(found) == {
        ("eastus", "eastus-1", "Standard_D8s_v5"),
        ("eastus", "eastus-3", "Standard_D8s_v5"),
        ("eastus", None, "Standard_X9_v9"),
    }  # complete: what eastus no longer lists is gone
    assert found["eastus", None, "Standard_X9_v9"]["arch"] == "arm64"


# --- GCP ------------------------------------------------------------------------------------------------------


def gcp_sku(description: str, nanos: int, usage: str = "OnDemand", unit: str = "h") -> dict[str, Any]:
    return {
        "name": "services/6F81-5844-456A/skus/0000",
        "skuId": "0000",
        "description": description,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": "Compute",
            "resourceGroup": "X",
            "usageType": usage,
        },
        "serviceRegions": ["us-central1"],
        "serviceProviderName": "Google",
        "pricingInfo": [
            {
                "pricingExpression": {
                    "usageUnit": unit,
                    "tieredRates": [
                        {
                            "startUsageAmount": 0,
                            "unitPrice": {"currencyCode": "USD", "units": str(nanos // 10**9), "nanos": nanos % 10**9},
                        }
                    ],
                }
            }
        ],
    }


def gcp_pages(pages: Pages) -> None:
    skus = [
        gcp_sku("N1 Predefined Instance Core running in Americas", 32_000_000),
        gcp_sku("N1 Predefined Instance Ram running in Americas", 4_000_000, unit="GiBy.h"),
        gcp_sku("Spot Preemptible N1 Predefined Instance Core running in Americas", 8_000_000, "Preemptible"),
        gcp_sku("Spot Preemptible N1 Predefined Instance Ram running in Americas", 1_000_000, "Preemptible", "GiBy.h"),
        gcp_sku("Nvidia Tesla V100 GPU running in Americas", 2_480_000_000),
        gcp_sku("A2 Instance Core running in Americas", 32_000_000),
        gcp_sku("A2 Instance Ram running in Americas", 4_000_000, unit="GiBy.h"),
        gcp_sku("Nvidia Tesla A100 GPU running in Americas", 2_900_000_000),
    ]
    more = [
        gcp_sku("N1 Custom Instance Core running in Americas", 99_000_000_000),
        gcp_sku("Sole Tenancy Premium for N1 Predefined Instance Core", 99_000_000_000),
        gcp_sku("Commitment v1: N1 Cpu in Americas for 1 Year", 99_000_000_000, "Commit1Yr"),
        gcp_sku("Compute optimized Core running in Americas", 34_000_000),
        gcp_sku("Compute optimized Ram running in Americas", 5_000_000, unit="GiBy.h"),
    ]

    def by_token(query: dict[str, str]) -> dict[str, Any]:
        return {"skus": more} if query.get("pageToken") == "2" else {"skus": skus, "nextPageToken": "2"}

    def machine(name: str, cpus: int, gib: float, **fields: Any) -> dict[str, Any]:
        return {"name": name, "guestCpus": cpus, "memoryMb": int(gib * 1024), "zone": "us-central1-a", **fields}

    pages.replies["/v1/services/6F81-5844-456A/skus"] = by_token
    prefix = "/compute/v1/projects/my-project/aggregated"
    pages.replies[f"{prefix}/acceleratorTypes"] = {
        "items": {
            "zones/us-central1-a": {
                "acceleratorTypes": [
                    {
                        "name": "nvidia-tesla-v100",
                        "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/us-central1-a",
                    }
                ]
            },
            "zones/us-east1-b": {"warning": {"code": "NO_RESULTS_ON_PAGE"}},
        }
    }
    pages.replies[f"{prefix}/machineTypes"] = {
        "items": {
            "zones/us-central1-a": {
                "machineTypes": [
                    machine("n1-standard-8", 8, 30),
                    machine("c2-standard-4", 4, 16),
                    machine(
                        "a2-highgpu-1g",
                        12,
                        85,
                        accelerators=[{"guestAcceleratorType": "nvidia-tesla-a100", "guestAcceleratorCount": 1}],
                    ),
                    machine("a2-ultragpu-1g", 12, 170),
                    machine("n1-standard-4", 4, 15, deprecated={"state": "DEPRECATED"}),
                ]
            }
        }
    }


def test_gcps_types_are_priced_by_their_cores_memory_and_gpus(pages: Pages, tmp_path: Path) -> None:
    gcp_pages(pages)
    source = Gcp("my-project", lambda: "a-token", compute=f"{pages.url}/compute/v1", billing=f"{pages.url}/v1")
    result = run(tmp_path, source)
    assert (result.rows, result.refused, dict(result.rejected)) == (7, "", {})
    assert {headers.get("Authorization") for _, headers in pages.asked} == {"Bearer a-token"}
    plain = offerings(tmp_path, instance_type=["n1-standard-8", "c2-standard-4"], zone="us-central1-a")
    host = plain["us-central1", "us-central1-a", "n1-standard-8"]
    assert (host["price"], host["spot_price"]) == pytest.approx((8 * 0.032 + 30 * 0.004, 8 * 0.008 + 30 * 0.001))
    assert plain["us-central1", "us-central1-a", "c2-standard-4"]["price"] == pytest.approx(4 * 0.034 + 16 * 0.005)
    four = offerings(tmp_path, accelerators="V100:4", zone="us-central1-a")[
        "us-central1", "us-central1-a", "n1-standard-8"
    ]
    assert four["price"] == pytest.approx(host["price"] + 4 * 2.48)
    a100 = offerings(tmp_path, accelerators="A100", zone="us-central1-a")[
        "us-central1", "us-central1-a", "a2-highgpu-1g"
    ]
    assert a100["price"] == pytest.approx(12 * 0.032 + 85 * 0.004 + 2.9)
    untouched = KNOWN.filter(KNOWN["instance_type"] == "a2-ultragpu-1g", KNOWN["zone"] == "us-central1-a")[
        "price"
    ].to_list()
    assert [
        row["price"] for row in offerings(tmp_path, instance_type="a2-ultragpu-1g", zone="us-central1-a").values()
    ] == untouched


# --- AWS, with replies that botocore holds against the service's own model ------------------------------------


def aws_type(name: str, cpus: int, gib: int, arch: str = "x86_64", **fields: Any) -> dict[str, Any]:
    return {
        "InstanceType": name,
        "VCpuInfo": {"DefaultVCpus": cpus},
        "MemoryInfo": {"SizeInMiB": gib * 1024},
        "ProcessorInfo": {"SupportedArchitectures": [arch]},
        **fields,
    }


def aws_product(name: str, usd: str) -> str:
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": usd}}
    return json.dumps(
        {
            "product": {"productFamily": "Compute Instance", "attributes": {"instanceType": name}},
            "terms": {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C": dimension}}}},
        }
    )


def aws_clients() -> Any:
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    ec2 = boto3.client("ec2", region_name="us-west-2", **keys)
    pricing = boto3.client("pricing", region_name="us-east-1", **keys)
    gpus = {"Gpus": [{"Name": "V100", "Count": 1, "MemoryInfo": {"SizeInMiB": 16384}}]}
    big = {"Gpus": [{"Name": "A100", "Count": 8, "MemoryInfo": {"SizeInMiB": 81920}}]}
    neuron = {"Accelerators": [{"Name": "Inferentia", "Count": 1}]}
    shapes = [
        aws_type("m5.2xlarge", 8, 32),
        aws_type("m7g.2xlarge", 8, 32, "arm64"),
        aws_type("p3.2xlarge", 8, 61, GpuInfo=gpus),
        aws_type("p4de.24xlarge", 96, 1152, GpuInfo=big),
        aws_type("inf1.xlarge", 4, 8, InferenceAcceleratorInfo=neuron),
    ]
    zones = [
        ("m5.2xlarge", "a"),
        ("m5.2xlarge", "b"),
        ("m7g.2xlarge", "a"),
        ("p3.2xlarge", "b"),
        ("p4de.24xlarge", "a"),
        ("inf1.xlarge", "a"),
        ("x9.large", "a"),
    ]
    spot = [("m5.2xlarge", "a", "0.11", 1), ("m5.2xlarge", "a", "0.12", 2), ("p3.2xlarge", "b", "0.9", 1)]
    products = [
        ("m5.2xlarge", "0.384"),
        ("m7g.2xlarge", "0.3264"),
        ("p3.2xlarge", "3.06"),
        ("p4de.24xlarge", "27.44"),
        ("inf1.xlarge", "0.228"),
    ]
    stub = Stubber(ec2)
    stub.add_response("describe_instance_types", {"InstanceTypes": shapes[:2], "NextToken": "2"}, {})
    stub.add_response("describe_instance_types", {"InstanceTypes": shapes[2:]}, {"NextToken": "2"})
    stub.add_response(
        "describe_spot_price_history",
        {
            "SpotPriceHistory": [
                {
                    "InstanceType": name,
                    "AvailabilityZone": f"us-west-2{zone}",
                    "SpotPrice": price,
                    "Timestamp": datetime(2026, 9, day, tzinfo=UTC),
                }
                for name, zone, price, day in spot
            ]
        },
        {"StartTime": ANY, "ProductDescriptions": ["Linux/UNIX"]},
    )
    stub.add_response(
        "describe_instance_type_offerings",
        {
            "InstanceTypeOfferings": [
                {"InstanceType": name, "LocationType": "availability-zone", "Location": f"us-west-2{zone}"}
                for name, zone in zones
            ]
        },
        {"LocationType": "availability-zone"},
    )
    stub.activate()
    filters = [
        {"Type": "TERM_MATCH", "Field": key, "Value": value}
        for key, value in {**LINUX, "regionCode": "us-west-2"}.items()
    ]
    priced = Stubber(pricing)
    priced.add_response(
        "get_products",
        {"PriceList": [aws_product(*item) for item in products]},
        {"ServiceCode": "AmazonEC2", "Filters": filters},
    )
    priced.activate()
    return lambda service, region: {"ec2": ec2, "pricing": pricing}[service]


def test_awss_types_zones_prices_and_spot_history(tmp_path: Path) -> None:
    result = run(tmp_path, Aws(["us-west-2"], aws_clients()))
    assert (result.rows, result.refused, dict(result.rejected)) == (6, "", {})
    found = offerings(tmp_path, region="us-west-2", instance_type="*")
    assert {(zone, name) for _, zone, name in found} == {
        ("us-west-2a", "m5.2xlarge"),
        ("us-west-2b", "m5.2xlarge"),
        ("us-west-2a", "m7g.2xlarge"),
        ("us-west-2b", "p3.2xlarge"),
        ("us-west-2a", "p4de.24xlarge"),
        ("us-west-2a", "inf1.xlarge"),
    }
    assert found["us-west-2", "us-west-2a", "m5.2xlarge"]["spot_price"] == 0.12
    assert found["us-west-2", "us-west-2a", "m7g.2xlarge"]["arch"] == "arm64"
    big = found["us-west-2", "us-west-2a", "p4de.24xlarge"]
    assert (big["accelerator"], big["accelerator_count"], big["price"]) == ("A100-80GB", 8, 27.44)
    assert found["us-west-2", "us-west-2a", "inf1.xlarge"]["accelerator"] == "Inferentia"
    assert found["us-west-2", "us-west-2b", "p3.2xlarge"]["interruption"] is not None  # what it leaves open stays


def test_a_refusal_of_aws_changes_nothing(tmp_path: Path) -> None:
    ec2 = boto3.client("ec2", region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(ec2) as stub:
        stub.add_client_error("describe_instance_types", "UnauthorizedOperation", "You are not authorized", 403)
        result = run(tmp_path, Aws(["us-west-2"], lambda service, region: ec2))
    assert "UnauthorizedOperation" in result.refused
    assert Catalog.load(tmp_path) is Catalog.embedded()
