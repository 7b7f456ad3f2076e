"""Real servers with scripted answers, and a proxy that breaks its connections repeatedly."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CUT = 0
"""In place of a status: the connection is closed without an answer."""


Answer = tuple[int, dict[str, str], Any]
"""Status, headers, and a body that is sent as JSON unless it is text."""


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Scripted:
    """A server that gives its answers one after the other, the last one again and again."""

    address: str = ""
    answers: list[Answer] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    route: Callable[[str], Answer] | None = None

    def next(self, path: str) -> Answer:
        if self.route is not None:
            return self.route(path)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted(*answers: Answer) -> Iterator[Scripted]:
    """Serve answers: status, headers, and a body that is sent as JSON unless it is text."""
    script = Scripted(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            sent = json.loads(self.rfile.read(length)) if length else None
            script.seen.append(Seen(self.command, self.path, dict(self.headers.items()), sent))
            status, headers, body = script.next(self.path)
            if status == CUT:
                self.close_connection = True
                return
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class CuttingWay:
    """A proxy that breaks each connection after a number of bytes of the answers."""

    target: tuple[str, int]
    most_bytes: int
    connections: int = 0
    address: str = ""

    def carry(self, client: socket.socket) -> None:
        self.connections += 1
        with client, socket.create_connection(self.target) as service, contextlib.suppress(OSError):
            threading.Thread(target=self._forward, args=(client, service), daemon=True).start()
            left = self.most_bytes
            while left > 0 and (data := service.recv(min(left, 4096))):
                client.sendall(data)
                left -= len(data)
            client.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _forward(client: socket.socket, service: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(4096):
                service.sendall(data)


@contextmanager
def cutting(address: str, most_bytes: int) -> Iterator[CuttingWay]:
    """Listen on a free port and forward connections to a service."""
    host, _, port = address.removeprefix("http://").partition(":")
    way = CuttingWay((host, int(port)), most_bytes)
    listening = socket.create_server(("127.0.0.1", 0))
    way.address = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=way.carry, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield way
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)
