"""How the matrix shortens the product's patience: what is minutes for a cloud would be the length of the matrix.

Settings come first; a constant of the product is set in each driver where there is no setting for it. One that is gone
stops the matrix at its start.
"""

from __future__ import annotations

import importlib
from typing import Any

from sky_core.config import CloudConfig, Settings

SETTINGS: dict[str, float] = {
    "poll_s": 0.5,
    "lease_s": 3.0,
    "orphan_ttl_s": 16.0,  # longer than an outage in a point, on a busy host
    "blocked_ttl_s": 30.0,
    "boot_timeout_s": 20.0,
    "sweep_s": 2.0,
    "publish_patience_s": 60.0,
}
# Within these seconds a machine has to end by itself: by its switch, which waits twice the boot time-out for an agent,
# or by the agent, which gives the command some seconds to end.
SWITCH_S = 2 * SETTINGS["boot_timeout_s"] + 5
ORPHAN_S = SETTINGS["orphan_ttl_s"] + 5
CLOUD_SETTINGS: dict[str, float] = {"settle_s": 6.0}  # longer than an instance is ``unseen`` in a point
MARGIN_S = 4.0  # by which a machine outlives its being kept
CONSTANTS: dict[str, float] = {
    "sky_core.driver.stages.running.LINK_TIMEOUT_S": 10.0,
    "sky_core.driver.process.IDLE_S": 1.0,
    "sky_core.driver.warm.parking.MARGIN_S": MARGIN_S,
    "sky_core.driver.warm.keeper.LOOK_S": 1.0,
    "sky_core.ssh.link.CONNECT_TIMEOUT_S": 5.0,
    "sky_core.ssh.link.LOGIN_TIMEOUT_S": 8.0,
    "sky_core.remote.ssh_executor.POLL_TIMEOUT_S": 10.0,
}


def settings() -> dict[str, Any]:
    """The settings that this version of the product knows."""
    return {name: value for name, value in SETTINGS.items() if name in Settings.model_fields}


def cloud_settings() -> dict[str, Any]:
    """The same for one cloud."""
    return {name: value for name, value in CLOUD_SETTINGS.items() if name in CloudConfig.model_fields}


def compress() -> None:
    """Set the constants in this process.

    Raises:
        AssertionError: if one is gone: another has to take its place here.
    """
    for name, value in CONSTANTS.items():
        module, _, constant = name.rpartition(".")
        owner = importlib.import_module(module)
        assert hasattr(owner, constant), f"{name} is gone: {__file__} has to name another constant"
        setattr(owner, constant, value)
