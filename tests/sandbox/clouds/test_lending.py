"""What machines are lent: enough for their job, nothing else, not for long, and never the operator's own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from sky_core.clouds import connect
from sky_core.clouds.base import Reach
from sky_core.remote.agent.data import stores
from sky_sandbox import client
from tests.conftest import Sandbox, start_sandbox, until

REGIONS = {"aws": "us-east-1", "gcp": "us-central1", "azure": "eastus"}
SCHEMES = {"aws": "s3", "gcp": "gs", "azure": "abfs"}


@pytest.mark.parametrize("name", REGIONS)
def test_a_machine_reaches_its_own_prefix_and_no_other(sandbox: Sandbox, name: str) -> None:
    cloud = connect(name, sandbox.settings)
    bucket, run = cloud.storage(REGIONS[name]).url, uuid.uuid4().hex
    scheme = SCHEMES[name]
    own = {scheme: cloud.storage_options()}
    for place in ("mine", "read", "theirs"):
        filesystem, path = stores.connect(f"{bucket}/{run}/{place}/data", own)
        stores.write(filesystem, path, place.encode())
    loan = cloud.lend([Reach(f"{bucket}/{run}/mine", write=True), Reach(f"{bucket}/{run}/read", write=False)], name)
    lent = {scheme: json.loads(json.dumps(dict(loan.options)))}  # as it travels

    def at(place: str) -> tuple[object, str]:
        return stores.connect(f"{bucket}/{run}/{place}", lent)

    assert stores.read(*at("mine/data")) == b"mine"
    stores.write(*at("mine/more"), b"more")
    assert sorted(stores.names(*at("mine"))) == ["data", "more"]
    stores.remove(*at("mine/more"))
    assert stores.names(*at("mine")) == ["data"]
    with pytest.raises(FileNotFoundError):
        stores.read(*at("mine/nothing"))
    assert stores.read(*at("read/data")) == b"read"
    with pytest.raises(Exception, match=r"(?i)forbidden|denied|403"):
        stores.write(*at("read/data"), b"changed")
    for look in (stores.read, stores.names):
        with pytest.raises(Exception, match=r"(?i)forbidden|denied|403|lent nothing"):
            look(*at("theirs/data" if look is stores.read else "theirs"))
    if name == "azure":  # somebody takes what was signed for another folder
        for signature in lent[scheme].pop("signatures").values():
            taken = {scheme: {**lent[scheme], "sas_token": signature}}
            for look, place in ((stores.read, "theirs/data"), (stores.names, "theirs"), (stores.names, "")):
                with pytest.raises(Exception, match="AuthenticationFailed"):
                    look(*stores.connect(f"{bucket}/{run}/{place}", taken))


def test_what_may_be_a_single_file_is_lent_with_its_folder_only(sandbox: Sandbox) -> None:
    cloud = connect("azure", sandbox.settings)
    bucket, run = cloud.storage("eastus").url, uuid.uuid4().hex
    own = {"abfs": cloud.storage_options()}
    for path in ("given/table.csv", "given/more/parts/1", "other"):
        stores.write(*stores.connect(f"{bucket}/{run}/{path}", own), path.encode())
    for url in (f"{bucket}/{run}/given/table.csv", f"{bucket}/{run}/given/more"):
        loan = {"abfs": dict(cloud.lend([Reach(url, write=False, folder=False)], "azure").options)}
        store, path = stores.connect(url, loan)
        assert store.size(path) == (len("given/table.csv") if url.endswith("csv") else None)
        assert list(store.find(path)) == ([] if url.endswith("csv") else ["parts/1"])
        with pytest.raises(PermissionError):
            stores.connect(f"{bucket}/{run}/other", loan)


def test_an_account_without_folders_lends_the_container(sandbox: Sandbox) -> None:
    sandbox.control.account(hierarchical=False)
    cloud = connect("azure", sandbox.settings)
    bucket, run = cloud.storage("eastus").url, uuid.uuid4().hex
    lent = {"abfs": dict(cloud.lend([Reach(f"{bucket}/{run}/mine", write=True)], "azure").options)}
    store, path = stores.connect(f"{bucket}/{run}/mine", lent)
    for name in ("a", "b/c"):
        stores.write(store, f"{path}/{name}", name.encode())
    assert store.find(path) == {"a": 1, "b/c": 3}
    stores.remove(store, path)
    assert stores.names(store, path) == []


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Clouds whose credentials end after two seconds."""
    running = start_sandbox(tmp_path_factory.mktemp("hasty"), login_s=2)
    yield running
    client.down(running.home)


@pytest.mark.parametrize("name", REGIONS)
def test_what_is_lent_ends(hasty: Sandbox, name: str) -> None:
    cloud = connect(name, hasty.settings)
    bucket, scheme = cloud.storage(REGIONS[name]).url, SCHEMES[name]
    loan = cloud.lend([Reach(f"{bucket}/a", write=True)], name)
    assert loan.ends_at is not None
    place = stores.connect(f"{bucket}/a/data", {scheme: loan.options})

    def refused() -> str:
        try:
            place[0].write(place[1], b"data")
        except stores.NOT_TRANSIENT:
            raise  # it must not be final
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
        return ""

    said = until(refused)
    assert any(words in said for words in ("xpired", "AuthenticationRequired", "AuthenticationFailed")), said


def test_nothing_of_the_operators_is_in_a_loan(sandbox: Sandbox) -> None:
    secrets = json.loads((sandbox.home / "sandbox" / "endpoints.json").read_text())["clouds"]
    for name, region in REGIONS.items():
        cloud = connect(name, sandbox.settings)
        loan = cloud.lend([Reach(f"{cloud.storage(region).url}/a", write=True)], name)
        said = json.dumps(dict(loan.options))
        for own in secrets[name]["credentials"].values():
            assert f'"{own}"' not in said
        assert "AccountKey" not in said
        assert "Credential" not in repr(loan)
        assert "options" not in repr(loan), "a loan is not logged"
