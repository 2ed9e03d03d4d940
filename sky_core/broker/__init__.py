"""The broker: submit, watch, cancel, bill. Its driver process is :mod:`sky_core.broker.driver`."""

from sky_core.broker.broker import Broker

__all__ = ["Broker"]
