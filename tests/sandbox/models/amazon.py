"""Requests and replies of AWS against botocore's service models.

botocore checks what it sends itself, and leaves out of a reply whatever its model does not know: here that is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any
from xml.etree import ElementTree

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from tests.sandbox.models.recorder import Exchange

SIGNED_AS = {
    "servicequotas": "service-quotas",
    "elasticmapreduce": "emr",
}  # where a service's signing name is not its model's
# What a reply has besides its operation's output: botocore, parsers.py.
AROUND = {"requestId", "RequestId", "ResponseMetadata"}
NUMBERS = {"integer": r"-?\d+", "long": r"-?\d+", "float": r"-?\d+(\.\d+)?", "double": r"-?\d+(\.\d+)?"}


@cache
def service(name: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(name)


def complaints(exchange: Exchange) -> list[str]:
    """What botocore's model does not know of this exchange; nothing of object stores', which outside clients judge."""
    if not exchange.is_form and "x-amz-target" not in exchange.headers:
        return []
    signed = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", exchange.headers.get("authorization", ""))
    if signed is None:
        return [f"{exchange}: not signed"]
    return list(_complaints(exchange, service(SIGNED_AS.get(signed[1], signed[1]))))


def _complaints(exchange: Exchange, model: ServiceModel) -> Iterator[str]:
    said, target = exchange.said, exchange.headers.get("x-amz-target")
    operation = model.operation_model(target.partition(".")[2] if target else said["Action"])
    if not target and said["Version"] != model.api_version:
        yield f"{operation.name}: version {said['Version']}"
    at = f"{operation.name} ({exchange.status})"
    if target:
        if exchange.status < 400:
            yield from _of_json(operation.output_shape, exchange.told, at)
        elif not exchange.told.get("__type"):
            yield f"{at}: an error has a type: {exchange.told}"
    else:
        yield from _of_reply(exchange, operation, at)


def _of_reply(exchange: Exchange, operation: OperationModel, at: str) -> Iterator[str]:
    root = ElementTree.fromstring(exchange.reply)
    if exchange.status >= 400:
        error = root.find("{*}Errors/{*}Error" if operation.service_model.protocol == "ec2" else "{*}Error")
        if error is None or not error.findtext("{*}Code") or not error.findtext("{*}Message"):
            yield f"{at}: an error has a code and a message: {exchange.reply!r}"
        return
    expected = f"{{{operation.metadata['xmlNamespace']}}}{operation.name}Response"
    if root.tag != expected:
        yield f"{at}: the document is a {root.tag}, not a {expected}"
    output, body = operation.output_shape, root
    if output is not None and "resultWrapper" in output.serialization:
        found = root.find("{*}" + output.serialization["resultWrapper"])
        if found is None:
            yield f"{at}: no {output.serialization['resultWrapper']}"
            return
        body = found
    yield from _of_element(output, body, at)


def _of_element(shape: Shape | None, element: ElementTree.Element, at: str) -> Iterator[str]:
    match shape:
        case None:
            yield from (
                f"{at}: there is no {_name(child)}" for child in element if _name(child) not in AROUND | {"return"}
            )
        case StructureShape():
            yield from _of_structure(shape, element, at)
        case ListShape():
            item = shape.member.serialization.get("name", "item" if "item" in _names(element) else "member")
            for child in element:
                if _name(child) != item:
                    yield f"{at}: an item of the list is called {item}, not {_name(child)}"
                yield from _of_element(shape.member, child, f"{at}.{_name(child)}")
        case _:
            yield from _of_text(shape, element, at)


def _of_structure(shape: StructureShape, element: ElementTree.Element, at: str) -> Iterator[str]:
    members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
    for child in element:
        name = _name(child)
        member = members.get(name)
        if member is None:
            if name not in AROUND:
                yield f"{at}: there is no {name}"
        elif isinstance(member, ListShape) and member.serialization.get("flattened"):
            yield from _of_element(member.member, child, f"{at}.{name}")
        else:
            yield from _of_element(member, child, f"{at}.{name}")


def _of_text(shape: Shape, element: ElementTree.Element, at: str) -> Iterator[str]:
    text = element.text or ""
    if len(element):
        yield f"{at}: is a {shape.type_name}, and has elements"
    elif shape.type_name in NUMBERS and not re.fullmatch(NUMBERS[shape.type_name], text):
        yield f"{at}: {text!r} is no {shape.type_name}"
    elif shape.type_name == "boolean" and text not in ("true", "false"):
        yield f"{at}: {text!r} is no boolean"
    elif shape.type_name == "timestamp":
        yield from _of_time(text, at)
    elif shape.type_name == "string" and text not in (getattr(shape, "enum", None) or [text]):
        yield f"{at}: {text!r} is none of {shape.enum}"


def _of_time(text: str, at: str) -> Iterator[str]:
    try:
        if datetime.fromisoformat(text).tzinfo is None:
            yield f"{at}: {text!r} has no time zone"
    except ValueError:
        yield f"{at}: {text!r} is no time"


def _of_json(shape: Shape | None, value: Any, at: str) -> Iterator[str]:
    match shape:
        case StructureShape():
            for name, item in value.items():
                if name not in shape.members:
                    yield f"{at}: there is no {name}"
                else:
                    yield from _of_json(shape.members[name], item, f"{at}.{name}")
        case ListShape():
            for number, item in enumerate(value):
                yield from _of_json(shape.member, item, f"{at}[{number}]")
        case MapShape():
            for name, item in value.items():
                yield from _of_json(shape.value, item, f"{at}.{name}")
        case None if value:
            yield f"{at}: has no output: {value}"


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _names(element: ElementTree.Element) -> set[str]:
    return {_name(child) for child in element}
