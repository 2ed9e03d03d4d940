"""A PostgreSQL server of the tests' own: in a temporary folder, on a Unix socket, gone with the run."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

ROLE = "skyloom"
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "16MB",
    "fsync": "off",  # the machine that loses power in the middle of the tests has lost the tests
    "autovacuum": "off",
}


def programs() -> Path | None:
    """The folder of the newest server installed, or None. Debian keeps its programs off PATH."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    return max(folders, key=lambda folder: [int(part) for part in folder.parts if part.isdigit()], default=None)


class Postgres:
    """A running server; :meth:`database` and :meth:`schema` give fresh, empty places for a store."""

    def __init__(self, bin_dir: Path) -> None:
        self._bin = bin_dir
        self.folder = Path(tempfile.mkdtemp(prefix="skyloom-pg-"))
        self._user = _user()
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._numbers = itertools.count()
        self._run("initdb", "--username", ROLE, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
        lines = [f"{name} = '{value}'\n" for name, value in SETTINGS.items()]
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.writelines([*lines, f"unix_socket_directories = '{self.folder}'\n"])
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._run("pg_ctl", "start", "--wait", "--timeout", "120", "--log", str(self.folder / "log"))

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``immediate`` is a crash, ``fast`` ends the sessions in order."""
        self._run("pg_ctl", "stop", "--wait", "--timeout", "120", "--mode", mode)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database as a whole."""
        return f"postgresql://{ROLE}@/{database}?host={self.folder}"

    def database(self) -> str:
        """The URL of a new, empty database."""
        return self.url(self._create("DATABASE"))

    def schema(self) -> str:
        """The same as far as a store sees, and much cheaper: a database is a thousand files to make and to remove."""
        return f"{self.url()}&options=-csearch_path%3D{self._create('SCHEMA')}"

    def _create(self, what: str) -> str:
        import psycopg

        name = f"t{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as admin:
            admin.execute(f"CREATE {what} {name}")  # type: ignore[call-overload]
        return name

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), "--pgdata", str(self.folder / "data"), *arguments]
        # Nothing of the server may hold the pipes of the test run open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder, user=self._user
            )
            output.seek(0)
            assert done.returncode == 0, f"{program}: {output.read().decode(errors='replace')}"


def _user() -> str | None:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def beside(url: str) -> str:
    """The URL of a new, empty schema on the server of another one."""
    import psycopg

    name, server = f"h{uuid.uuid4().hex}", url.partition("&options=")[0]
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {name}")  # type: ignore[call-overload]
    return f"{server}&options=-csearch_path%3D{name}"
