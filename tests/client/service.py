"""The application behind a real socket with a worker, within the process of the test."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from app.config import Settings
from app.main import create_app
from app.processes.uvicorn_server import _Server
from app.storage.db import Database
from worker import search_tasks
from worker.process import Context


def wait_until(happened: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass
class Service:
    """What is served. Searches are run only between `work` and `rest`, so that a test can look at what waits."""

    settings: Settings
    database: Database
    address: str = ""
    _working: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        self._working.set()

    def rest(self) -> None:
        self._working.clear()

    def run_worker(self) -> None:
        """Run searches one after the other, whenever it is to work."""
        context = Context(self.settings, self.database, "test/1")
        while not self._ended.is_set():
            if not (self._working.is_set() and search_tasks.run_next(context)):
                time.sleep(0.01)

    def end(self) -> None:
        self._ended.set()

    def write(self, act: Callable[..., Any], *args: Any) -> Any:
        with self.database.write() as session:
            return act(session, *args)


@contextmanager
def serving(settings: Settings, database: Database, port: int = 0) -> Iterator[Service]:
    """Serve on a free port, or on the given one."""
    app = create_app(settings)
    listening = socket.create_server(("127.0.0.1", port))
    server = _Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
    server.stopping = app.state.stopping
    service = Service(settings, database, f"http://127.0.0.1:{listening.getsockname()[1]}")
    threads = [
        threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True),
        threading.Thread(target=service.run_worker, daemon=True),
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.started)
    try:
        yield service
    finally:
        service.end()
        server.handle_exit(signal.SIGTERM, None)
        for thread in threads:
            thread.join(20)
        listening.close()
        assert not any(thread.is_alive() for thread in threads)
