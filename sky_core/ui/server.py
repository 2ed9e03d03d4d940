"""The server: who may look, and which page an address is. It answers GET only, and listens on loopback only."""

from __future__ import annotations

import hmac
import sys
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

from sky_core.config import Settings
from sky_core.errors import SkyloomError
from sky_core.store import Store
from sky_core.ui.answers import Answer, Asked, Missing
from sky_core.ui.metrics import metrics
from sky_core.ui.pages import PAGES

HOST = "127.0.0.1"
LOCKED = "Not without the token: open the address that skyloom ui has printed.\n"
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "frame-ancestors 'none'",  # with which the page's own comes together
}


class Server(ThreadingHTTPServer):
    """Serves a store until it is shut down.

    Args:
        port: Where to listen; 0 for any that is free.
        token: What whoever looks has to have.
    """

    daemon_threads = True

    def __init__(self, settings: Settings, port: int, token: str) -> None:
        self.settings, self.token = settings, token
        self.store = Store(settings.store_url, patience_s=settings.store_patience_s)
        super().__init__((HOST, port), Handler)

    @property
    def address(self) -> str:
        """Where it is, without the token."""
        return f"http://{HOST}:{self.server_address[1]}/"

    @property
    def cookie(self) -> str:
        """What the token's cookie is called: a browser shares cookies between all ports of a host."""
        return f"skyloom-{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing for a browser that has not waited; else a traceback, as for any server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        """The page of an address.

        Raises:
            Missing: if there is none.
        """
        asked = Asked(self.store, self.settings, query)
        if path == "/metrics":
            return metrics(asked)
        if path not in PAGES:
            raise Missing("there is no such page")
        return PAGES[path](asked)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    server_version, sys_version = "skyloom", ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer, if whoever asks has the token: in the address (once), in a cookie, or as a bearer's."""
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        token = query.pop("token", None)
        if token is not None and self._is_it(token):
            self._let_in(address.path, query)
        elif self._is_it(self._shown()):
            self._answer(address.path, query)
        else:
            self._send(Answer(LOCKED, "text/plain"), HTTPStatus.UNAUTHORIZED)

    def _is_it(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.server.token.encode())

    def _shown(self) -> str:
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return credentials.strip()
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(self.server.cookie)
        except CookieError:
            return ""
        return cookie.value if cookie else ""

    def _let_in(self, path: str, query: dict[str, str]) -> None:
        """Keep the token in a cookie, and out of the address bar, the history and what is shared."""
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Set-Cookie", f"{self.server.cookie}={self.server.token}; HttpOnly; SameSite=Lax; Path=/")
        # A path that begins with two slashes would be another host's address.
        self.send_header("Location", "/" + path.lstrip("/\\") + (f"?{urlencode(query)}" if query else ""))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, path: str, query: dict[str, str]) -> None:
        try:
            self._send(self.server.answer(path, query), HTTPStatus.OK)
        except Missing as error:
            self._send(Answer(f"{error}\n", "text/plain"), HTTPStatus.NOT_FOUND)
        except SkyloomError as error:  # the store cannot be used just now, or the address asks for what is not there
            self._send(Answer(f"{error}\n", "text/plain"), HTTPStatus.SERVICE_UNAVAILABLE)

    def _send(self, answer: Answer, status: HTTPStatus) -> None:
        body = answer.text.encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{answer.kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: an address may have the token in it, and a terminal is for those who look at it."""
