"""A real PostgreSQL for the tests, where Debian's package is installed."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url


def postgres_programs() -> Path | None:
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


class Postgres:
    """One cluster in its own folder, which can be stopped and restarted."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._folder = folder
        # The server refuses to run as root.
        self._user: dict[str, Any] = {"user": "postgres"} if os.getuid() == 0 else {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._run("initdb", "-D", str(self._data), "-U", "flawsight", "-A", "trust", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgresql://flawsight@127.0.0.1:{self.port}/postgres"

    def execute(self, *statements: str, url: str | None = None) -> None:
        """Run statements as the superuser, each committed."""
        engine = create_engine(make_url(url or self.url).set(drivername="postgresql+psycopg"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def new_database(self) -> str:
        """Return the URL of an empty database."""
        name = f"t{time.monotonic_ns()}"
        self.execute(f"CREATE DATABASE {name}")
        return f"{self.url.rpartition('/')[0]}/{name}"

    def start(self, *settings: str) -> None:
        options = " ".join(f"-c {setting}" for setting in settings)
        options += f" -p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self._folder / "log"), "-w",
                  "-o", options, "start")  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and all its processes."""
        server = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        for process in (server, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        (self._data / "postmaster.pid").unlink()  # its number may be another program's

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            **self._user,
        )


@contextmanager
def running_postgres(programs: Path) -> Iterator[Postgres]:
    # Not pytest's folder, which other users cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="flawsight-postgres-"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    try:
        postgres = Postgres(programs, folder)
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop()
    finally:
        shutil.rmtree(folder)
