"""Embedded mode: a parent process starts API, workers and sweeper, restarts those that die, and ends them all."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import IO

from app.config import Settings
from app.jobs.broker import make_celery, purge_notifications
from app.jobs.requirements import GET_TORCH, WITHOUT_TORCH, torch_found
from app.processes import parent_watch
from app.processes.workers import worker_command
from app.storage import migrate
from app.storage.db import make_engine

PORT_FREE_WITHIN_SECONDS = 1.5
END_WITHIN_SECONDS = 25.0
LARGEST_LOG_BYTES = 10_000_000
LONGEST_PAUSE_SECONDS = 3.0
HEALTHY_SECONDS = 5.0
"""Seconds after which a child counts as healthy: if it dies later than this, it is restarted immediately."""
LOOK_EVERY_SECONDS = 0.1

log = logging.getLogger("nnmass.embedded")


class StartRefused(Exception):
    """The service cannot start here; the message is the one line shown to the user."""


@dataclass
class Child:
    """One process of the service, restarted with growing pauses when it dies."""

    name: str
    arguments: list[str]
    log_path: Path
    fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    pause_seconds: float = 0.5
    start_at: float = field(default=0.0)

    def start(self, environment: dict[str, str]) -> None:
        """Start the process in its own process group, so that Ctrl-C reaches only the parent."""
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                pass_fds=self.fds,
                start_new_session=True,
            )
        self.start_at = time.monotonic()

    def look(self, environment: dict[str, str]) -> None:
        """Restart the process if it has died and its pause is over."""
        if self.process is not None and self.process.poll() is not None:
            log.warning("%s exited with %d; restarting it", self.name, self.process.returncode)
            lived = time.monotonic() - self.start_at
            self.pause_seconds = 0.5 if lived > HEALTHY_SECONDS else min(self.pause_seconds * 2, LONGEST_PAUSE_SECONDS)
            self.process, self.start_at = None, time.monotonic() + self.pause_seconds
        if self.process is None and time.monotonic() >= self.start_at:
            self.start(environment)

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to its whole process group."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # it may have ended meanwhile
            os.killpg(self.process.pid, number) if group else self.process.send_signal(number)

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self.process is not None and self.process.poll() is None


class Embedded:
    """The parent process. `run` returns the exit code after everything has ended."""

    def __init__(self, settings: Settings, host: str, port: int) -> None:
        self._settings = settings
        self._host, self._port = host, port
        self._stopping = False
        self._children: list[Child] = []

    def run(self) -> int:
        """Start everything and keep it running until SIGINT, SIGTERM or SIGHUP. Raises StartRefused."""
        folder = self._settings.data_dir
        with _locked(folder), _listen(self._host, self._port) as listener:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, self._end)
            self._prepare()
            self._children = self._make_children(listener.fileno())
            port = listener.getsockname()[1]
            address = f"http://{self._host}:{port}"
            environment = self._environment()
            self._say(f"nnmass: starting on {address}, data in {folder}")
            announced = False
            while not self._stopping:
                for child in self._children:
                    child.look(environment)
                time.sleep(LOOK_EVERY_SECONDS)
                if not announced and _ready(self._host, port):
                    self._say(f"nnmass: ready, open {address} (logs in {folder / 'logs'}, Ctrl-C to stop)")
                    announced = True
                    if torch_found(self._settings) is False:
                        self._say(f"nnmass: {WITHOUT_TORCH}; {GET_TORCH}")
            self._end_children()
        self._say("nnmass: stopped")
        return 0

    def _say(self, line: str) -> None:
        """Print a line for the user; where logs are JSON, write it as a log line."""
        if self._settings.log_format == "text":
            say(line)
        else:
            log.info("%s", line)

    def _prepare(self) -> None:
        (self._settings.data_dir / "logs").mkdir(exist_ok=True)
        purge_notifications(self._settings)
        make_celery(self._settings)
        engine = make_engine(self._settings.sqlalchemy_url)
        migrate.upgrade(engine)
        engine.dispose()

    def _make_children(self, listener: int) -> list[Child]:
        logs = self._settings.data_dir / "logs"
        commands = {
            "api": ["-m", "app", "api", "--fd", str(listener)],
            # not by `nnmass worker`, a process that becomes this one: four of them would delay the start by a second
            **{f"{queue}-worker": worker_command(queue, self._settings) for queue in ("search", "train", "files")},
            "sweeper": worker_command("maintenance", self._settings),
        }
        for name in commands:
            _rotate(logs / f"{name}.log")
        return [
            Child(name, arguments, logs / f"{name}.log", (listener,) if name == "api" else ())
            for name, arguments in commands.items()
        ]

    def _environment(self) -> dict[str, str]:
        folder = str(self._settings.data_dir.resolve())
        needed = str(self._settings.require_keys).lower()  # the address may require keys even if the settings do not
        return os.environ | {
            "NNMASS_DATA_DIR": folder,
            "NNMASS_REQUIRE_KEYS": needed,
            parent_watch.VARIABLE: str(os.getpid()),
        }

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _end_children(self) -> None:
        self._say("nnmass: stopping")
        for child in self._children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + END_WITHIN_SECONDS
        while time.monotonic() < deadline and any(child.running for child in self._children):
            time.sleep(LOOK_EVERY_SECONDS)
        for child in self._children:
            child.signal(signal.SIGKILL, group=True)
            if child.process is not None:
                child.process.wait()


def say(line: str) -> None:
    """Print a line for the user, if possible: a closed terminal must not interrupt an orderly shutdown."""
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _locked(folder: Path) -> IO[str]:
    """Lock the data folder for this process. Raises StartRefused when another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise StartRefused(f"cannot write to the data folder {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StartRefused(f"another nnmass process already uses the data folder {folder}") from error
    return lock


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises StartRefused when the port stays in use.

    The children of a killed parent release the port within moments, so a port in use is tried again.
    """
    deadline = time.monotonic() + PORT_FREE_WITHIN_SECONDS
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        try:
            return socket.create_server((host, port), family=family, backlog=1024)
        except OSError as error:
            if time.monotonic() > deadline:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise StartRefused(f"cannot listen on {host} port {port}: {reason}") from error
            time.sleep(LOOK_EVERY_SECONDS)


def _rotate(path: Path) -> None:
    if path.exists() and path.stat().st_size > LARGEST_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))


def _ready(host: str, port: int) -> bool:
    connection = HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
