"""Requests and replies of Google's APIs against their discovery documents, as google-api-python-client ships them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from tests.sandbox.models.recorder import Exchange

Schema = dict[str, Any]
APIS = (
    "compute.v1",
    "tpu.v2",
    "dataproc.v1",
    "storage.v1",
    "sts.v1",
    "iam.v1",
    "cloudresourcemanager.v1",
    "serviceusage.v1",
)
KINDS = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "array": list, "object": dict}
COMMON = {"alt", "key", "fields", "prettyPrint", "quotaUser", "userIp", "$alt", "$.xgafv"}  # of every method


@cache
def document(api: str) -> Schema:
    text = files("googleapiclient.discovery_cache.documents").joinpath(f"{api}.json").read_text()
    found: Schema = json.loads(text)
    return found


@cache
def methods() -> list[tuple[str, re.Pattern[str], str, Schema]]:
    """HTTP method, pattern of the path, API and description of everything that these APIs can be asked for."""
    return [
        (
            method["httpMethod"],
            _pattern(document(api)["servicePath"] + method.get("flatPath", method["path"])),
            api,
            method,
        )
        for api in APIS
        for method in _methods_of(document(api))
    ]


def _methods_of(part: Schema) -> Iterator[Schema]:
    yield from part.get("methods", {}).values()
    for resource in part.get("resources", {}).values():
        yield from _methods_of(resource)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("/" + re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(path)))


def complaints(exchange: Exchange) -> list[str]:
    """What the discovery document does not know of this exchange."""
    for verb, pattern, api, method in methods():
        if verb == exchange.method and pattern.fullmatch(exchange.path):
            return list(_complaints(exchange, api, method))
    return [f"{exchange}: no API has this method"]


def _complaints(exchange: Exchange, api: str, method: Schema) -> Iterator[str]:
    known = method.get("parameters", {})
    for name, value in exchange.query:
        if name not in known and name not in COMMON:
            yield f"{exchange}: no parameter {name}"
        elif name in known and value not in known[name].get("enum", [value]):
            yield f"{exchange}: parameter {name}: {value!r}"
    for name, parameter in known.items():
        if parameter["location"] == "query" and parameter.get("required") and name not in dict(exchange.query):
            yield f"{exchange}: parameter {name} is missing"
    if exchange.body:
        if "request" not in method:
            yield f"{exchange}: has no body"
        else:
            yield from _of_request(exchange, api, method)
    if exchange.status >= 400:
        yield from _of_error(exchange)
    elif "response" in method:
        yield from _differences(api, method["response"], exchange.told, f"{exchange}: reply")


def _of_request(exchange: Exchange, api: str, method: Schema) -> Iterator[str]:
    said = exchange.said
    if exchange.is_form:  # OAuth's own, whose names are those of RFC 8693
        said = {re.sub("_(.)", lambda letter: letter[1].upper(), name): value for name, value in said.items()}
    yield from _differences(api, method["request"], said, f"{exchange}: request")


def _of_error(exchange: Exchange) -> Iterator[str]:
    """Of https://cloud.google.com/apis/design/errors#http_mapping and, of older APIs, ``errors`` with a reason each."""
    error = exchange.told.get("error", {})
    if error.get("code") != exchange.status or not error.get("message"):
        yield f"{exchange}: an error has a code and a message: {error}"
    if not (error.get("status") or all("reason" in item for item in error.get("errors", [{}]))):
        yield f"{exchange}: an error has a status or reasons: {error}"


def _differences(api: str, schema: Schema, value: Any, at: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = document(api)["schemas"][schema["$ref"]]
    kind = schema.get("type", "any")
    if kind == "any":
        return
    if kind == "string" and schema.get("format") in ("int64", "uint64") and isinstance(value, int):
        yield f"{at}: a 64-bit number is a string in JSON"
    elif not isinstance(value, KINDS[kind]) or (kind != "boolean" and isinstance(value, bool)):
        yield f"{at}: {value!r} is no {kind}"
    elif kind == "string" and value not in schema.get("enum", [value]):
        yield f"{at}: {value!r} is none of {schema['enum']}"
    elif kind == "array":
        for number, item in enumerate(value):
            yield from _differences(api, schema["items"], item, f"{at}[{number}]")
    elif kind == "object":
        yield from _of_object(api, schema, value, at)


def _of_object(api: str, schema: Schema, value: dict[str, Any], at: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        if name in known:
            yield from _differences(api, known[name], item, f"{at}.{name}")
        elif others is not None:
            yield from _differences(api, others, item, f"{at}.{name}")
        else:
            yield f"{at}: there is no {name}"
