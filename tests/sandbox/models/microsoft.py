"""Requests and replies of Azure Resource Manager against the models of azure-mgmt-compute, -network and -resource.

The SDK sends what it is given and keeps whatever it is told: here a member that its models do not have is a fault.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from azure.mgmt.compute import models as compute
from azure.mgmt.network import models as network
from azure.mgmt.resource.resources import models as resources

from tests.sandbox.models.recorder import Exchange

# What is kept under a path that ends so: what it is, and what changes it by PATCH. Types of resources in lower case,
# since Azure takes them in any.
KEPT: Mapping[str, type] = {
    "virtualmachines": compute.VirtualMachine,
    "networkinterfaces": network.NetworkInterface,
    "networksecuritygroups": network.NetworkSecurityGroup,
    "publicipaddresses": network.PublicIPAddress,
    "virtualnetworks": network.VirtualNetwork,
    "subnets": network.Subnet,
    "disks": compute.Disk,
    "resourcegroups": resources.ResourceGroup,
    "providers": resources.Provider,
    "resources": resources.GenericResourceExpanded,
    "usages": compute.Usage,
    "skus": compute.ResourceSku,
    "capacityreservationgroups": compute.CapacityReservationGroup,
    "capacityreservations": compute.CapacityReservation,
}
PATCHES: Mapping[str, type] = {
    "resourcegroups": resources.ResourceGroupPatchable,
    "virtualmachines": compute.VirtualMachineUpdate,
}
UNLISTED = (compute.VirtualMachineSizeTypes,)  # "will be deprecated": of the sizes it has those of 2017 only
KINDS = {str: str, bool: bool, int: int, float: (int, float)}


def complaints(exchange: Exchange) -> list[str]:
    """What the models do not know of this exchange; nothing of what they do not have (tokens, roles, operations)."""
    model, is_list = _model(exchange.path)
    return list(_complaints(exchange, model, is_list)) if model else []


def _model(path: str) -> tuple[type | None, bool]:
    """What a path holds, and whether it is a list of them."""
    parts = path.lower().strip("/").split("/")
    if parts[-1] in KEPT and parts[-1] != "providers":
        return KEPT[parts[-1]], True
    return (KEPT.get(parts[-2]), False) if len(parts) > 3 else (None, False)


def _complaints(exchange: Exchange, model: type, is_list: bool) -> Iterator[str]:
    at = re.sub(r"/subscriptions/[^/]+", "", str(exchange))
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(-preview)?", dict(exchange.query).get("api-version", "")):
        yield f"{at}: no api-version"
    if exchange.body and exchange.method in ("PUT", "PATCH"):
        kind = PATCHES[exchange.path.lower().split("/")[-2]] if exchange.method == "PATCH" else model
        yield from _differences(kind, exchange.said, f"{at}: request", sent=True)
    if exchange.status >= 400:
        error = exchange.told.get("error", {})
        if not (error.get("code") and error.get("message")):
            yield f"{at}: an error has a code and a message: {exchange.told}"
    elif exchange.reply and is_list:
        for name in exchange.told.keys() - {"value", "nextLink"}:
            yield f"{at}: a list has no {name}"
        for item in exchange.told["value"]:
            yield from _differences(model, item, f"{at}: reply")
    elif exchange.reply:
        yield from _differences(model, exchange.told, f"{at}: reply")


def _differences(kind: Any, value: Any, at: str, sent: bool = False) -> Iterator[str]:
    if value is None:
        return
    origin, arguments = get_origin(kind), [item for item in get_args(kind) if item is not type(None)]
    if origin in (Union, types.UnionType) and len(arguments) == 1:
        yield from _differences(arguments[0], value, at, sent)
    elif origin in (Union, types.UnionType) and arguments[0] is str:
        yield from _of_choice(arguments[1], value, at)
    elif origin is Literal:
        yield from _of_choice(kind, value, at)
    elif origin is list:
        if not isinstance(value, list):
            yield f"{at}: {value!r} is no list"
            return
        for number, item in enumerate(value):
            yield from _differences(arguments[0], item, f"{at}[{number}]", sent)
    elif origin is dict:
        for name, item in value.items():
            yield from _differences(arguments[1], item, f"{at}.{name}", sent)
    elif isinstance(kind, type) and issubclass(kind, MutableMapping):  # a model, as the SDK makes them
        yield from _of_model(kind, value, at, sent)
    elif kind is datetime:
        datetime.fromisoformat(value)
    elif kind is not Any and (not isinstance(value, KINDS[kind]) or (kind is int and isinstance(value, bool))):
        yield f"{at}: {value!r} is no {kind.__name__}"


def _of_choice(choice: Any, value: Any, at: str) -> Iterator[str]:
    if get_origin(choice) is Literal:
        known = set(get_args(choice))
    elif isinstance(choice, type) and issubclass(choice, Enum) and choice not in UNLISTED:
        known = {item.value for item in choice}
    else:
        return
    if str(value).lower() not in {str(item).lower() for item in known}:
        yield f"{at}: {value!r} is none of {sorted(known)}"


def _of_model(model: Any, value: Any, at: str, sent: bool) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at}: {value!r} is no {model.__name__}"
        return
    members = _members(model)
    for name, item in value.items():
        if name not in members:
            yield f"{at}: {model.__name__} has no {name}"
            continue
        kind, read_only = members[name]
        if sent and read_only:
            yield f"{at}: {name} of {model.__name__} is not for us to say"
        yield from _differences(kind, item, f"{at}.{name}", sent)


@cache
def _members(model: Any) -> dict[str, tuple[Any, bool]]:
    """Type of each member by its name in JSON, and whether only the cloud may say it."""
    model({})  # makes the class know its fields
    hints: dict[str, Any] = {}
    for ancestor in reversed(model.__mro__):
        if "_attr_to_rest_field" in vars(ancestor) or ancestor.__module__.endswith("._models"):
            module = sys.modules[ancestor.__module__]
            hints |= get_type_hints(ancestor, {**vars(module), "_models": sys.modules[module.__package__ or ""]})
    fields = model._attr_to_rest_field
    return {field._rest_name: (hints[name], field._visibility == ["read"]) for name, field in fields.items()}
