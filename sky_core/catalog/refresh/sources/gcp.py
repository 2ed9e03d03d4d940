"""GCP's own APIs: machine and accelerator types of a project, and the SKUs of the Cloud Billing Catalog.

https://cloud.google.com/compute/docs/reference/rest/v1/machineTypes/aggregatedList and
https://cloud.google.com/billing/docs/reference/rest/v1/services.skus/list. A machine's price is the sum of its
cores, memory and GPUs. Types that bundle more (local SSDs, shared cores) and TPUs keep the prices they have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from sky_core.catalog.refresh.source import Progress, Row
from sky_core.catalog.refresh.sources.tokens import token
from sky_core.catalog.refresh.web import fetch_pages
from sky_core.errors import AuthError, BadSource

COMPUTE = "https://compute.googleapis.com/compute/v1"
BILLING = "https://cloudbilling.googleapis.com/v1"
COMPUTE_ENGINE = "services/6F81-5844-456A"
MARKETS = {"OnDemand": "price", "Preemptible": "spot_price"}
OTHER_SKUS = re.compile(
    r"sole tenancy|custom|reserved|premium|suspended|commitment|dws|calendar|upgrade", re.IGNORECASE
)
RESOURCE = re.compile(r"^(?:spot )?(?:preemptible )?(?P<what>.+?) (?P<resource>core|ram|gpu)\b", re.IGNORECASE)
SERIES = re.compile(r"^[a-z]\d+[a-z]?$")
OLD_NAMES = {"compute optimized": "c2", "memory-optimized": "m1", "a3plus": "a3-megagpu"}
BUNDLED = re.compile(r"-lssd|^a2-ultragpu|^a[34]|^z3|^(e2-(micro|small|medium)|f1|g1)|-metal|custom|^m2")
GPUS = {
    "nvidia-tesla-k80": "K80", "nvidia-tesla-p4": "P4", "nvidia-tesla-p100": "P100", "nvidia-tesla-t4": "T4",
    "nvidia-tesla-v100": "V100", "nvidia-tesla-a100": "A100", "nvidia-l4": "L4",
}  # fmt: skip
ATTACHED = {"T4": (1, 2, 4), "V100": (1, 2, 4, 8), "P100": (1, 2, 4), "P4": (1, 2, 4)}
HOST = "n1-standard-8"

Rates = Mapping[tuple[str, str, str], Mapping[str, float]]  # (series or GPU, resource, market) -> region -> USD


class Gcp:
    """All regions that a project sees.

    Args:
        project: Id of the project.
        token: Gives a bearer token for both APIs.
    """

    name = "gcp"
    complete = False

    def __init__(
        self, project: str, token: Callable[[], str], *, compute: str = COMPUTE, billing: str = BILLING
    ) -> None:
        self._types = f"{compute}/projects/{project}/aggregated"
        self._skus = f"{billing}/{COMPUTE_ENGINE}/skus"
        self._token = token

    def rows(self, progress: Progress) -> Iterable[Row]:
        """Every type in every zone (see :class:`~sky_core.catalog.refresh.source.Source`)."""
        headers = {"Authorization": f"Bearer {self._token()}"}
        try:
            progress("gcp: prices")
            rates = _rates(
                fetch_pages(self._skus, {"pageSize": "5000", "currencyCode": "USD"}, "skus", headers=headers)
            )
            progress("gcp: accelerators")
            gpus: dict[str, list[str]] = {}
            for scope in fetch_pages(f"{self._types}/acceleratorTypes", {}, "items", headers=headers):
                for item in scope.get("acceleratorTypes", ()):
                    gpus.setdefault(item["zone"].rpartition("/")[2], []).append(GPUS.get(item["name"], ""))
            progress("gcp: machine types")
            for scope in fetch_pages(f"{self._types}/machineTypes", {}, "items", headers=headers):
                for machine in scope.get("machineTypes", ()):
                    if "deprecated" not in machine and not BUNDLED.search(machine["name"]):
                        yield from _machine(machine, gpus, rates)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise BadSource(f"gcp: a reply is not in the documented format: {error!r}") from None


def _machine(machine: Mapping[str, Any], gpus: Mapping[str, list[str]], rates: Rates) -> Iterator[Row]:
    zone = machine["zone"].rpartition("/")[2]
    built_in = machine.get("accelerators") or []
    if built_in:
        name = GPUS.get(built_in[0]["guestAcceleratorType"], "")
        yield _row(machine, zone, name, int(built_in[0]["guestAcceleratorCount"]), rates)
        return
    yield _row(machine, zone, None, 0, rates)
    if machine["name"] == HOST:
        for name in gpus.get(zone, ()):
            yield from (_row(machine, zone, name, count, rates) for count in ATTACHED.get(name, ()))


def _row(machine: Mapping[str, Any], zone: str, gpu: str | None, count: int, rates: Rates) -> dict[str, Any]:
    region, series = zone.rpartition("-")[0], machine["name"].split("-")[0]
    memory_gib = machine["memoryMb"] / 1024
    parts = [(series, "core", machine["guestCpus"]), (series, "ram", memory_gib)]
    parts += [(gpu, "gpu", count)] if gpu is not None else []
    row: dict[str, Any] = {
        "cloud": "gcp",
        "region": region,
        "zone": zone,
        "instance_type": machine["name"],
        "vcpus": machine["guestCpus"],
        "memory_gib": memory_gib,
        "accelerator": gpu or None,
        "accelerator_count": count or None,
        "arch": machine.get("architecture", "X86_64").lower(),
    }
    for market in MARKETS.values():
        each = [rates.get((what, resource, market), {}).get(region) for what, resource, _ in parts]
        if None not in each:
            amounts = [amount for *_, amount in parts]
            row[market] = round(sum(rate * amount for rate, amount in zip(each, amounts, strict=True) if rate), 6)
    return row


def _rates(skus: Iterable[Mapping[str, Any]]) -> Rates:
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for sku in skus:
        market = MARKETS.get(sku["category"]["usageType"])
        match = RESOURCE.match(sku["description"])
        if market is None or match is None or sku["category"]["resourceFamily"] != "Compute":
            continue
        if OTHER_SKUS.search(sku["description"]):
            continue
        key = (_what(match["what"], match["resource"].lower()), match["resource"].lower(), market)
        for region in sku["serviceRegions"]:
            found.setdefault(key, {})[region] = _usd(sku)
    return found


def _what(words: str, resource: str) -> str:
    """The machine series or GPU that a SKU's description speaks of."""
    lowered = words.lower()
    if resource == "gpu":
        return GPUS.get(lowered.replace(" ", "-"), lowered)
    first = lowered.split(" ")[0]
    if SERIES.match(first):
        return first
    return next((series for words, series in OLD_NAMES.items() if lowered.startswith(words)), lowered)


def _usd(sku: Mapping[str, Any]) -> float:
    expression = sku["pricingInfo"][0]["pricingExpression"]
    if expression["usageUnit"] not in ("h", "GiBy.h"):
        raise ValueError(f"{sku['description']}: charged by {expression['usageUnit']}, not by the hour")
    price = expression["tieredRates"][-1]["unitPrice"]
    if price["currencyCode"] != "USD":
        raise ValueError(f"{sku['description']}: price in {price['currencyCode']}")
    return int(price.get("units", 0)) + int(price.get("nanos", 0)) / 1e9


def source(project: str | None) -> Gcp:
    """All regions that a project sees, with the token of whoever is logged in."""
    return Gcp(project or "", partial(token, "gcp", partial(_token, project)))


def _token(project: str | None) -> str:
    if not project:
        raise AuthError("gcp: no project is set", cure="set clouds.gcp.account in config.toml")
    import google.auth
    import google.auth.transport.requests as transport

    credentials: Any = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform.read-only"])[0]
    credentials.refresh(transport.Request())
    return str(credentials.token)
