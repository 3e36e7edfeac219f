"""A PostgreSQL server of the tests' own: a data folder in a temporary place, and no port but a unix socket."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

TRUSTED_USERS = ("postgres", "nobody")  # as whom root runs it, because PostgreSQL refuses root
USER = "zt_async"
START_TIMEOUT = "60"  # s


class PostgresMissing(Exception):
    """There is no PostgreSQL server on this machine."""


class PostgresServer:
    """Made running; ``stop`` it to have its folder removed."""

    def __init__(self) -> None:
        """Raises PostgresMissing."""
        self._programs = _programs()
        self._credentials: dict[str, Any] = {}
        self._folder = Path(
            tempfile.mkdtemp(prefix="zt-pg-", dir="/tmp")
        )  # a socket's path has 107 bytes at most
        if os.getuid() == 0:
            entry = _unprivileged_user()
            self._credentials = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
        self.url = f"postgresql://{USER}@/postgres?host={self._folder}"
        self._run(
            "initdb", "--no-locale", "--encoding=UTF8", "--auth=trust", f"--username={USER}", "--no-sync"
        )
        self.start()

    def start(self) -> None:
        """Start it again after ``halt`` or ``crash``; returns when it takes connections."""
        options = f"-c listen_addresses= -c unix_socket_directories={self._folder} -c max_connections=200"
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "--wait", "--timeout", START_TIMEOUT, "--log", log, "--options", options)

    def halt(self) -> None:
        """End it in order, with all its connections."""
        self._run("pg_ctl", "stop", "--wait", "--mode", "fast")

    def crash(self) -> None:
        """End it as a power failure would: the next start recovers from the log."""
        self._run("pg_ctl", "stop", "--wait", "--mode", "immediate")

    def stop(self) -> None:
        """End it for good."""
        try:
            if (self._folder / "data" / "postmaster.pid").exists():
                self.crash()
        finally:
            shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "--pgdata", str(self._folder / "data"), *arguments]
        with tempfile.TemporaryFile() as output:  # a pipe would be held open by the server
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"},
                check=False,
                **self._credentials,
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode(errors="replace")


def _programs() -> Path:
    """The folder of the newest server's programs."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pg_ctl"), key=lambda path: int(Path(path).parts[4]))
    candidates = [*reversed(found), shutil.which("pg_ctl")]
    for candidate in candidates:
        if candidate and (Path(candidate).parent / "initdb").exists():
            return Path(candidate).parent
    raise PostgresMissing("no PostgreSQL server is installed (Debian's package is `postgresql`)")


def _unprivileged_user() -> pwd.struct_passwd:
    for name in TRUSTED_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresMissing(f"PostgreSQL does not run as root, and there is none of the users {TRUSTED_USERS}")
