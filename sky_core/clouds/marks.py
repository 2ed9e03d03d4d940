"""Whose a firewall's rule is that lets a host in, and how long it holds.

Hosts come and go (a pod has another name each time), and nobody takes out the rules of those that are gone, whose
address may be a stranger's by then. So each rule names its host and the hour in which it was made or renewed, and
whoever launches takes out those that nobody has renewed for a day. A host that was only quiet is let in again as soon
as one of its connections fails.
"""

from __future__ import annotations

import re
import socket
import time
from calendar import timegm

HOST = re.sub("[^a-zA-Z0-9.-]", "-", socket.gethostname())[:100]
LASTS_S = 24 * 3600.0
RENEWED_S = 6 * 3600.0
HOUR = "%Y-%m-%dT%HZ"


def mark() -> str:
    """The description of a rule of this host's, made now."""
    return f"skyloom {HOST} {time.strftime(HOUR, time.gmtime(time.time()))}"


def turn() -> int:
    """Another number each time that rules are to be renewed."""
    return int(time.time() // RENEWED_S)


def is_mine(description: str) -> bool:
    """Whether a rule of that description lets this host in."""
    return description.split(" ")[:2] == ["skyloom", HOST]


def is_over(description: str) -> bool:
    """Whether a rule of ours is another host's, who has not renewed it for long."""
    if is_mine(description):
        return False
    try:
        made = timegm(time.strptime(description.split(" ")[-1], HOUR))
    except ValueError:
        return True  # an earlier version's
    return time.time() - made > LASTS_S
