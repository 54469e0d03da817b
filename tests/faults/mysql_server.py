"""A MySQL in a container whose first process outlives it: mysqld can be killed and frozen."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pymysql

IMAGE = "mysql:8.0"
PASSWORD = "test"
DATA = "/var/lib/mysql"
PID_FILE = "/var/run/mysqld/mysqld.pid"
STOPPED = "/tmp/stopped"
# Options of MySQL 8.0, 8.4 and 9
OPTIONS = (
    f"--pid-file={PID_FILE} --skip-log-bin --mysqlx=OFF --performance-schema=OFF"
    " --innodb-redo-log-capacity=32M --innodb-buffer-pool-size=128M --max-connections=300"
)
FOREVER = f"""
while :; do
  while [ -e {STOPPED} ]; do sleep 0.1; done
  docker-entrypoint.sh mysqld {OPTIONS}
done
"""
START_SECONDS = 120


@dataclass(frozen=True)
class MySQLServer:
    """One server with its data on a small tmpfs; the end of a fault's block undoes the fault."""

    name: str
    port: int

    @classmethod
    @contextmanager
    def run(cls, name: str, megabytes: int = 600) -> Iterator[MySQLServer]:
        """Starts the server on a free port of 127.0.0.1, and removes it at the end.

        One that an earlier session left behind is removed first.
        """
        remove(name)
        docker(
            "run",
            "--detach",
            "--name",
            name,
            "--publish",
            "127.0.0.1::3306",
            "--tmpfs",
            f"{DATA}:size={megabytes}m",
            "--env",
            f"MYSQL_ROOT_PASSWORD={PASSWORD}",
            "--entrypoint",
            "sh",
            IMAGE,
            "-c",
            FOREVER,
        )
        try:
            server = cls(name, int(docker("port", name, "3306").split(":")[-1]))
            server.wait()
            yield server
        finally:
            remove(name)

    def environment(self, database: str) -> dict[str, str]:
        """The environment of a process that uses that database."""
        settings = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "USER": "root",
            "PASSWORD": PASSWORD,
            "NAME": database,
        }
        return {f"DB_{name}": value for name, value in settings.items()}

    def ask(
        self, statement: str, *values: Any, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Executes one statement on a connection of its own, which also works after a fault."""
        with (
            pymysql.connect(
                host="127.0.0.1",
                port=self.port,
                user="root",
                password=PASSWORD,
                database=database,
                autocommit=True,
                connect_timeout=5,
                read_timeout=120,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def wait(self) -> None:
        """Waits until the server answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.ask("SELECT 1")
                return
            except pymysql.MySQLError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    # faults

    def kill(self) -> None:
        """SIGKILL; it starts again by itself and recovers."""
        self._signal("KILL")
        self.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Shut down in order, and started again at the end."""
        self._shell(f"touch {STOPPED}")
        self._signal("TERM")
        try:
            yield
        finally:
            self._shell(f"rm -f {STOPPED}")
            self.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freezes the server inside the block: it accepts connections and does not answer."""
        self._signal("STOP")
        try:
            yield
        finally:
            self._signal("CONT")

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Makes the server read-only inside the block, as a replica or a demoted primary is."""
        self.ask("SET GLOBAL super_read_only = ON")
        try:
            yield
        finally:
            self.ask("SET GLOBAL super_read_only = OFF")
            self.ask("SET GLOBAL read_only = OFF")

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Not one block is left."""
        self._shell(f"cat /dev/zero > {DATA}/filler 2>/dev/null || true")
        try:
            yield
        finally:
            self._shell(f"rm -f {DATA}/filler")
            self.wait()  # it may have ended itself

    def kill_connections(self) -> int:
        """All of them, whoever holds them; how many."""
        users = [
            row[0]
            for row in self.ask("SHOW PROCESSLIST")
            if row[1] == "root" and row[7] != "SHOW PROCESSLIST"
        ]
        for number in users:
            try:
                self.ask(f"KILL {number}")
            except pymysql.MySQLError:  # it has gone by itself
                continue
        return len(users)

    def _signal(self, name: str) -> None:
        self._shell(f"kill -{name} $(cat {PID_FILE})")

    def _shell(self, command: str) -> None:
        docker("exec", "--user", "root", self.name, "sh", "-c", command)


def docker(*words: str) -> str:
    """Runs docker and returns its output; raises CalledProcessError."""
    return _docker(words, check=True).stdout.strip()


def remove(name: str) -> None:
    """The container, whether or not it is there."""
    _docker(("rm", "--force", "--volumes", name), check=False)


def _docker(words: Sequence[str], check: bool) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *words], check=check, capture_output=True, text=True, timeout=300
    )
