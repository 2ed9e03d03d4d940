"""The firewall rules of our machines on Google Cloud, and the network that they are in.

The default network lets the whole world in to port 22. So three rules stand before its own: machines of ours reach each
other, a host of ours reaches them from where it is seen now, and nobody else does. The second is that host's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import compute_v1 as compute

from sky_core.clouds.caller import sources
from sky_core.clouds.gcp.bodies import NETWORK_TAG
from sky_core.clouds.gcp.errors import cloud_errors
from sky_core.clouds.gcp.network.vpc import Vpc, vpc
from sky_core.clouds.marks import HOST, is_mine, is_over, mark, turn
from sky_core.config import CloudConfig
from sky_core.errors import AuthError, NotSetUp

CALL_S = 60.0
INSIDE, CALLER, NOBODY = 900, 900, 1000  # priorities: lower goes first; those of the default network are at 65534


class Network:
    """Lets this machine in, and nobody else. ``reach`` are the keyword arguments of Google's clients."""

    def __init__(self, config: CloudConfig, project: str, reach: Mapping[str, Any]) -> None:
        self._config, self._project = config, project
        self._firewalls = compute.FirewallsClient(**reach)
        self._opened: set[tuple[object, ...]] = set()

    def interface(self, region: str) -> compute.NetworkInterface:
        """What a machine's body says of its network."""
        there = self._vpc(region)
        interface = compute.NetworkInterface(network=there.network)
        if there.public:
            interface.access_configs = [compute.AccessConfig(type_="ONE_TO_ONE_NAT", name="External NAT")]
        if there.subnetwork:
            interface.subnetwork = there.subnetwork
        return interface

    def tags(self, region: str) -> list[str]:
        """The network tags of machines, by which firewall rules know them."""
        return [NETWORK_TAG, *self._vpc(region).tags]

    def open(self, region: str, ports: Sequence[int]) -> None:
        """Let SSH and the task's ports in from where this machine is now, and where it was before no more.

        Nothing is opened where the settings say so.

        Raises:
            AuthError: with the setting that does without, where a host project does not let us make rules.
        """
        there = self._vpc(region)
        if not there.ruled:
            return
        allowed = sources(self._config, region)
        wanted = tuple(sorted({self._config.ssh_port, *ports}))
        known = (there, wanted, allowed, turn())
        if known in self._opened:
            return
        with _told(there), cloud_errors("open the firewall"):
            for rule in _rules(there.network, wanted, allowed):
                self._put(there.project, rule)
            self._close(there)
        self._opened.add(known)

    def let_in(self, region: str) -> None:
        """Renew this host's rules, whatever their ports, if it is seen elsewhere than they say."""
        there = self._vpc(region)
        if not there.ruled:
            return
        allowed = list(sources(self._config, region))
        with _told(there), cloud_errors("open the firewall"):
            for rule in self._callers(there):
                if is_mine(rule.description) and list(rule.source_ranges) != allowed:
                    renewed = compute.Firewall(source_ranges=allowed)
                    self._firewalls.patch_unary(
                        project=there.project, firewall=rule.name, firewall_resource=renewed, timeout=CALL_S
                    )

    def _callers(self, there: Vpc) -> list[compute.Firewall]:
        """The rules that let hosts of ours in."""
        found = self._firewalls.list(project=there.project, timeout=CALL_S)
        ours = [one for one in found if one.name.startswith("skyloom-") and one.network.endswith(there.network)]
        return [rule for rule in ours if rule.description and rule.priority == CALLER]

    def _close(self, there: Vpc) -> None:
        """Take out the rules of hosts that are gone."""
        for rule in self._callers(there):
            if is_over(rule.description):
                with suppress(NotFound):  # another host was faster
                    self._firewalls.delete_unary(project=there.project, firewall=rule.name, timeout=CALL_S)

    def forget(self) -> None:
        """Make the rules again at the next launch: one was deleted."""
        self._opened.clear()

    def _put(self, project: str, rule: compute.Firewall) -> None:
        with suppress(Conflict):
            self._firewalls.insert_unary(project=project, firewall_resource=rule, timeout=CALL_S)
            return
        if rule.priority == CALLER and rule.source_ranges:
            self._firewalls.patch_unary(project=project, firewall=rule.name, firewall_resource=rule, timeout=CALL_S)

    def _vpc(self, region: str) -> Vpc:
        return vpc(self._config, self._project, region)


@contextmanager
def _told(there: Vpc) -> Iterator[None]:
    """Say what to do where the rules of a network are somebody else's."""
    try:
        yield
    except AuthError as error:
        if not (there.shared and error.code):
            raise
        raise no_rules(there, str(error.args[0]), error.code) from error


def no_rules(there: Vpc, why: str, code: str = "") -> NotSetUp:
    """That no rules of ours may be made in a host project, with the setting that does without."""
    tag = there.tags[0] if there.tags else NETWORK_TAG
    cure = (
        "set manage_firewall = false in [clouds.gcp.network], and let rules of the network's own let SSH in to"
        f" machines with the tag {tag}"
    )
    return NotSetUp(f"no firewall rules may be made in {there.project}: {why}", code=code, cure=cure)


def _rules(network: str, ports: Sequence[int], allowed: Sequence[str]) -> list[compute.Firewall]:
    ssh = [compute.Allowed(I_p_protocol="tcp", ports=[str(port) for port in ports])]
    among = [compute.Allowed(I_p_protocol="all")]
    place = hashlib.sha256(network.encode()).hexdigest()[:8]
    mine = hashlib.sha256(f"{HOST} {ports}".encode()).hexdigest()[:12]
    return [
        _rule(f"skyloom-{place}-inside", network, priority=INSIDE, source_tags=[NETWORK_TAG], allowed=among),
        _rule(f"skyloom-{place}-{mine}", network, priority=CALLER, source_ranges=list(allowed), allowed=ssh),
        _rule(f"skyloom-{place}-nobody", network, priority=NOBODY, source_ranges=["0.0.0.0/0"],
              denied=[compute.Denied(I_p_protocol="all")]),
    ]  # fmt: skip


def _rule(name: str, network: str, **about: Any) -> compute.Firewall:
    if about.get("source_ranges") and about.get("allowed"):
        about["description"] = mark()  # whose it is
    return compute.Firewall(name=name, network=network, direction="INGRESS", target_tags=[NETWORK_TAG], **about)
