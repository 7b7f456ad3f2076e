"""Backups taken while the service runs are restored elsewhere, and the service continues from them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from typer.testing import CliRunner

from app.cli import app as command_line
from app.config import Settings
from app.main import create_app
from app.storage import migrate
from app.storage.db import Database, make_engine
from tests.api import trainings
from tests.api.test_verifications import BODY, SEARCH
from tests.clients import client_of
from tests.conftest import Backend
from tests.servers import HOST, PostgresServer
from worker import search_tasks
from worker.process import Context

Answers = dict[str, Any]


@dataclass(frozen=True)
class Filled:
    """A service with a history: what it answers, and a search that waits."""

    client: TestClient
    paths: list[str]
    waiting: str

    def answers(self, client: TestClient) -> Answers:
        return {path: _answer(client, path) for path in self.paths}


def _answer(client: TestClient, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.content if "/artifacts/" in path else answer.json()


def filled(backend: Backend, worker: Context) -> Filled:
    """Search, train, measure; and leave one search queued."""
    client = client_of(create_app(backend.settings))
    labels = {"name": "Größe ✓", "tags": ["a"], "note": "'\\"}
    search_id = client.post("/v1/searches", json=SEARCH | labels).json()["id"]
    assert search_tasks.run_next(worker)
    body = {"search": search_id, "dataset": "digits", "recipe": "mlp-paper", "seeds": [0]}
    (trained,) = client.post("/v1/verifications", json=body).json()["items"]
    trainings.train_all(backend.database, [7])
    arch = client.post("/v1/architectures", json=BODY["architecture"]).json()["arch_id"]
    waiting = client.post("/v1/searches", json=SEARCH | {"top_k": 1}).json()["id"]
    paths = [
        "/v1/searches?limit=100",
        f"/v1/searches/{search_id}",
        f"/v1/searches/{search_id}/architectures?limit=100",
        f"/v1/searches/{waiting}",
        "/v1/verifications",
        f"/v1/verifications/{trained['id']}",
        f"/v1/verifications/{trained['id']}/artifacts/weights-seed0.pt",
        f"/v1/architectures/{arch}",
        "/v1/evidence",
    ]
    return Filled(client, paths, waiting)


def goes_on(settings: Settings, before: Answers, made: Filled) -> None:
    """See that a restored service answers the same, then does what waited."""
    database = Database(settings.sqlalchemy_url)
    try:
        client = client_of(create_app(settings))
        assert client.get("/readyz").json()["schema_current"] is True
        assert made.answers(client) == before
        assert before[f"/v1/searches/{made.waiting}"]["status"] == "queued"
        assert search_tasks.run_next(Context(settings, database, "restored/1"))
        found = client.get(f"/v1/searches/{made.waiting}").json()
        assert (found["status"], found["result"]["optimal"], found["attempts"]) == ("succeeded", True, 1)
        anew = client.post("/v1/searches", json=SEARCH | {"top_k": 2}).json()["id"]
        assert search_tasks.run_next(Context(settings, database, "restored/1"))
        assert client.get(f"/v1/searches/{anew}").json()["status"] == "succeeded"
        events = client.get(f"/v1/searches/{made.waiting}/events").text
        assert [line for line in events.splitlines() if line.startswith("id:")][0] == "id: 1"  # noqa: RUF015
    finally:
        database.dispose()


# PostgreSQL


@pytest.fixture
def postgresql(backend: Backend) -> Backend:
    if backend.settings.embedded:
        pytest.skip("SQLite has separate tests")
    return backend


def program(postgres: PostgresServer, name: str) -> str:
    """Return a program that comes with the server: another version's might not read its dump."""
    folders = (postgres.programs, (postgres.programs / "postgres").resolve().parent)
    paths = [folder / name for folder in folders if os.access(folder / name, os.X_OK)]
    if not paths:
        pytest.skip(f"{name} does not come with this PostgreSQL")
    return str(paths[0])


def call(postgres: PostgresServer, name: str, *arguments: str) -> None:
    where = [f"--host={HOST}", f"--port={postgres.port}", f"--username={postgres.USER}"]
    command = [program(postgres, name), *where, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.servers
def test_a_service_continues_from_a_restored_postgresql_dump(
    postgresql: Backend, worker: Context, postgres: PostgresServer, tmp_path: Path
) -> None:
    made = filled(postgresql, worker)
    before = made.answers(made.client)
    assert postgresql.settings.database_url is not None
    source = urlsplit(postgresql.settings.database_url.get_secret_value()).path.removeprefix("/")
    dump = tmp_path / "nnmass.dump"
    call(postgres, "pg_dump", "--format=custom", f"--file={dump}", source)
    made.client.patch(made.paths[1], json={"name": "changed after the dump"})

    target = f"restored_{os.urandom(4).hex()}"
    url = postgres.create_database(target)
    call(postgres, "pg_restore", "--exit-on-error", "--no-owner", f"--dbname={target}", str(dump))
    engine = make_engine(url)
    migrate.upgrade(engine)  # as the page says; it finds nothing to do
    engine.dispose()
    settings = postgresql.settings.model_copy(update={"database_url": SecretStr(url)})
    goes_on(settings, before, made)
    assert made.client.get(made.paths[1]).json()["name"] == "changed after the dump", "the source is another database"


def test_backup_in_full_mode_names_pg_dump(postgresql: Backend, tmp_path: Path) -> None:
    urls = (postgresql.settings.database_url, postgresql.settings.broker_url)
    names = ("NNMASS_DATABASE_URL", "NNMASS_BROKER_URL")
    environment = {name: url.get_secret_value() for name, url in zip(names, urls, strict=True) if url is not None}
    done = CliRunner().invoke(command_line, ["db", "backup", str(tmp_path / "copy.db")], env=environment)
    assert (done.exit_code, done.stderr) == (2, "nnmass: the database is PostgreSQL; use pg_dump to back it up\n")


# SQLite


@pytest.fixture
def sqlite(backend: Backend) -> Backend:
    if not backend.settings.embedded:
        pytest.skip("PostgreSQL has separate tests")
    return backend


def backup(backend: Backend, file: Path) -> Any:
    folder = str(backend.settings.data_dir)
    return CliRunner().invoke(command_line, ["db", "backup", str(file), "--data-dir", folder])


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data-dir` sets a variable, which must not outlast its test."""
    monkeypatch.delenv("NNMASS_DATA_DIR", raising=False)


def test_a_service_continues_from_a_restored_sqlite_backup(sqlite: Backend, worker: Context, tmp_path: Path) -> None:
    made = filled(sqlite, worker)
    before = made.answers(made.client)
    copy = tmp_path / "copy.db"
    done = backup(sqlite, copy)
    assert done.exit_code == 0, done.output
    assert done.stderr == f"nnmass: wrote {copy}, {copy.stat().st_size} bytes\n"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    made.client.patch(made.paths[1], json={"name": "changed after the backup"})

    folder = tmp_path / "restored"
    folder.mkdir()
    shutil.copy(copy, folder / "nnmass.db")
    goes_on(sqlite.settings.model_copy(update={"data_dir": folder}), before, made)


def test_a_backup_is_consistent_during_writes(sqlite: Backend, tmp_path: Path) -> None:
    """Each search and its job are written in one transaction, so a backup has both or neither."""
    client, stopping = client_of(create_app(sqlite.settings)), threading.Event()

    def write() -> None:
        while not stopping.is_set():
            assert client.post("/v1/searches", json=SEARCH | {"fresh": True}).status_code == 202

    writer = threading.Thread(target=write)
    writer.start()
    try:
        sizes = [_counts(sqlite, tmp_path / f"{number}.db") for number in range(5)]
    finally:
        stopping.set()
        writer.join()
    assert sizes == sorted(sizes)
    assert all(jobs == searches for jobs, searches in sizes)


def _counts(backend: Backend, file: Path) -> tuple[int, int]:
    assert backup(backend, file).exit_code == 0
    with closing(sqlite3.connect(file)) as copy:
        assert copy.execute("pragma integrity_check").fetchall() == [("ok",)]
        ((jobs, searches),) = copy.execute("select (select count(*) from jobs), (select count(*) from searches)")
    return jobs, searches


def test_a_failed_backup_leaves_no_file(sqlite: Backend, tmp_path: Path) -> None:
    done = backup(sqlite, tmp_path / "no such folder" / "copy.db")
    assert done.exit_code == 1
    assert done.stderr.startswith("nnmass: cannot write the backup: ")
    earlier = tmp_path / "copy.db"
    earlier.write_text("an earlier one")
    (tmp_path / ".copy.db.unfinished").mkdir()
    assert backup(sqlite, earlier).exit_code == 1
    assert earlier.read_text() == "an earlier one"


def test_backup_without_a_database_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(command_line, ["db", "backup", str(tmp_path / "c"), "--data-dir", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []
