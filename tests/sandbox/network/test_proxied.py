"""Whoever drives gets out through an HTTP proxy only: the SDKs by the usual variables, SSH by a ProxyCommand."""

from __future__ import annotations

import socket
import sys
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sky_core import Artifact
from sky_core.remote.artifacts import fetch
from tests.conftest import Sandbox
from tests.sandbox.driving import home_of, small
from tests.sandbox.network.proxies import CONNECT, proxy

SANDBOX = {"hours_per_second": 0.1}
PLACES = {
    "aws": {"region": "us-east-1", "instance_type": "t3.small"},
    "gcp": {"region": "us-central1", "instance_type": "e2-standard-2"},
    "azure": {"region": "eastus", "instance_type": "Standard_B2s"},
}


@pytest.mark.parametrize("name", PLACES)
def test_all_goes_through_the_proxy(world: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "connect.py").write_text(CONNECT)
    past: list[object] = []
    config = world.settings.clouds[name]
    clouds = {urlsplit(str(config.endpoint)).port, urlsplit(str(config.storage_endpoint)).port, config.ssh_port}
    with proxy() as way:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{way.port}")
        monkeypatch.setattr(urllib.request, "_opener", None)  # it goes on with the proxies that it has found first
        connect = socket.socket.connect

        def watched(self: socket.socket, address: tuple[str, int]) -> None:
            if address[1] in clouds and threading.current_thread() is not way.thread:
                past.append(address)
            connect(self, address)

        monkeypatch.setattr(socket.socket, "connect", watched)
        network = {"proxy_command": f"{sys.executable} {tmp_path / 'connect.py'} {way.port} %h %p"}
        with home_of(world, tmp_path / "home", network=network) as home:
            task = small(
                name, run="mkdir -p $SKY_OUTPUT_OUT; echo hi > $SKY_OUTPUT_OUT/said", cloud=name, **PLACES[name]
            )
            job = home.submit(task.model_copy(update={"outputs": {"out": Artifact()}}))
            [done] = home.drive(job)
            assert done.state == "succeeded", home.store.events(job.id)[-3:]
            options = {scheme: home.driving.clouds[name].storage_options() for scheme in ("s3", "abfs", "gs")}
            seen = fetch(done.result["outputs"]["out"]["uri"], tmp_path / "out", options)
            assert (seen / "said").read_text() == "hi\n"
    assert past == []
    assert clouds <= {port for _, port in way.carried}
