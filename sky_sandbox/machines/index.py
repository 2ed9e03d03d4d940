"""A package index for machines that have no way out: what is installed on this host, each package in its version.

Nothing is packed before it is asked for. https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from sky_sandbox.machines.wheels import filename, installed, packed

SIMPLE = "/simple/"
PAGE = '<!DOCTYPE html><a href="/wheels/{name}/{file}" data-core-metadata="true">{file}</a>'


def app() -> Starlette:
    """The index, as an ASGI application; packages are found below ``SIMPLE``."""
    return Starlette(routes=[Route(f"{SIMPLE}{{name}}/", _page), Route("/wheels/{name}/{file}", _file)])


def _page(request: Request) -> Response:
    """The one wheel of a package, if it is installed here."""
    name = request.path_params["name"]
    one = installed(name)
    if one is None:
        raise HTTPException(404, f"{name} is not installed where the sandbox runs")
    return HTMLResponse(PAGE.format(name=name, file=filename(one)))


def _file(request: Request) -> Response:
    """A wheel, or what it says of itself, by which a resolver need not fetch it."""
    name, file = request.path_params["name"], request.path_params["file"]
    one = installed(name)
    if one is not None and file == f"{filename(one)}.metadata":
        return PlainTextResponse(one.read_text("METADATA") or "")
    if one is None or file != filename(one):
        raise HTTPException(404)
    return FileResponse(packed(one), media_type="application/octet-stream")
