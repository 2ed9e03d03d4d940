"""What happens to a driver from outside: deaths, lost replies, a dead network, a jumping clock, a full disk.

Runs in the driver's process before the product does, and touches libraries only: urllib3 and aiohttp (all HTTP of all
SDKs), paramiko (SSH) and SQLAlchemy (commits). So the product needs no hook and cannot know. Orders come in files in
the driver's home:

- ``crash.json``: ``{"kill": {"at": label, "number": n, "when": "before" | "after"}}``: die by SIGKILL around the n-th
  boundary of that label, once; ``"lose"`` instead of ``"kill"``: the request takes effect and its connection breaks
  before the reply; ``"mutation"``: one of :mod:`tests.crash.inside.mutations`.
- ``netout``: while this file is there, nothing can be reached.
- ``clock``: seconds by which ``time.time`` is off, for a driver whose orders say ``"clock": true``.
- ``full``, ``away``: while this file is there, the SQLite database cannot grow, or cannot be reached.

Each boundary is appended to ``boundaries.jsonl``: a clean run's file lists all the points at which a driver can die.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.crash.inside.mutations import MUTATIONS

WRITES = re.compile(r"^\s*(INSERT INTO|UPDATE|DELETE FROM)\s+\"?(\w+)", re.IGNORECASE)
LIMITLESS = 1 << 30  # pages


class Orders:
    """The orders for one driver, and what it has done so far."""

    def __init__(self, home: Path) -> None:
        self.home = home
        path = home / "crash.json"
        self.given: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._log = (home / "boundaries.jsonl").open("a", buffering=1)

    def reach(self, label: str) -> int:
        """Count a boundary and note it; its number among those of its label, from 1."""
        with self._lock:
            number = self._counts[label] = self._counts.get(label, 0) + 1
            self._log.write(
                json.dumps({"pid": os.getpid(), "at": clock.real(), "label": label, "number": number}) + "\n"
            )
        return number

    def meets(self, order: str, label: str, number: int, when: str = "") -> bool:
        """Whether the order is for this boundary, and not carried out yet; it then is."""
        wanted = self.given.get(order)
        if wanted is None or wanted["at"] != label or wanted["number"] != number or wanted.get("when", "") != when:
            return False
        try:
            os.close(os.open(self.home / "fired", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        (self.home / "fired").write_text(json.dumps({"at": clock.real(), "pid": os.getpid()}))
        return True

    def die_if(self, label: str, number: int, when: str) -> None:
        if self.meets("kill", label, number, when):
            os.kill(os.getpid(), signal.SIGKILL)


def template(path: str) -> str:
    """A path with everything that differs from run to run taken out: whatever has a digit in it."""
    parts = [part for part in path.split("/") if part]
    return "/" + "/".join("*" if re.search(r"\d", part) and part not in ("v1", "v2", "b") else part for part in parts)


def http_label(method: str, url: str, body: Any, headers: Any) -> str:
    split = urlsplit(url)
    action = dict(headers or {}).get("X-Amz-Target", "")
    action = action.decode() if isinstance(action, bytes) else action
    if not action and isinstance(body, str | bytes):
        text = body.decode(errors="replace") if isinstance(body, bytes) else body
        action = dict(parse_qsl(text[:200])).get("Action", "") if text.startswith(("Action=", "Version=")) else ""
    return f"http {method} {template(split.path)}{' ' + action if action else ''}"


def ssh_label(script: str) -> str:
    words = [word for word in re.split(r"[^\w.-]+", script) if word[:1].isalpha() and not re.search(r"\d", word)]
    return "ssh " + " ".join(words[:5])


def install(home: Path) -> Orders:
    """Carry out the orders of this home in this process from now on."""
    orders = Orders(home)
    _http(orders)
    _aiohttp(orders)
    _ssh(orders)
    _commits(orders)
    _network(orders)
    if orders.given.get("clock"):
        clock.off = home / "clock"
    if mutation := orders.given.get("mutation"):
        MUTATIONS[mutation]()
    return orders


def _http(orders: Orders) -> None:
    from urllib3.connectionpool import HTTPConnectionPool

    send = HTTPConnectionPool._make_request

    def make_request(self: Any, conn: Any, method: str, url: str, **options: Any) -> Any:
        label = http_label(method, url, options.get("body"), options.get("headers"))
        number = orders.reach(label)
        orders.die_if(label, number, "before")
        reply = send(self, conn, method, url, **options)
        orders.die_if(label, number, "after")
        if orders.meets("lose", label, number):
            conn.close()
            raise ConnectionResetError(errno.ECONNRESET, "the reply was lost")
        return reply

    HTTPConnectionPool._make_request = make_request  # type: ignore[method-assign]


def _aiohttp(orders: Orders) -> None:
    import aiohttp

    send = aiohttp.ClientSession._request

    async def request(self: Any, method: str, url: Any, **options: Any) -> Any:
        label = http_label(method, str(url), None, None)
        number = orders.reach(label)
        orders.die_if(label, number, "before")
        reply = await send(self, method, url, **options)
        orders.die_if(label, number, "after")
        if orders.meets("lose", label, number):
            reply.close()
            raise aiohttp.ClientOSError(errno.ECONNRESET, "the reply was lost")
        return reply

    aiohttp.ClientSession._request = request  # type: ignore[method-assign]


def _ssh(orders: Orders) -> None:
    import paramiko

    execute, status, start = (
        paramiko.Channel.exec_command, paramiko.Channel.recv_exit_status, paramiko.Transport.start_client,
    )  # fmt: skip

    def exec_command(self: Any, command: Any) -> Any:
        label = ssh_label(command.decode(errors="replace") if isinstance(command, bytes) else command)
        self._crash_boundary = label, orders.reach(label)
        orders.die_if(*self._crash_boundary, "before")
        return execute(self, command)

    def recv_exit_status(self: Any) -> int:
        code = status(self)
        if hasattr(self, "_crash_boundary"):
            orders.die_if(*self._crash_boundary, "after")
        return code

    def start_client(self: Any, *arguments: Any, **options: Any) -> Any:
        number = orders.reach("ssh connect")
        orders.die_if("ssh connect", number, "before")
        done = start(self, *arguments, **options)
        orders.die_if("ssh connect", number, "after")
        return done

    paramiko.Channel.exec_command = exec_command
    paramiko.Channel.recv_exit_status = recv_exit_status
    paramiko.Transport.start_client = start_client


def _commits(orders: Orders) -> None:
    import sqlalchemy as sa
    from sqlalchemy.engine import Connection, Engine

    written = threading.local()  # the statements of the transaction that this thread has open
    commit = Connection._commit_impl

    @sa.event.listens_for(Engine, "begin")
    def begin(connection: Any) -> None:
        written.statements = []

    @sa.event.listens_for(Engine, "before_cursor_execute")
    def execute(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if found := WRITES.match(statement):
            # setdefault: statements of a connection that commits by itself have no begin
            written.__dict__.setdefault("statements", []).append(f"{found[1].split()[0].lower()} {found[2]}")

    @sa.event.listens_for(Engine, "checkout")
    def checkout(raw: Any, record: Any, proxy: Any) -> None:
        if type(raw).__module__.startswith("sqlite3"):
            limit = raw.execute("PRAGMA page_count").fetchone()[0] if (orders.home / "full").exists() else LIMITLESS
            raw.execute(f"PRAGMA max_page_count={limit}")

    @sa.event.listens_for(Engine, "do_execute")
    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        if (orders.home / "away").exists():
            raise sqlite3.OperationalError("disk I/O error")

    def commit_impl(self: Any) -> None:
        statements = list(dict.fromkeys(written.__dict__.get("statements", [])))
        if not statements:
            commit(self)
            return
        label = f"commit {', '.join(sorted(statements))}"
        number = orders.reach(label)
        orders.die_if(label, number, "before")
        commit(self)
        orders.die_if(label, number, "after")

    Connection._commit_impl = commit_impl  # type: ignore[method-assign]


def _network(orders: Orders) -> None:
    cut = orders.home / "netout"

    def guarded(name: str) -> None:
        real = getattr(socket.socket, name)

        def call(self: Any, *arguments: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and cut.exists() and _leaves(self, name, arguments):
                raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
            return real(self, *arguments)

        setattr(socket.socket, name, call)

    for name in ("connect", "connect_ex", "send", "sendall", "recv", "recv_into"):
        guarded(name)


def _leaves(sock: socket.socket, name: str, arguments: tuple[Any, ...]) -> bool:
    """Whether this would leave the process: asyncio's own socket pairs do not."""
    try:
        peer = arguments[0] if name.startswith("connect") else sock.getpeername()
    except OSError:
        return True
    return isinstance(peer, tuple)


class WallClock:
    """``time.time`` that somebody can set. It has to be in its place before the product is imported, which may keep it.

    ``datetime`` keeps the true time: SDKs sign with it, and TLS is checked by it.
    """

    def __init__(self) -> None:
        self.real = time.time
        self.off: Path | None = None  # the file that says by how many seconds it is off

    def __call__(self) -> float:
        if self.off is None:
            return self.real()
        try:
            return self.real() + float(self.off.read_text())
        except (FileNotFoundError, ValueError):
            return self.real()

    def install(self) -> None:
        """Become the process's clock."""
        time.time = self


clock = WallClock()
