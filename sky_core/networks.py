"""Networks as the settings tell of them: where a cloud's machines are put, and how they are reached."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class Network(BaseModel):
    """Where machines are put and how they are reached, where a fresh account's default network will not do.

    Attributes:
        vpc: AWS: id of the VPC, needed for a group of ours in it. Google: name of the network, or ``HOST-PROJECT/NAME``
            of one that another project shares.
        subnet: AWS: ``subnet-…``. Google: name of the subnetwork. Azure: the subnet's resource id.
        subnets: AWS: several instead, of one VPC: each is in one zone, and in other zones no machines can be.
        security_group: One of your own (AWS: its id, Azure: a network security group's resource id). Nothing is opened
            then: it has to let SSH in.
        manage_firewall: Google: whether rules of ours are made; else the network's own have to let SSH in, and machines
            reach each other.
        network_tags: Google: further network tags of machines, by which the network's own rules know them.
        public_addresses: Whether machines get any; without them they are reached by their private ones.
        proxy_command: What carries SSH to them, as ``ProxyCommand`` of ssh_config; ``%h`` and ``%p`` stand for the
            machine's address and port: ``ssh -W %h:%p bastion``.
        sources: CIDR blocks that are let in, e.g. the bastion's, instead of this machine's present address.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    vpc: str | None = None
    subnet: str | None = None
    subnets: tuple[str, ...] = ()
    security_group: str | None = None
    manage_firewall: bool = True
    network_tags: tuple[str, ...] = ()
    public_addresses: bool = True
    proxy_command: str | None = None
    sources: tuple[str, ...] = ()


class Networks(Network):
    """The network of a cloud, and what differs in some of its regions: ``[clouds.aws.network.regions.eu-west-1]``."""

    regions: Mapping[str, Network] = Field(default_factory=dict)

    def at(self, region: str) -> Network:
        """What holds in a region: what its own table says, and where that says nothing the cloud's."""
        own = self.regions.get(region)
        return (
            self if own is None else self.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
        )
