"""Embedded mode: a parent process starts API, workers and sweeper, restarts those that die, and ends them all."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import IO

from app.config import Settings
from app.jobs.broker import make_celery, purge_notifications
from app.jobs.requirements import GET_TORCH, WITHOUT_TORCH, torch_installed
from app.processes import parent_watch
from app.processes.children import SIGNALS, Child, import_for_children, run_celery
from app.processes.refusals import StartRefused
from app.processes.workers import worker_arguments
from app.storage import migrate
from app.storage.db import make_engine

PORT_FREE_WITHIN_SECONDS = 1.5
END_WITHIN_SECONDS = 25.0
LARGEST_LOG_BYTES = 10_000_000
LOOK_EVERY_SECONDS = 0.1

log = logging.getLogger("nnmass.embedded")


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
        with _locked(folder) as lock, _listen(self._host, self._port) as listener:
            for number in SIGNALS:
                signal.signal(number, self._end)
            self._prepare()
            port = listener.getsockname()[1]
            address = f"http://{self._host}:{port}"
            self._say(f"nnmass: starting on {address}, data in {folder}")
            self._children = self._make_children(lock, listener)
            environment = self._environment()
            announced = False
            while not self._stopping:
                for child in self._children:
                    child.look(environment)
                time.sleep(LOOK_EVERY_SECONDS)
                if not announced and _ready(self._host, port):
                    self._say(f"nnmass: ready, open {address} (logs in {folder / 'logs'}, Ctrl-C to stop)")
                    announced = True
                    if not torch_installed():
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

    def _make_children(self, lock: IO[str], listener: socket.socket) -> list[Child]:
        import_for_children()
        logs = self._settings.data_dir / "logs"
        queues = {"search-worker": "search", "train-worker": "train", "files-worker": "files", "sweeper": "maintenance"}
        children = [Child("api", partial(_serve_api, listener), logs / "api.log", (lock,))]
        for name, queue in queues.items():
            work = partial(run_celery, worker_arguments(queue, self._settings))
            children.append(Child(name, work, logs / f"{name}.log", (lock, listener)))
        for child in children:
            _rotate(child.log_path)
        return children

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
                child.process.join()


def _serve_api(listener: socket.socket) -> None:
    """Serve the API on the parent's socket, until the parent ends."""
    from app.processes.uvicorn_server import run_api  # loads every feature, which a refused start does not need

    parent_watch.watch_parent()
    run_api(Settings(), fd=listener.detach())


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
