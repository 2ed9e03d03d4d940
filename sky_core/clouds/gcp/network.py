"""The firewall rules of our machines on Google Cloud, and the network that they are in.

The default network lets the whole world in to port 22. So three rules stand before its own: machines of ours reach each
other, a host of ours reaches them from where it is seen now, and nobody else does. The second is that host's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import compute_v1 as compute

from sky_core.clouds.caller import sources
from sky_core.clouds.gcp.bodies import NETWORK_TAG
from sky_core.clouds.gcp.errors import cloud_errors
from sky_core.clouds.marks import HOST, is_mine, is_over, mark, turn
from sky_core.config import CloudConfig

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
        own = self._config.network.at(region)
        outside = compute.AccessConfig(type_="ONE_TO_ONE_NAT", name="External NAT")
        interface = compute.NetworkInterface(network=self._network(region))
        if own.public_addresses:
            interface.access_configs = [outside]
        if own.subnet is not None:
            interface.subnetwork = f"regions/{region}/subnetworks/{own.subnet}"
        return interface

    def open(self, region: str, ports: Sequence[int]) -> None:
        """Let SSH and the task's ports in from where this machine is now, and where it was before no more."""
        network, allowed = self._network(region), sources(self._config, region)
        wanted = tuple(sorted({self._config.ssh_port, *ports}))
        known = (network, wanted, allowed, turn())
        if known in self._opened:
            return
        ssh = [compute.Allowed(I_p_protocol="tcp", ports=[str(port) for port in wanted])]
        among = [compute.Allowed(I_p_protocol="all")]
        place = hashlib.sha256(network.encode()).hexdigest()[:8]
        mine = hashlib.sha256(f"{HOST} {wanted}".encode()).hexdigest()[:12]
        rules = [
            _rule(f"skyloom-{place}-inside", network, priority=INSIDE, source_tags=[NETWORK_TAG], allowed=among),
            _rule(f"skyloom-{place}-{mine}", network, priority=CALLER, source_ranges=list(allowed), allowed=ssh),
            _rule(f"skyloom-{place}-nobody", network, priority=NOBODY, source_ranges=["0.0.0.0/0"],
                  denied=[compute.Denied(I_p_protocol="all")]),
        ]  # fmt: skip
        with cloud_errors("open the firewall"):
            for rule in rules:
                self._put(rule)
            self._close(network)
        self._opened.add(known)

    def let_in(self, region: str) -> None:
        """Renew this host's rules, whatever their ports, if it is seen elsewhere than they say."""
        network, allowed = self._network(region), list(sources(self._config, region))
        with cloud_errors("open the firewall"):
            for rule in self._callers(network):
                if is_mine(rule.description) and list(rule.source_ranges) != allowed:
                    renewed = compute.Firewall(source_ranges=allowed)
                    self._firewalls.patch_unary(
                        project=self._project, firewall=rule.name, firewall_resource=renewed, timeout=CALL_S
                    )

    def _callers(self, network: str) -> list[compute.Firewall]:
        """The rules that let hosts of ours in."""
        found = self._firewalls.list(project=self._project, timeout=CALL_S)
        ours = [one for one in found if one.name.startswith("skyloom-") and one.network.endswith(network)]
        return [rule for rule in ours if rule.description and rule.priority == CALLER]

    def _close(self, network: str) -> None:
        """Take out the rules of hosts that are gone."""
        for rule in self._callers(network):
            if is_over(rule.description):
                with suppress(NotFound):  # another host was faster
                    self._firewalls.delete_unary(project=self._project, firewall=rule.name, timeout=CALL_S)

    def forget(self) -> None:
        """Make the rules again at the next launch: one was deleted."""
        self._opened.clear()

    def _put(self, rule: compute.Firewall) -> None:
        with suppress(Conflict):
            self._firewalls.insert_unary(project=self._project, firewall_resource=rule, timeout=CALL_S)
            return
        if rule.priority == CALLER and rule.source_ranges:
            self._firewalls.patch_unary(
                project=self._project, firewall=rule.name, firewall_resource=rule, timeout=CALL_S
            )

    def _network(self, region: str) -> str:
        return f"global/networks/{self._config.network.at(region).vpc or 'default'}"


def _rule(name: str, network: str, **about: Any) -> compute.Firewall:
    if about.get("source_ranges") and about.get("allowed"):
        about["description"] = mark()  # whose it is
    return compute.Firewall(name=name, network=network, direction="INGRESS", target_tags=[NETWORK_TAG], **about)
