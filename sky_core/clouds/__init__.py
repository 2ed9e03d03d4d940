"""The clouds: one file each behind one small contract (:mod:`sky_core.clouds.base`).

SDKs are imported by :func:`connect` only, in the driver process: google-cloud-compute alone holds the GIL for
seconds, which must never happen in Airflow's triggerer or scheduler.
"""

from __future__ import annotations

from importlib import import_module

from sky_core.clouds.base import Cloud, Instance, LaunchRequest, Storage
from sky_core.config import Settings
from sky_core.errors import MissingExtra, SpecError
from sky_core.facts import clouds


def connect(name: str, settings: Settings) -> Cloud:
    """The cloud of that name, reached as the settings say.

    Raises:
        SpecError: if there is no such cloud.
        MissingExtra: if its SDK is not installed.
    """
    if name not in clouds():
        raise SpecError(f"clouds: no cloud {name!r}; there are {', '.join(clouds())}")
    facts = clouds()[name]
    module, _, attribute = facts.provider.partition(":")
    try:
        factory = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or module, facts.extra) from None
    cloud: Cloud = factory(settings.clouds[name])
    return cloud


__all__ = ["Cloud", "Instance", "LaunchRequest", "Storage", "connect"]
