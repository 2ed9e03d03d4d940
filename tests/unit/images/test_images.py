"""The images that providers choose, held against what the clouds document: a table that shares nothing with them."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pytest

from sky_core.catalog import Catalog
from sky_core.clouds.aws import images as aws
from sky_core.clouds.azure import images as azure
from sky_core.clouds.base import LaunchRequest
from sky_core.clouds.gcp import names as gcp
from sky_core.errors import InvalidRequest
from sky_sandbox.images import Image, images


def request(instance_type: str, accelerator: str | None = None, arch: str = "x86_64", gib: int = 8) -> LaunchRequest:
    return LaunchRequest(
        "t", instance_type, "here", None, False, accelerator=accelerator, arch=arch, disk_gib=gib
    )  # fmt: skip


def sold(cloud: str) -> Iterator[tuple[str, str, str]]:
    """Machine type, accelerator and architecture of one offering for each accelerator that the catalog has."""
    rows = Catalog.embedded().table.filter(pl.col("cloud") == cloud, pl.col("accelerator").is_not_null())
    columns = ["instance_type", "accelerator", "arch"]
    for type_, accelerator, arch in rows.select(columns).unique(["accelerator", "arch"]).sort(columns).iter_rows():
        if not accelerator.startswith("tpu"):
            yield str(type_), accelerator, arch


def choose(cloud: str, wanted: LaunchRequest) -> Image | None:
    """What is booted by the clouds' documents; None where every name is unknown there.

    Raises:
        InvalidRequest: if the provider knows of none.
    """
    if cloud == "aws":
        there = [
            images("aws").get(name) for name in aws.parameters(wanted.arch, wanted.accelerator, wanted.instance_type)
        ]
        return next((image for image in there if image is not None), None)
    name = gcp.image(wanted) if cloud == "gcp" else azure.default_image(wanted).rpartition(":")[0]
    return images(cloud)[name]  # a name that the cloud does not have is an error


def chosen(cloud: str, wanted: LaunchRequest) -> Image | None:
    """The same, or None for a refusal that says what to do."""
    try:
        return choose(cloud, wanted)
    except InvalidRequest as error:
        return None if error.scope == "type" and error.cure else pytest.fail(str(error))


# Which accelerators a provider gives an image without a driver for them, knowingly: ``setup`` brings it.
PLAIN = {"aws": {"Gaudi", "RadeonProV520"}}
# Of which the release notes do not speak yet: later than Turing, so the open driver is the one to hope for.
UNHEARD_OF = {"aws": {"RTXPRO4500", "RTXPRO6000"}}


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_every_accelerator_gets_a_driver_or_a_refusal(cloud: str) -> None:
    wrong = []
    for type_, accelerator, arch in sold(cloud):
        image = chosen(cloud, request(type_, accelerator, arch))
        if image is None or accelerator in PLAIN.get(cloud, set()) | UNHEARD_OF.get(cloud, set()):
            continue
        works = (*image.gpus, *(image.gpus_if_proprietary if image.driver == "unsure" else ()))
        if accelerator not in works or image.arch != arch:
            wrong.append((type_, accelerator, image.name))
    assert wrong == []


@pytest.mark.parametrize("cloud", ["azure", "gcp"])
def test_no_disk_is_smaller_than_its_image(cloud: str) -> None:
    for type_, accelerator, arch in [*sold(cloud), ("Standard_D2s_v5", None, "x86_64")]:
        wanted = request(type_, accelerator, arch)
        image = chosen(cloud, wanted)
        disk = azure.disk_gib(wanted) if cloud == "azure" else gcp.disk_gib(wanted)
        assert image is None or disk >= image.min_disk_gib, type_


@pytest.mark.parametrize(
    ("size", "generation", "controller"),
    [("Standard_D4_v3", 1, "SCSI"), ("Standard_E8_v3", 1, "SCSI"), ("Standard_D2_v2", 1, "SCSI"),
     ("Standard_D4s_v3", 2, "SCSI"), ("Standard_D4s_v5", 2, "SCSI"), ("Standard_D2s_v6", 2, "NVMe"),
     ("Standard_E16-4ads_v7", 2, "NVMe"), ("Standard_F4as_v6", 2, "NVMe"), ("Standard_NC24ads_A100_v4", 2, "SCSI")],
)  # fmt: skip
def test_azures_sizes_boot_what_they_can(size: str, generation: int, controller: str) -> None:
    image = images("azure")[azure.default_image(request(size)).rpartition(":")[0]]
    assert image.generation == generation
    assert azure.needs_nvme(size) == (controller == "NVMe")
    assert controller in image.controllers


@pytest.mark.parametrize(
    ("type_", "disk"),
    [("a3-ultragpu-8g", "hyperdisk-balanced"), ("a3-highgpu-8g", "pd-balanced"), ("c3-standard-4", "pd-balanced"),
     ("c3-highcpu-192-metal", "hyperdisk-balanced"), ("c4a-standard-4", "hyperdisk-balanced")],
)  # fmt: skip
def test_googles_disks_fit_the_full_family(type_: str, disk: str) -> None:
    assert gcp.disk_type(type_) == disk


def test_the_page_of_what_works_is_up_to_date() -> None:
    from tests.unit.images import what_works

    assert what_works.PAGE.read_text() == what_works.page(), "python -m tests.unit.images.what_works writes it anew"
