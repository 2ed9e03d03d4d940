"""The process that leads a port of this host to a job's machine, and lives as long as whoever has started it.

No SSH is loaded into an engine's process, so this is one of its own. Started by :mod:`sky_core.broker.clusters`.
"""
