"""What is known of Meadow without its SDK, and what it sells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sky_core.facts import CloudFacts

FACTS = CloudFacts(
    name="meadow",
    provider="meadow.provider:Meadow",
    on_machine="meadow.machine",
    sdk=("boto3",),
    default_region="north",
    offerings="meadow.facts:offerings",
    egress_usd_per_gb=0.05,
)


def offerings() -> Iterator[Mapping[str, Any]]:
    """One machine type in one zone, on demand and as spot."""
    yield {
        "region": "north",
        "zone": "north-1",
        "instance_type": "calf",
        "vcpus": 2,
        "memory_gib": 4,
        "price": 0.011,
        "spot_price": 0.004,
    }
