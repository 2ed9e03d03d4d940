"""The quota family of a size, by the names that ``az vm list-usage`` prints and the size's own."""

from __future__ import annotations

import pytest

from sky_core.clouds.azure.account.quotas import cores_of, family_of, family_of_size

FAMILIES = {
    "Standard_D4s_v5": "standardDSv5Family",
    "Standard_D4as_v5": "standardDASv5Family",
    "Standard_NC6s_v3": "standardNCSv3Family",
    "Standard_NC24rs_v3": "standardNCSv3Family",
    "Standard_ND40rs_v2": "standardNDSv2Family",
    "Standard_NC4as_T4_v3": "Standard NCASv3_T4 Family",
    "Standard_NC24ads_A100_v4": "StandardNCADSA100v4Family",
    "Standard_NV6ads_A10_v5": "StandardNVADSA10v5Family",
    "Standard_ND96asr_v4": "StandardNDASv4_A100Family",
    "Standard_ND96amsr_A100_v4": "standard NDAMSv4_A100Family",
    "Standard_NC40ads_H100_v5": "standardNCADSH100v5Family",
    "Standard_NC80adis_H100_v5": "standardNCADSH100v5Family",
    "Standard_ND96isr_H100_v5": "standardNDSH100v5Family",
}


@pytest.mark.parametrize("size", FAMILIES)
def test_a_size_is_of_its_family_and_of_no_other(size):
    family = family_of_size(size)
    assert family is not None
    assert {name for name in FAMILIES.values() if family.fullmatch(family_of(name))} == {FAMILIES[size]}


@pytest.mark.parametrize(
    ("size", "cores"),
    [("Standard_NC24ads_A100_v4", 24), ("Standard_B2s", 2), ("Standard_ND96isr_H100_v5", 96), ("Standard_D4as_v5", 4)],
)
def test_a_size_says_how_many_cores_it_has(size, cores):
    assert cores_of(size) == cores
