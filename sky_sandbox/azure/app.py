"""The door of the emulated Azure: from HTTP to :class:`~sky_sandbox.azure.arm.Arm` and back."""

from __future__ import annotations

import json

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sky_sandbox.azure.arm import Arm
from sky_sandbox.azure.login import PATH, ManagedIdentity
from sky_sandbox.azure.wire import Call
from sky_sandbox.logins import Logins
from sky_sandbox.world import World


def app(world: World, logins: Logins, identity: ManagedIdentity) -> Starlette:
    """The server, to be served over TLS (:mod:`sky_sandbox.tls`)."""
    arm = Arm(world, logins)

    async def endpoint(request: Request) -> Response:
        raw = await request.body()
        call = Call(
            method=request.method,
            path=request.url.path.rstrip("/"),
            base=f"{request.url.scheme}://{request.headers['host']}",
            query=request.query_params,
            headers=request.headers,
            body=json.loads(raw) if raw else {},
        )
        return await run_in_threadpool(arm.handle, call)

    methods = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]
    return Starlette(routes=[Route(PATH, identity.token), Route("/{path:path}", endpoint, methods=methods)])
