"""From values to a page: the templates, and what they need to draw."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from sky_core.planner.view import words
from sky_core.planner.view.page import STYLE, tone
from sky_core.ui.answers import Answer, Asked

HERE = Path(__file__).parent


def drawn(name: str, asked: Asked, **values: Any) -> Answer:
    """The page of a template."""
    nonce = secrets.token_urlsafe(16)  # nothing that a user named can run as a script: it has no nonce
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    template, addresses = _templates().get_template(f"{name}.html.j2"), asked.addresses
    return Answer(
        template.render(here=name, nonce=nonce, now=now, address=addresses.of, leading_to=addresses.pages, **values)
    )


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=select_autoescape(("html.j2",), default=True),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"style": STYLE + (HERE / "ui.css").read_text(), "script": (HERE / "ui.js").read_text()}
    environment.filters |= {"usd": words.money, "tone": tone, "moment": moment, "query": urlencode}
    return environment


def moment(at: float) -> str:
    """A time as people in all zones can compare it."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))
