"""What is known of the clouds without their SDKs: one file per cloud, one mapping for everybody who asks.

A package outside this tree adds a cloud by an entry point of the group ``skyloom.clouds`` that leads to its
:class:`CloudFacts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from sky_core.errors import SpecError
from sky_core.facts import aws, azure, gcp
from sky_core.facts.base import CloudFacts, CpuMaker, Credentials
from sky_core.facts.own import own
from sky_core.plugins import Group, load, names

GROUP: Group = "skyloom.clouds"


@cache
def clouds() -> Mapping[str, CloudFacts]:
    """All clouds by name, in alphabetical order: ours, and those that installed packages add.

    Raises:
        SpecError: if a package's entry point leads to something else than a :class:`CloudFacts`, or to a name that
            is taken.
    """
    found = {facts.name: facts for facts in (aws.FACTS, azure.FACTS, gcp.FACTS)}
    for name in names(GROUP):
        facts = load(GROUP, name)
        if not isinstance(facts, CloudFacts):
            raise SpecError(f"entry point {GROUP}: {name} is no CloudFacts but a {type(facts).__name__}")
        if found.setdefault(facts.name, facts) is not facts:
            raise SpecError(f"entry point {GROUP}: {name}: there is a cloud {facts.name!r} already")
    return MappingProxyType(dict(sorted(found.items())))


def facts_of(cloud: str) -> CloudFacts:
    """What is known of a cloud; one that nobody describes is made of machines of the user's own."""
    return clouds().get(cloud) or own(cloud)


@cache
def schemes() -> Mapping[str, CloudFacts]:
    """The cloud whose object store a URL scheme leads to."""
    return MappingProxyType({scheme: facts for facts in clouds().values() for scheme in facts.schemes})


__all__ = ["GROUP", "CloudFacts", "CpuMaker", "Credentials", "clouds", "facts_of", "schemes"]
