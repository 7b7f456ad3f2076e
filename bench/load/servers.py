"""The service under load: private PostgreSQL and Redis, one API process on one core, one search worker on another."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.auth import keys
from app.storage import migrate
from app.storage.db import Database, make_engine
from tests.servers import PostgresServer, RedisServer

ROOT = Path(__file__).parents[2]
OWNER = "load"
START_SECONDS = 60.0
API_CORE = 0


@dataclass(frozen=True)
class Running:
    """The address of the running service, and its API key."""

    address: str
    key: str
    postgres_url: str
    redis_url: str
    api: psutil.Process
    api_core: int
    other_cores: tuple[int, ...]


@contextmanager
def running(concurrency: int) -> Iterator[Running]:
    """Start everything, and stop it at the end of the block. This process does not use the API's core."""
    cores = sorted(os.sched_getaffinity(0))
    api_core, others = cores[0], tuple(cores[1:]) or (cores[0],)
    with ExitStack() as stack:
        # durable: every commit reaches the disk, as in production
        postgres = stack.enter_context(PostgresServer(durable=True))
        redis = stack.enter_context(RedisServer())
        url = postgres.create_database("load")
        key = _prepare(url)
        environment = os.environ | {
            "NNMASS_DATABASE_URL": url.replace("+psycopg", ""),
            "NNMASS_BROKER_URL": redis.url,
            "NNMASS_RATE_LIMIT": "1000000/second",
            "NNMASS_MOST_WAITING": "1000000",
        }
        port = _free_port()
        api = stack.enter_context(_process(environment, "serve", "--port", str(port)))
        stack.enter_context(_process(environment, "worker", "search", "--concurrency", str(concurrency)))
        process = psutil.Process(api.pid)
        address = f"http://127.0.0.1:{port}"
        _wait(f"{address}/readyz")
        process.cpu_affinity([api_core])
        os.sched_setaffinity(0, set(others))
        yield Running(address, key, url.replace("+psycopg", ""), redis.url, process, api_core, others)


def _prepare(url: str) -> str:
    engine = make_engine(url)
    migrate.upgrade(engine)
    engine.dispose()
    database = Database(url)
    with database.write() as session:
        _, key = keys.create(session, OWNER, set(keys.Scope))
    database.dispose()
    return key


@contextmanager
def _process(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _wait(url: str) -> None:
    """Wait until the service is ready and a search worker listens."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with opener.open(url, timeout=5) as answer:
                if b"search_worker" not in answer.read():
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise SystemExit("the service did not become ready")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
