"""What pydantic finds wrong with a value, as people say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By pydantic's kinds of errors. The least telling come last: of a union the best message counts.
WANTED = {
    "extra_forbidden": "no such field",
    "missing": "is missing",
    "greater_than": "has to be more than {gt}",
    "greater_than_equal": "has to be {ge} or more",
    "literal_error": "has to be {expected}",
    "int_from_float": "has to be a whole number",
    "int_parsing": "has to be a whole number",
    "bool_parsing": "has to be true or false",
    "bool_type": "has to be true or false",
    "float_parsing": "has to be a number",
    "float_type": "has to be a number",
    "int_type": "has to be a number",
    "list_type": "has to be a list",
    "dict_type": "has to be a mapping",
    "mapping_type": "has to be a mapping",
    "model_type": "has to be a mapping",
    "string_type": "has to be text",
}


def in_words(detail: Mapping[str, Any]) -> str:
    """One of ``ValidationError.errors()`` without its field and value: ``"has to be 1 or more"``."""
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    wanted = WANTED.get(detail["type"])
    return message if wanted is None else wanted.format(**detail.get("ctx") or {})
