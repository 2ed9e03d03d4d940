"""Azure's own APIs: the Retail Prices API (open to all) and, with credentials, the resource SKUs of a subscription.

https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices and
https://learn.microsoft.com/rest/api/compute/resource-skus/list. A listed price is not an offer: only the SKUs
tell zones and what the subscription may use. Without credentials the prices of known types are taken.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from sky_core.catalog.refresh.source import Progress, Row
from sky_core.catalog.refresh.sources.tokens import token
from sky_core.catalog.refresh.web import fetch_pages
from sky_core.errors import BadSource

RETAIL = "https://prices.azure.com/api/retail/prices"
MANAGEMENT = "https://management.azure.com"
FILTER = "serviceName eq 'Virtual Machines' and priceType eq 'Consumption'"
OTHER_PRODUCTS = re.compile(r"Windows|Dedicated|Cloud ?Services|Promo", re.IGNORECASE)
GPU = re.compile(r"_(A100|A10|H100|H200|T4|MI300X|V620|GB200)_")
ARCHES = {"x64": "x86_64", "Arm64": "arm64"}

Prices = Mapping[tuple[str, str], Mapping[str, Any]]  # (type, region) -> price and spot_price


class Azure:
    """All regions.

    Args:
        subscription: Id of the subscription whose SKUs are read; None for prices alone.
        token: Gives a bearer token for the management API.
    """

    name = "azure"

    def __init__(
        self,
        subscription: str | None = None,
        token: Callable[[], str] | None = None,
        *,
        retail: str = RETAIL,
        management: str = MANAGEMENT,
    ) -> None:
        self.complete = subscription is not None
        self._subscription, self._token = subscription, token
        self._retail, self._management = retail, management

    def rows(self, progress: Progress) -> Iterable[Row]:
        """Every type and region (see :class:`~sky_core.catalog.refresh.source.Source`)."""
        try:
            prices = self._prices(progress)
            if self._subscription is None:
                for (name, region), found in prices.items():
                    yield {"cloud": "azure", "region": region, "instance_type": name, **found}
            else:
                progress("azure: resource SKUs")
                yield from self._offers(prices)
        except (KeyError, TypeError, ValueError) as error:
            raise BadSource(f"azure: a reply is not in the documented format: {error!r}") from None

    def _prices(self, progress: Progress) -> Prices:
        found: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
        parameters = {"$filter": FILTER, "currencyCode": "USD"}
        for number, item in enumerate(fetch_pages(self._retail, parameters, "Items", next_link="NextPageLink")):
            if number % 10_000 == 0:
                progress(f"azure: retail prices, {number} so far")
            if _is_linux_vm(item):
                market = "spot_price" if "Spot" in item["skuName"] else "price"
                found[item["armSkuName"], item["armRegionName"]][market] = item["retailPrice"]
        return found

    def _offers(self, prices: Prices) -> Iterator[Row]:
        assert self._token is not None
        url = f"{self._management}/subscriptions/{self._subscription}/providers/Microsoft.Compute/skus"
        headers = {"Authorization": f"Bearer {self._token()}"}
        for sku in fetch_pages(url, {"api-version": "2021-07-01"}, "value", next_link="nextLink", headers=headers):
            if sku["resourceType"] != "virtualMachines":
                continue
            shape = _shape(sku)
            for info in sku["locationInfo"]:
                region = info["location"].lower()
                if (sku["name"], region) in prices and not _restricted(sku, region):
                    for zone in info.get("zones") or [None]:
                        yield {
                            "cloud": "azure",
                            "region": region,
                            "zone": zone and f"{region}-{zone}",
                            "instance_type": sku["name"],
                            **prices[sku["name"], region],
                            **shape,
                        }


def _is_linux_vm(item: Mapping[str, Any]) -> bool:
    return (
        item["currencyCode"] == "USD"
        and item["unitOfMeasure"] == "1 Hour"
        and item["type"] == "Consumption"
        and bool(item["armSkuName"])
        and not OTHER_PRODUCTS.search(item["productName"])
        and "Low Priority" not in item["skuName"]
    )


def _restricted(sku: Mapping[str, Any], region: str) -> bool:
    """Whether the subscription may not use the type anywhere in the region."""
    return any(
        block["type"] == "Location" and region in (place.lower() for place in block["restrictionInfo"]["locations"])
        for block in sku.get("restrictions", ())
    )


def _shape(sku: Mapping[str, Any]) -> dict[str, Any]:
    has = {item["name"]: item["value"] for item in sku["capabilities"]}
    gpu = GPU.search(sku["name"])
    return {
        "vcpus": has.get("vCPUsAvailable") or has["vCPUs"],
        "memory_gib": has["MemoryGB"],
        "arch": ARCHES.get(has.get("CpuArchitectureType", "x64")),
        "accelerator": gpu[1] if gpu and "GPUs" in has else None,
        "accelerator_count": has["GPUs"] if gpu and "GPUs" in has else None,
    }


def source(subscription: str | None) -> Azure:
    """Prices for anybody; the SKUs' sizes as well for whoever names a subscription and is logged in."""
    return Azure(subscription, partial(token, "azure", _token)) if subscription else Azure()


def _token() -> str:
    from azure.identity import DefaultAzureCredential

    token: str = DefaultAzureCredential().get_token("https://management.azure.com/.default").token
    return token
