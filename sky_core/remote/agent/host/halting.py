"""Ends this machine's bill from inside: by its cloud where to power off would not do."""

from __future__ import annotations

import os
import subprocess

from .belonging import answerless, way_out


def end_bill(cloud: str) -> str:
    """Ask the cloud to end this machine, else power it off; returns what was done. The end may come at once."""
    ask = way_out(cloud)
    try:
        return ask() if ask else power_off()
    except answerless() as error:
        return f"{power_off()}, since {cloud} said: {error}"


def power_off() -> str:
    """Shut down."""
    command = ["shutdown", "-h", "now"]
    subprocess.call(command if os.getuid() == 0 else ["sudo", "-n", *command], stdin=subprocess.DEVNULL)
    return "powered off"
