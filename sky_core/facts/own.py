"""Machines of one's own: a cloud by whatever name, of which catalog.toml lists the hosts."""

from __future__ import annotations

from sky_core.facts.base import CloudFacts


def own(name: str) -> CloudFacts:
    """What is known of a cloud that nobody but the user describes."""
    return CloudFacts(
        name,
        provider="sky_core.clouds.ssh.provider:Ssh",
        sdk=("paramiko",),
        own=True,
        spot_zones=False,
        preemptions_per_hour=0.0,
        bills_pending=True,
    )
