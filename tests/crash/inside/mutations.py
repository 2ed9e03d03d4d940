"""Faults put into the product on purpose: a matrix that passes them is blind.

``python -m tests.crash --mutate NAME`` must end with violations. A mutation is put into each driver after it is forked.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any


def tokens_made_anew() -> None:
    """Each launch call has a token of its own, so that a repeated one makes a second machine."""
    from sky_core.clouds.aws.provider import Aws

    launch = Aws.launch

    def launch_anew(self: Any, request: Any) -> Any:
        return launch(self, replace(request, token=f"{request.token}-{uuid.uuid4().hex[:4]}"))

    Aws.launch = launch_anew  # type: ignore[method-assign]


MUTATIONS: dict[str, Callable[[], None]] = {
    "tokens made anew": tokens_made_anew,
}
