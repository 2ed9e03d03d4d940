"""AWS's own APIs: EC2 instance types, offerings and spot price history, and the Price List Query API.

API reference: EC2 ``DescribeInstanceTypes``, ``DescribeInstanceTypeOfferings``, ``DescribeSpotPriceHistory``;
Price List ``GetProducts``. Needs read permission for these calls, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sky_core.catalog.refresh.source import Progress, Row
from sky_core.errors import BadSource, MissingExtra

Clients = Callable[[str, str], Any]  # service, region -> boto3 client
PRICE_LIST_REGION = "us-east-1"
LINUX = {
    "servicecode": "AmazonEC2",
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}
BIGGER = {("A100", 80): "A100-80GB", ("V100", 32): "V100-32GB"}
"""EC2 names these devices by their chip; the field adds the memory."""


class Aws:
    """All regions that the account may use, or those given."""

    name = "aws"
    complete = True

    def __init__(self, regions: Sequence[str] | None = None, clients: Clients | None = None) -> None:
        self._regions = regions
        self._clients = clients or _default_clients

    def rows(self, progress: Progress) -> Iterable[Row]:
        """Every type in every zone (see :class:`~sky_core.catalog.refresh.source.Source`)."""
        try:
            import botocore.exceptions
        except ModuleNotFoundError:
            raise MissingExtra("boto3", "aws") from None
        try:
            for region in self._regions or self._enabled_regions():
                progress(f"aws: {region}")
                yield from self._region(region)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            raise BadSource(f"aws: {error}", cure="check the credentials and permissions, or try again later") from None
        except (KeyError, TypeError, ValueError) as error:
            raise BadSource(f"aws: a reply is not in the documented format: {error!r}") from None

    def _enabled_regions(self) -> list[str]:
        reply = self._clients("ec2", PRICE_LIST_REGION).describe_regions()
        return sorted(item["RegionName"] for item in reply["Regions"])

    def _region(self, region: str) -> Iterator[Row]:
        ec2 = self._clients("ec2", region)
        shapes = {
            item["InstanceType"]: _shape(item) for item in _pages(ec2, "describe_instance_types", "InstanceTypes")
        }
        prices = self._prices(region)
        spots = self._spot_prices(ec2)
        zones = _pages(
            ec2, "describe_instance_type_offerings", "InstanceTypeOfferings", LocationType="availability-zone"
        )
        for offered in zones:
            name, zone = offered["InstanceType"], offered["Location"]
            if name in prices or (name, zone) in spots:
                yield {
                    "cloud": "aws",
                    "region": region,
                    "zone": zone,
                    "instance_type": name,
                    "price": prices.get(name),
                    "spot_price": spots.get((name, zone)),
                    **shapes.get(name, {}),
                }

    def _prices(self, region: str) -> dict[str, str]:
        """USD per hour on demand, by instance type."""
        pricing = self._clients("pricing", PRICE_LIST_REGION)
        terms = {**LINUX, "regionCode": region}
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in terms.items()]
        pages = _pages(pricing, "get_products", "PriceList", ServiceCode="AmazonEC2", Filters=filters)
        prices = {}
        for text in pages:
            product = json.loads(text)
            for term in product["terms"].get("OnDemand", {}).values():
                for dimension in term["priceDimensions"].values():
                    if dimension["unit"] == "Hrs":
                        prices[product["product"]["attributes"]["instanceType"]] = dimension["pricePerUnit"]["USD"]
        return prices

    @staticmethod
    def _spot_prices(ec2: Any) -> dict[tuple[str, str], str]:
        """The present spot price by instance type and zone."""
        now = datetime.now(UTC)
        history = _pages(
            ec2, "describe_spot_price_history", "SpotPriceHistory", StartTime=now, ProductDescriptions=["Linux/UNIX"]
        )
        newest = sorted(history, key=lambda item: item["Timestamp"])
        return {(item["InstanceType"], item["AvailabilityZone"]): item["SpotPrice"] for item in newest}


def _shape(item: Mapping[str, Any]) -> dict[str, Any]:
    arches = item["ProcessorInfo"]["SupportedArchitectures"]
    name, count = _accelerator(item)
    return {
        "vcpus": item["VCpuInfo"]["DefaultVCpus"],
        "memory_gib": item["MemoryInfo"]["SizeInMiB"] / 1024,
        "arch": "x86_64" if "x86_64" in arches else "arm64",
        "accelerator": name,
        "accelerator_count": count,
    }


def _accelerator(item: Mapping[str, Any]) -> tuple[str | None, float | None]:
    for gpu in item.get("GpuInfo", {}).get("Gpus", ()):
        memory_gib = round(gpu.get("MemoryInfo", {}).get("SizeInMiB", 0) / 1024)
        count = gpu.get("LogicalGpuCount") or gpu["Count"]
        return BIGGER.get((gpu["Name"], memory_gib), gpu["Name"].replace(" ", "")), count
    neuron = item.get("NeuronInfo", {}).get("NeuronDevices", ())
    for device in (*neuron, *item.get("InferenceAcceleratorInfo", {}).get("Accelerators", ())):
        return device["Name"], device["Count"]
    return None, None


def _pages(client: Any, call: str, items: str, **arguments: Any) -> Iterator[Any]:
    for page in client.get_paginator(call).paginate(**arguments):
        yield from page[items]


def _default_clients(service: str, region: str) -> Any:
    import boto3

    return boto3.Session().client(service, region_name=region)


def source(_: str | None) -> Aws:
    """The regions of the account that boto3's credentials belong to."""
    return Aws()
