"""What moving data costs and how long it takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_core.catalog import Catalog
from sky_core.catalog.egress import EgressTable, Location, tiered_cost
from sky_core.facts.geography import continent

CATALOG = Catalog.embedded()
GIB = 1e9 / 2**30  # AWS and GCP bill binary gigabytes

AWS_A: Location = ("aws", "us-east-1", "us-east-1a")
AWS_B: Location = ("aws", "us-east-1", "us-east-1b")
S3: Location = ("aws", "us-east-1", None)
OHIO: Location = ("aws", "us-east-2", None)
OREGON: Location = ("aws", "us-west-2", None)
IOWA: Location = ("gcp", "us-central1", "us-central1-a")
TOKYO: Location = ("gcp", "asia-northeast1", None)
EASTUS: Location = ("azure", "eastus", "eastus-1")
EASTUS_2: Location = ("azure", "eastus", "eastus-2")
LAB: Location = ("lab", "basement", None)


def usd(source: Location, destination: Location, gb: float = 150) -> float:
    return float(CATALOG.egress([source, destination], gb)[0][0, 1])


def test_the_dissertations_transfer_from_aws_costs_13_dollars() -> None:
    assert usd(S3, IOWA) == pytest.approx(150 * GIB * 0.09)
    assert round(usd(S3, IOWA)) == 13


def test_inside_a_zone_nothing_between_zones_and_regions_cents() -> None:
    assert usd(AWS_A, AWS_A) == 0
    assert usd(AWS_A, S3) == usd(S3, AWS_B) == 0  # a bucket reaches its whole region
    assert usd(AWS_A, AWS_B) == pytest.approx(150 * GIB * 0.02)
    assert usd(EASTUS, EASTUS_2) == 0
    assert usd(AWS_A, OHIO) == pytest.approx(150 * GIB * 0.01)
    assert usd(AWS_A, OREGON) == pytest.approx(150 * GIB * 0.02)
    assert usd(IOWA, TOKYO) == pytest.approx(150 * GIB * 0.08)
    assert usd(EASTUS, ("azure", "westeurope", None)) == pytest.approx(150 * 0.05)
    assert usd(("azure", "brazilsouth", None), EASTUS) == pytest.approx(150 * 0.16)


def test_the_sender_pays_and_ingress_is_free() -> None:
    assert usd(IOWA, S3) == pytest.approx(150 * GIB * 0.12)
    assert usd(EASTUS, S3) == pytest.approx(150 * 0.0875)
    assert usd(LAB, S3) == 0  # on premises, or an object store with free egress
    assert usd(S3, LAB) == usd(S3, IOWA)


def test_tiers_add_up_from_the_first_paid_one() -> None:
    gb = 200_000 / GIB
    expected = 10_240 * 0.09 + 40_960 * 0.085 + 102_400 * 0.07 + (200_000 - 153_600) * 0.05
    assert usd(S3, IOWA, gb) == pytest.approx(expected)
    assert usd(S3, IOWA, 10_240 / GIB) == pytest.approx(921.6)


def test_scrambled_tiers_of_the_source_are_mended_upwards() -> None:
    tiers = EgressTable.embedded().internet("gcp", "asia-northeast1")
    assert [price for _, price in tiers] == sorted((price for _, price in tiers), reverse=True)


@pytest.mark.parametrize(
    ("cloud", "region", "expected"),
    [
        ("aws", "ap-southeast-4", 0.114),
        ("aws", "nowhere-1", 0.132),
        ("azure", "eastus", 0.0875),
        ("azure", "japaneast", 0.12),
    ],
)
def test_regions_the_table_lacks_pay_like_their_dearest_neighbour(cloud: str, region: str, expected: float) -> None:
    assert EgressTable.embedded().internet(cloud, region)[0][1] == pytest.approx(expected)


def test_every_region_of_the_catalog_has_a_price_to_every_other() -> None:
    places = [
        tuple(row) for row in CATALOG.table.select("cloud", "region").unique().sort("cloud", "region").iter_rows()
    ]
    cost, hours = CATALOG.egress([(cloud, region, None) for cloud, region in places], 1.0)
    off_diagonal = ~np.eye(len(places), dtype=bool)
    assert (cost[off_diagonal] > 0).all()
    assert (hours[off_diagonal] > 0).all()
    assert (np.diag(cost) == 0).all()
    assert cost.max() < 0.25


def test_rates_keep_their_source_and_confidence() -> None:
    rates = EgressTable.embedded().rates
    assert all(rate["basis"] and rate["confidence"] in ("high", "medium", "low") for rate in rates)
    assert {rate["kind"] for rate in rates} == {"internet", "inter_region", "inter_zone"}


def test_hours_grow_with_distance_and_size() -> None:
    _, hours = CATALOG.egress([AWS_A, S3, OREGON, IOWA, TOKYO], 450)
    row = hours[0]
    assert row[0] == row[1], "through the region's object store, in a zone and between two"
    assert row[1] < row[2] < row[3] < row[4]
    assert row[1] == pytest.approx(450 * 8 / 10 / 3600)
    assert np.allclose(CATALOG.egress([AWS_A, S3, OREGON, IOWA, TOKYO], 900)[1], 2 * hours)


@pytest.mark.parametrize(
    ("region", "where"),
    [
        ("us-east-1", "North America"),
        ("eastus2", "North America"),
        ("westus", "North America"),
        ("canadacentral", "North America"),
        ("northamerica-south1", "North America"),
        ("sa-east-1", "South America"),
        ("brazilsouth", "South America"),
        ("eu-west-1", "Europe"),
        ("europe-west4", "Europe"),
        ("westeurope", "Europe"),
        ("uksouth", "Europe"),
        ("switzerlandnorth", "Europe"),
        ("me-south-1", "Middle East"),
        ("uaenorth", "Middle East"),
        ("af-south-1", "Africa"),
        ("southafricanorth", "Africa"),
        ("ap-southeast-2", "Oceania"),
        ("australiaeast", "Oceania"),
        ("ap-southeast-1", "Asia"),
        ("southeastasia", "Asia"),
        ("japaneast", "Asia"),
        ("asia-east1", "Asia"),
    ],
)
def test_continents(region: str, where: str) -> None:
    assert continent(region) == where


PLACES = st.sampled_from([AWS_A, AWS_B, S3, OHIO, IOWA, TOKYO, EASTUS, EASTUS_2, LAB])


@given(st.lists(PLACES, min_size=1, max_size=6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_matrices_agree_with_pairs_and_never_shrink_with_size(places: list[Location], gb: float, more: float) -> None:
    cost, hours = CATALOG.egress(places, gb)
    assert cost.shape == hours.shape == (len(places), len(places))
    for row, source in enumerate(places):
        for column, destination in enumerate(places):
            assert math.isclose(cost[row, column], usd(source, destination, gb), abs_tol=1e-9)
    bigger = CATALOG.egress(places, gb + more)
    assert (bigger[0] >= cost - 1e-9).all()
    assert (bigger[1] >= hours).all()


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_tiered_cost_is_continuous_and_grows_ever_slower(small: float, large: float) -> None:
    tiers = ((0.0, 0.09), (10_240.0, 0.085), (51_200.0, 0.07))
    together = tiered_cost(tiers, small + large)
    assert together <= tiered_cost(tiers, small) + tiered_cost(tiers, large) + 1e-6
    assert together >= 0.07 * (small + large) - 1e-6
