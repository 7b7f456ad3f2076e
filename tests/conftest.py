"""Fixtures: private servers, migrated databases, and the application on each of its two backends."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, text

from app.config import Settings
from app.main import create_app
from app.searches import service
from app.storage import migrate
from app.storage.db import Database, make_engine
from app.storage.models import Base
from tests.clients import client_of
from tests.measured import measured
from tests.servers import PostgresServer, RedisServer, ServerUnavailable
from worker.process import Context

ROOT = Path(__file__).parent
LONGEST_FIRST = ("processes", "generated", "chaos", "ui", "nets", "jobs", "api")

SQLITE, POSTGRES = "sqlite", "postgresql"
BOTH = [SQLITE, pytest.param(POSTGRES, marks=pytest.mark.servers)]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--random-cases", type=int, help="how many seeds the randomized tests of the engine take each")
    parser.addoption("--most-cases", type=int, help="how many random cases a test takes at most, where time is short")
    parser.addoption("--fuzz-cases", type=int, help="how many random cases the OpenAPI document is tried with in all")


def pytest_configure() -> None:
    """Store bytecode, and hear interrupts.

    Without stored bytecode each of the many processes that tests start would compile all that it imports: half of its
    time. Some tests send interrupts, and a shell starts what runs in its background deaf to them.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `random_cases(n)` tests n seeds, or as many as the command line asks for."""
    marker = metafunc.definition.get_closest_marker("random_cases")
    if marker:
        usual = at_most(metafunc.config, marker.args[0])
        metafunc.parametrize("seed", range(metafunc.config.getoption("--random-cases") or usual))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders whose files take longest, so that no core idles at the end while one of them runs."""
    rank = {folder: place for place, folder in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(ROOT).parts[0], len(rank)))


def pytest_sessionfinish() -> None:
    """Save which lines of the product were reached, where that is measured."""
    if measured:
        measured.save()


def at_most(config: pytest.Config, cases: int) -> int:
    """Return the number of random cases of a test: its usual number, or the limit of the command line if lower."""
    most: int | None = config.getoption("--most-cases")
    return cases if most is None else min(cases, most)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    try:
        with PostgresServer() as server:
            yield server
    except ServerUnavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    try:
        with RedisServer() as server:
            yield server
    except ServerUnavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """A migrated database on the private PostgreSQL."""
    url = postgres.create_database("nnmass_tests")
    engine = make_engine(url)
    migrate.upgrade(engine)
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "nnmass.db"
    engine = make_engine(f"sqlite:///{path}")
    migrate.upgrade(engine)
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    return path


@dataclass(frozen=True)
class Backend:
    """Settings of one mode, with a clean database that has the current schema."""

    settings: Settings
    database: Database


@pytest.fixture(params=BOTH)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Embedded mode on SQLite, then full mode on PostgreSQL and Redis."""
    if request.param == SQLITE:
        shutil.copy(request.getfixturevalue("sqlite_file"), tmp_path / "nnmass.db")
        settings = Settings(data_dir=tmp_path)
    else:
        url, broker = request.getfixturevalue("postgres_url"), request.getfixturevalue("redis").url
        settings = Settings(data_dir=tmp_path, database_url=url, broker_url=broker)
    database = Database(settings.sqlalchemy_url)
    if request.param == POSTGRES:
        with database.write() as session:
            for table in reversed(Base.metadata.sorted_tables):  # TRUNCATE takes 20 times as long: it makes new files
                session.execute(delete(table))
    yield Backend(settings, database)
    database.dispose()


@pytest.fixture
def client(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The application, with its dispatcher and sweeper running; server errors come back as answers.

    Previews get a minute: while other tests run, a second may end before a search is proved.
    """
    monkeypatch.setattr(service, "PREVIEW_SECONDS", 60.0)
    with client_of(create_app(backend.settings)) as client:
        yield client


@pytest.fixture
def worker(backend: Backend) -> Context:
    """A worker's context, to run jobs within the test."""
    return Context(backend.settings, backend.database, "test/1")


@pytest.fixture
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands ask no service of whoever runs the tests."""
    for name in ("NNMASS_SERVER", "NNMASS_KEY", "NNMASS_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
