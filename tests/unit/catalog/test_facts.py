"""What is known of the clouds: one mapping, complete for ours, open to others'."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from sky_core import facts, plugins
from sky_core.clouds import connect
from sky_core.config import CloudConfig, Settings
from sky_core.errors import NotConnected, SpecError
from sky_core.facts import CloudFacts

OTHERS = CloudFacts("others", provider="somewhere.else:Others", schemes={"oth": "oth"}, default_region="north-1")
# By their files, so that one whose line is missing in ``clouds()`` is missed here.
OURS = sorted(file.stem for file in Path(facts.__file__).parent.glob("*.py") if "\nFACTS = " in file.read_text())
TWICE = CloudFacts("aws", provider="somewhere.else:Aws")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points of packages that are installed for one test."""
    found: list[EntryPoint] = []

    def select(**wanted: str) -> EntryPoints:
        return EntryPoints(found).select(**wanted)

    monkeypatch.setattr(plugins, "entry_points", select)
    plugins.names.cache_clear()
    facts.clouds.cache_clear()
    facts.schemes.cache_clear()
    yield found
    plugins.names.cache_clear()
    facts.clouds.cache_clear()
    facts.schemes.cache_clear()


@pytest.mark.parametrize("name", OURS)
def test_each_of_our_clouds_is_known_whole(name: str) -> None:
    known = facts.clouds()[name]
    module, _, attribute = known.provider.partition(":")
    assert getattr(import_module(module), attribute).name == name
    source, _, function = (known.prices or known.offerings).partition(":")
    assert callable(getattr(import_module(source), function))
    assert known.default_region
    assert known.credentials.variables or known.credentials.files, "without them a plan takes it for usable"
    assert all(import_module(package) for package in known.sdk)
    assert {facts.schemes()[scheme].name for scheme in known.schemes} == {name}


def test_a_package_adds_a_cloud(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("others", f"{__name__}:OTHERS", facts.GROUP))
    assert facts.clouds()["others"] is OTHERS
    assert list(facts.clouds()) == sorted(facts.clouds())
    assert facts.schemes()["oth"] is OTHERS


def test_a_package_cannot_take_a_name(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("mine", f"{__name__}:TWICE", facts.GROUP))
    with pytest.raises(SpecError, match="there is a cloud 'aws' already"):
        facts.clouds()


def test_a_package_has_to_bring_facts(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("mine", f"{__name__}:pytest", facts.GROUP))
    with pytest.raises(SpecError, match="is no CloudFacts"):
        facts.clouds()


def test_a_package_that_cannot_be_loaded_is_named(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("mine", "nowhere.to.be.found:FACTS", facts.GROUP))
    with pytest.raises(SpecError, match=r"mine = nowhere.to.be.found:FACTS cannot be loaded: ModuleNot"):
        facts.clouds()


def test_a_cloud_that_nobody_describes_is_made_of_machines_of_ones_own() -> None:
    assert facts.facts_of("lab").own
    assert not any(known.own for known in facts.clouds().values())
    assert facts.facts_of("lab").arch("anything") == "x86_64"


def test_a_cloud_that_the_sandbox_does_not_play_says_where_to_lead_it(tmp_path: Path) -> None:
    played = Settings(home=tmp_path, profile="sandbox", store_url="sqlite://", clouds={"gcp": CloudConfig()})
    with pytest.raises(NotConnected, match=r"plays gcp, and no aws .*\[clouds.aws\] in .*config.toml an endpoint"):
        connect("aws", played)


def test_asking_imports_no_sdk() -> None:
    code = "import sys; from sky_core.facts import clouds; clouds(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "boto3" not in loaded
    assert "google.cloud" not in loaded
    assert "polars" not in loaded


@pytest.mark.parametrize(
    ("cloud", "instance_type", "seconds", "charged"),
    [
        ("aws", "m5.large", 5.0, 60.0),
        ("aws", "m5.large", 61.5, 61.5),
        ("gcp", "n2-standard-2", 59.0, 60.0),
        ("gcp", "TPU-VM", 5.0, 5.0),
        ("azure", "Standard_D2s_v5", 5.0, 5.0),
        ("aws", "m5.large", 0.0, 0.0),
    ],
)
def test_each_cloud_charges_by_the_second_from_its_own_minimum_on(
    cloud: str, instance_type: str, seconds: float, charged: float
) -> None:
    assert facts.facts_of(cloud).billed_hours(instance_type, seconds / 3600) * 3600 == pytest.approx(charged)
