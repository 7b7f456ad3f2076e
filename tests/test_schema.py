"""Migrations and models agree, on both databases."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from app import schema
from app.db import make_engine
from app.models import Base
from tests.conftest import BOTH, SQLITE
from tests.servers import PostgresServer

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == SQLITE:
        return f"sqlite:///{tmp_path / 'nnmass.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database(f"schema_{os.urandom(4).hex()}")


def test_migrations_make_what_the_models_say(empty_url: str) -> None:
    engine = make_engine(empty_url)
    with engine.connect() as connection:
        assert not schema.is_current(connection)
    schema.upgrade(engine)
    schema.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert schema.is_current(connection)
    engine.dispose()


def test_migrations_can_be_taken_back(empty_url: str) -> None:
    engine = make_engine(empty_url)
    schema.upgrade(engine)
    with engine.connect() as connection:
        command.downgrade(schema.alembic_config(connection), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_alembic_upgrade_head_works_by_hand(tmp_path: Path) -> None:
    environment = os.environ | {"NNMASS_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=60)
    engine = make_engine(f"sqlite:///{tmp_path / 'data' / 'nnmass.db'}")
    with engine.connect() as connection:
        assert schema.is_current(connection)
    engine.dispose()


def test_lists_are_read_from_their_indexes(sqlite_file: Path) -> None:
    engine = make_engine(f"sqlite:///{sqlite_file}")
    query = "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE owner = 'x' AND kind = 'search' AND id < 'y' ORDER BY id DESC"
    with engine.connect() as connection:
        plan = str(connection.exec_driver_sql(query).all())
    engine.dispose()
    assert "ix_jobs_owner_kind_id" in plan
    assert "TEMP B-TREE" not in plan
