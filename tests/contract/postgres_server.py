"""A real PostgreSQL server for tests, in a folder that is gone afterwards; each test has a database of its own."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "s3cret"
PROGRAMS = ("initdb", "pg_ctl", "createdb", "psql")
PLACES = "/usr/lib/postgresql"  # where Debian has them, by version and out of PATH


def folder_of_programs() -> Path | None:
    """Give the folder of PostgreSQL's programs; None where they are not installed."""
    found = [Path(path).resolve().parent for path in (shutil.which("initdb"),) if path is not None]
    versions = sorted(Path(PLACES).glob("*/bin"), key=lambda path: path.parent.name.zfill(4), reverse=True)
    return next((one for one in [*versions, *found] if all((one / name).exists() for name in PROGRAMS)), None)


def unprivileged() -> dict[str, Any]:
    """Give what has a process run as somebody else, where we are root: PostgreSQL refuses that."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Server:
    """
    A server on a socket in *folder*, where everybody is let in, and on a port of this machine, with a password.

    Nothing of it is safe on a disk, which takes time: so it may be stopped at any moment, but the machine may not.
    """

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        # Not the tests' own folder: the path of a socket is short, and somebody else runs the server.
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-pg-"))
        self.someone = unprivileged()
        if self.someone:
            os.chown(self.folder, self.someone["user"], self.someone["group"])
            self.folder.chmod(0o755)
        self.numbers = itertools.count(1)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.call("initdb", "-D", self.data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
                  "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}")  # fmt: skip
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(
                f"port = {self.port}\nunix_socket_directories = '{self.folder}'\nlisten_addresses = '127.0.0.1'\n"
                "fsync = off\nfull_page_writes = off\nmax_connections = 200\n"
            )
        # Should the tests be killed, the pipe closes, and who reads from it clears up.
        stop = f"'{programs}/pg_ctl' stop -D '{self.data}' -m immediate; rm -rf '{self.folder}'"
        self.sentry = subprocess.Popen(
            ["sh", "-c", f"read _; {stop}"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd="/", start_new_session=True, **self.someone
        )  # fmt: skip
        self.start()

    @property
    def data(self) -> Path:
        """The folder of the data."""
        return self.folder / "data"

    def call(self, program: str, *arguments: Any) -> str:
        """Run one of PostgreSQL's programs as who runs the server; give what it says."""
        command = [str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd="/",
            timeout=60, env={**os.environ, "LC_ALL": "C.UTF-8"}, **self.someone
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stdout}")
        return str(done.stdout)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self.call("pg_ctl", "start", "-w", "-D", self.data, "-l", self.folder / "log")

    def stop(self) -> None:
        """Stop the server as a crash would."""
        self.call("pg_ctl", "stop", "-w", "-D", self.data, "-m", "immediate")

    def remove(self) -> None:
        """Stop the server, and remove all that it kept."""
        self.sentry.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, template: str = "template0") -> str:
        """Make a database; give its name."""
        name = f"test_{next(self.numbers)}"
        self.call("createdb", "-h", self.folder, "-p", self.port, "-U", "postgres", "-T", template, name)
        return name

    def url(self, name: str) -> str:
        """Give the URL of a database by way of the socket."""
        return f"postgresql://postgres@/{name}?host={self.folder}&port={self.port}"

    def by_port(self, name: str, password: str = PASSWORD) -> str:
        """Give the URL of a database by way of the port."""
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/{name}"

    def psql(self, statement: str, name: str = "postgres") -> list[list[str]]:
        """Run *statement* beside the tests' own means; give its rows."""
        said = self.call("psql", "-h", self.folder, "-p", self.port, "-U", "postgres", "-d", name, "-X", "-q", "-t",
                         "-A", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", statement)  # fmt: skip
        return [line.split("\t") for line in said.splitlines()]


def started() -> Server:
    """Start a server; where PostgreSQL is not installed, skip the test, or fail it in CI."""
    programs, missing = folder_of_programs(), ""
    if importlib.util.find_spec("asyncpg") is None:
        missing = "asyncpg is not installed"
    if programs is None:
        missing = f"PostgreSQL is not installed: there is no initdb in PATH or under {PLACES}"
    if programs is None or missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return Server(programs)


class Pooler:
    """PgBouncer before *server*, with few connections that are anybody's for one transaction."""

    def __init__(self, server: Server, program: str) -> None:
        self.server = server
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        settings = server.folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={server.folder} port={server.port} user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir = {server.folder}\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
        )
        settings.chmod(0o644)
        self.process = subprocess.Popen(
            [program, "-q", str(settings)], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            **server.someone
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self.answers():
            assert time.monotonic() < deadline, "PgBouncer did not start"
            time.sleep(0.01)

    def answers(self) -> bool:
        """Tell whether it takes connections."""
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.port)) == 0

    def url(self, name: str) -> str:
        """Give the URL of a database by way of it."""
        # Anybody is let in, as the same user.
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
