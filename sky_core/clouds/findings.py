"""What ``skyloom check --deep`` finds of an account: one line each, and how it is found out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sky_core.clouds.base import Loan
from sky_core.errors import CloudError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``says`` is what was seen, or what is wrong with its cure."""

    about: str
    ok: bool
    says: str


def finding(about: str, look: Callable[[], str], errors: Callable[[], AbstractContextManager[None]]) -> Finding:
    """What a look saw; ``errors`` turns the SDK's errors into ours."""
    try:
        with errors():
            return Finding(about, True, look())
    except CloudError as error:
        return Finding(about, False, str(error))


def lending(lend: Callable[[], Loan]) -> Finding:
    """Whether a machine can be lent credentials."""
    try:
        loan = lend()
    except CloudError as error:
        return Finding("lending credentials", False, str(error))
    if loan.ends_at is None:
        return Finding("lending credentials", True, "not needed: machines have an identity of their own")
    return Finding("lending credentials", True, f"works, for {(loan.ends_at - time.time()) / 3600:.0f} h")


def no_quota(limits: Callable[[], Mapping[str, float]], counts: Callable[[str], bool]) -> Finding:
    """Which quotas are 0: no fault of the account, but a task that needs one of them has to go elsewhere."""
    try:
        none = sorted(name for name, limit in limits().items() if limit == 0 and counts(name))
    except CloudError as error:
        return Finding("quotas", False, str(error))
    return Finding("quotas", True, f"none at all of: {', '.join(none)}" if none else "some of everything")
