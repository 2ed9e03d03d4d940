"""Firewalls are asked from the start: a machine answers on the ports that a rule names, to whom it names."""

from __future__ import annotations

import pytest

from sky_core.clouds import connect
from sky_core.clouds.base import Instance
from tests.conftest import Sandbox
from tests.sandbox.clouds.test_contract import SUBJECTS
from tests.sandbox.driving import home_of
from tests.sandbox.ssh import greeting, running

SANDBOX = {"hours_per_second": 0.1}
DRIVER, NEIGHBOUR = "127.0.0.1", "127.77.200.1"


@pytest.mark.parametrize("name", ["aws", "gcp", "azure"])
def test_only_what_a_rule_names_gets_in(world: Sandbox, tmp_path, token: str, name: str) -> None:
    cloud = connect(name, world.settings)
    with home_of(world, tmp_path, ssh_port=2222) as home:
        [astray] = _launched(connect(name, home.settings), f"{token}-astray", name)
    place = (str(astray.ip), world.settings.clouds[name].ssh_port)
    assert greeting(place, DRIVER) == b"", "whoever drives is let in on another port"
    [machine] = _launched(cloud, token, name)
    place = (str(machine.ip), place[1])
    assert greeting(place, DRIVER) == b"SSH-"
    assert greeting(place, NEIGHBOUR) == b"", "nobody has let it in"
    cloud.terminate([astray.id, machine.id])


def _launched(cloud, token: str, name: str) -> list[Instance]:
    return running(cloud, cloud.launch(SUBJECTS[name].request(token)))
