"""``skyloom ui``: pages over all runs, on loopback, for whoever has the token."""

from __future__ import annotations

import os
import secrets
import sys
from typing import Annotated

import typer

from sky_core.cli.terminal import say
from sky_core.errors import SpecError

TOKEN = "SKYLOOM_UI_TOKEN"  # noqa: S105  # the name of the variable
SHORTEST = 16  # letters of a token that somebody chose


def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen on 127.0.0.1; 0 for any.")] = 0,
    browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Serve pages over all runs until Ctrl-C. They change nothing, and need the token that is printed.

    SKYLOOM_UI_TOKEN sets the token, as a proxy or Prometheus needs it; else it is a new one each time.
    """
    from sky_core.config import Settings
    from sky_core.ui.server import Server

    token = os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    if len(token) < SHORTEST or not token.replace("-", "").replace("_", "").isalnum() or not token.isascii():
        cure = f"{SHORTEST} or more letters, digits, - and _"
        raise SpecError(f"{TOKEN}: that can be guessed, or does not fit into an address", cure=cure)
    try:
        server = Server(Settings.load(), port, token)
    except OSError as error:
        raise SpecError(f"--port {port}: {error.strerror}", cure="name another, or 0 for any") from None
    address = f"{server.address}?token={token}"
    say(address)
    sys.stdout.flush()  # for whoever started it and reads the address from a pipe
    if browser:
        typer.launch(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("stopped; jobs go on")
    finally:
        server.server_close()
