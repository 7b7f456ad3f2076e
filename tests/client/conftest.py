"""Fixtures: a service with a worker on SQLite, and a client."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import Settings
from app.storage.db import Database
from nnmass import Client
from tests.client.service import Service, serving


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NNMASS_SERVER", "NNMASS_KEY", "NNMASS_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def service(sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("client")
    shutil.copy(sqlite_file, folder / "nnmass.db")
    settings = Settings(data_dir=folder, heartbeat_seconds=0.2)
    database = Database(settings.sqlalchemy_url)
    with serving(settings, database) as service:
        service.work()
        yield service
    database.dispose()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.address) as client:
        yield client
    service.work()
