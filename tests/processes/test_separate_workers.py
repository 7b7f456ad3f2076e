"""Workers that run apart from the API, as real processes: what they say of themselves."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from app.config import Settings
from app.main import create_app
from app.processes.workers import worker_arguments
from app.storage import migrate
from app.storage.db import Database, make_engine
from app.storage.models import WorkerBeat
from tests.clients import client_of
from tests.processes.service import environment, wait_for
from tests.servers import PostgresServer, RedisServer

WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
sys.argv = sys.argv[1:]
runpy.run_module("celery", run_name="__main__", alter_sys=True)
"""
"""Runs Celery in a process that finds no torch."""


@contextlib.contextmanager
def worker(queue: str, settings: Settings, log: Path, *, torch: bool) -> Iterator[None]:
    """Run a worker of a queue, and wait for its first heartbeat."""
    begin = ["-m", "celery"] if torch else ["-c", WITHOUT_TORCH, "celery"]
    assert settings.database_url is not None
    assert settings.broker_url is not None
    own = {
        "NNMASS_DATABASE_URL": settings.database_url.get_secret_value(),
        "NNMASS_BROKER_URL": settings.broker_url.get_secret_value(),
        "NNMASS_DATA_DIR": str(settings.data_dir),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *begin, *worker_arguments(queue, settings)],
            stdout=output,
            stderr=output,
            env=environment(own),
        )
    database = Database(settings.sqlalchemy_url)

    def has_beaten() -> bool:
        assert process.poll() is None, log.read_text()
        with database.read() as session:
            return any(name.endswith(f"/{process.pid}") for name in session.scalars(select(WorkerBeat.worker)))

    try:
        wait_for(has_beaten, f"the worker of {queue} has sent a heartbeat", 60)
        yield
    finally:
        process.terminate()
        process.wait(30)
        database.dispose()


@pytest.mark.servers
def test_separate_workers_say_whether_they_have_torch(
    redis: RedisServer, postgres: PostgresServer, tmp_path: Path
) -> None:
    here = find_spec("torch") is not None
    url = postgres.create_database("separate_workers")
    engine = make_engine(url)
    migrate.upgrade(engine)
    engine.dispose()
    settings = Settings(data_dir=tmp_path, database_url=SecretStr(url), broker_url=SecretStr(redis.url))
    with contextlib.closing(client_of(create_app(settings))) as client:
        assert client.get("/readyz").json()["torch"] is None
        with worker("train", settings, tmp_path / "train.log", torch=True):
            assert client.get("/readyz").json()["torch"] is here
            with worker("files", settings, tmp_path / "files.log", torch=False):
                state = client.get("/readyz").json()
                assert (state["torch"], state["ready"]) == (False, True)
                assert "`pip install 'nnmass[train]'`" in state["advice"][state["missing"].index("torch")]
                assert 'id="no-torch"' in client.get("/verifications").text
