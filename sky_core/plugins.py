"""What installed packages add, found by entry points: clouds, policies, engines."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Literal

from sky_core.errors import SpecError

Group = Literal["skyloom.clouds", "skyloom.policies", "skyloom.engines"]


@cache
def names(group: Group) -> tuple[str, ...]:
    """The names that packages have given to what they add, in the order in which Python finds them."""
    return tuple(dict.fromkeys(entry.name for entry in entry_points(group=group)))


def load(group: Group, name: str) -> object:
    """What a package adds under that name.

    Raises:
        SpecError: if there is nothing of the name, two packages claim it, or it cannot be imported.
    """
    found = tuple(entry_points(group=group, name=name))
    if len(found) != 1:
        many = f"{len(found)} packages add" if found else "no package adds"
        raise SpecError(f"entry point {group}: {many} {name!r}; there are {', '.join(names(group)) or 'none'}")
    try:
        return found[0].load()
    except Exception as error:
        # A stranger's code: whatever it raises, its package is to be named.
        raise SpecError(
            f"entry point {group}: {name} = {found[0].value} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
