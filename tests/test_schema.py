"""Migrations and models agree, on both databases."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, column, inspect, select, table, text
from sqlalchemy.orm import Session

from app.storage import migrate
from app.storage.db import make_engine
from app.storage.models import Base, Job, JobEvent, Search, Verification, VerificationEpoch
from tests.conftest import BOTH, SQLITE
from tests.servers import PostgresServer

ROOT = Path(__file__).parents[1]
MOMENT, LATER = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 4, tzinfo=UTC)


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == SQLITE:
        return f"sqlite:///{tmp_path / 'nnmass.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database(f"schema_{os.urandom(4).hex()}")


def test_migrations_create_the_schema_of_the_models(empty_url: str) -> None:
    engine = make_engine(empty_url)
    with engine.connect() as connection:
        assert not migrate.is_current(connection)
    migrate.upgrade(engine)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert migrate.is_current(connection)
    engine.dispose()


def test_the_newest_migration_by_name_is_the_last_in_order() -> None:
    """The service compares by the names of files alone, and Alembic follows what each file says it comes after."""
    ordered = [script.revision for script in ScriptDirectory.from_config(migrate.alembic_config()).walk_revisions()]
    assert ordered == sorted(ordered, reverse=True)
    assert migrate.head() == ordered[0]


def test_a_schema_of_another_version_is_not_current(empty_url: str) -> None:
    engine = make_engine(empty_url)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        for other in ("0013", "9999"):
            connection.execute(text("UPDATE alembic_version SET version_num = :other"), {"other": other})
            assert not migrate.is_current(connection)
    engine.dispose()


def test_migrations_can_be_downgraded(empty_url: str) -> None:
    engine = make_engine(empty_url)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        command.downgrade(migrate.alembic_config(connection), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_the_migration_adds_an_event_to_jobs_without_one(empty_url: str) -> None:
    engine = make_engine(empty_url)
    states = ["queued", "running", "succeeded", "failed", "cancelled"]
    with engine.connect() as connection:
        command.upgrade(migrate.alembic_config(connection), "0002")
    newer = ("events", "source_id")
    old = table("jobs", *(column(c.name, c.type) for c in Job.__table__.columns if c.name not in newer))
    with engine.begin() as connection:
        for number, state in enumerate(states):
            row: dict[str, Any] = {"id": UUID(int=number), "state": state, "kind": "search", "queue": "search"}
            row |= {
                "owner": "local",
                "attempt": 0,
                "fence": 0,
                "progress_fraction": number / 10,
                "progress_message": f"was {state}",
            }
            row |= {"rung_at": MOMENT, "created_at": MOMENT, "finished_at": LATER if number >= 2 else None}
            connection.execute(old.insert().values(row))
    migrate.upgrade(engine)
    with Session(engine) as session:
        rows = session.scalars(select(JobEvent).order_by(JobEvent.job_id)).all()
        counts = session.scalars(select(Job.event_count)).all()
    assert counts == [1] * 5
    assert [(row.number, row.event, row.data["status"]) for row in rows] == [
        (1, "done" if state in ("succeeded", "failed", "cancelled") else "status", state) for state in states
    ]
    assert rows[1].data == {"status": "running", "fraction": 0.1, "message": "was running"}
    assert [row.at for row in rows] == [MOMENT] * 2 + [LATER] * 3
    with engine.connect() as connection:
        command.downgrade(migrate.alembic_config(connection), "0002")
    with engine.connect() as connection:
        assert len(connection.execute(select(old)).all()) == 5
    engine.dispose()


def test_exports_and_measurements_move_to_their_own_queue_and_back(empty_url: str) -> None:
    engine = make_engine(empty_url)
    with engine.connect() as connection:
        command.upgrade(migrate.alembic_config(connection), "0008")
    jobs = [
        (kind, state)
        for kind in ("export", "measurement", "verification")
        for state in ("queued", "running", "succeeded")
    ]
    usual = {"queue": "train", "owner": "local", "attempt": 0, "fence": 0, "progress_fraction": 0.0}
    usual |= {"progress_message": "", "rung_at": MOMENT, "created_at": MOMENT}
    stored = table("jobs", *(column(c.name, c.type) for c in Job.__table__.columns))
    with engine.begin() as connection:
        for number, (kind, state) in enumerate(jobs):
            row = {**usual, "id": UUID(int=number), "kind": kind, "state": state, "events": 0}
            connection.execute(stored.insert().values(row))

    def queues() -> list[str]:
        with engine.connect() as connection:
            return list(connection.scalars(select(stored.c.queue).order_by(stored.c.id)).all())

    migrate.upgrade(engine)
    assert queues() == ["files", "files", "train"] * 2 + ["train"] * 3
    with engine.connect() as connection:
        command.downgrade(migrate.alembic_config(connection), "0008")
    assert queues() == ["train"] * 9
    engine.dispose()


def test_the_migration_folds_the_names_and_notes_of_searches(empty_url: str) -> None:
    engine = make_engine(empty_url)
    with engine.connect() as connection:
        command.upgrade(migrate.alembic_config(connection), "0011")
    jobs, searches = (MetaData(), MetaData())
    with engine.begin() as connection:
        jobs.reflect(connection, only=["jobs"])
        row: dict[str, Any] = dict.fromkeys(("kind", "queue", "owner", "state", "progress_message"), "x")
        row |= dict.fromkeys(("attempt", "fence", "progress_fraction"), 0)
        row |= {"id": UUID(int=1).hex, "rung_at": MOMENT, "created_at": MOMENT}
        connection.execute(jobs.tables["jobs"].insert().values(row))
        searches.reflect(connection, only=["searches"])
        named = {"id": UUID(int=1).hex, "name": "Stra\u00dfe", "note": "CAFE\u0301", "request": {}}
        named |= dict.fromkeys(("family", "request_digest", "core_version"), "x")
        connection.execute(searches.tables["searches"].insert().values(named))
    migrate.upgrade(engine)
    with Session(engine) as session:
        (found,) = session.scalars(select(Search))
    assert (found.name, found.folded_name, found.folded_note) == ("Stra\u00dfe", "strasse", "caf\u00e9")
    engine.dispose()


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ({"feasible": True, "optimal": True}, "proved"),
        ({"feasible": True, "optimal": False}, "not_proved"),
        ({"feasible": False, "optimal": True}, "nothing_fits"),
        ({"feasible": None, "optimal": False}, "nothing_found"),
        (None, None),
    ],
)
def test_the_migration_adds_the_outcome_of_stored_searches(
    empty_url: str, result: dict[str, Any] | None, outcome: str | None
) -> None:
    engine = make_engine(empty_url)
    with engine.connect() as connection:
        command.upgrade(migrate.alembic_config(connection), "0012")
    jobs = table("jobs", *(column(c.name, c.type) for c in Job.__table__.columns))
    searches = table("searches", *(column(c.name, c.type) for c in Search.__table__.columns if c.name != "outcome"))
    job: dict[str, Any] = {"id": UUID(int=1), "state": "succeeded", "kind": "search", "queue": "search"}
    job |= {"owner": "local", "attempt": 1, "fence": 1, "progress_fraction": 1.0, "progress_message": "", "events": 0}
    search = {"id": UUID(int=1), "name": "", "note": "", "family": "resnet", "request": {}, "request_version": 1}
    search |= {"request_digest": "x", "core_version": "0.1.0", "result": result, "result_digest": None}
    with engine.begin() as connection:
        connection.execute(jobs.insert().values(job | {"rung_at": MOMENT, "created_at": MOMENT}))
        connection.execute(searches.insert().values(search))
    migrate.upgrade(engine)
    with Session(engine) as session:
        row = session.get_one(Search, UUID(int=1))
        assert (row.outcome, row.result) == (outcome, result)
    engine.dispose()


def test_a_downgrade_removes_trainings_with_a_validation_part_alone(empty_url: str) -> None:
    """An older release cannot read their recipes, and their epochs have no figures of the test images."""
    engine = make_engine(empty_url)
    migrate.upgrade(engine)
    with Session(engine) as session:
        recipes: list[dict[str, Any]] = [{"epochs": 2}, {"epochs": 2, "validation": 0.1}]
        for number, recipe in enumerate(recipes, start=1):
            job = Job(id=UUID(int=number), kind="verification", queue="train", owner="local", state="succeeded")
            job.notified_at = job.created_at = MOMENT
            job.attempt = job.fence = job.event_count = 0
            job.progress_fraction, job.progress_message = 1.0, ""
            names = ("arch_id", "family", "task", "dataset_key", "recipe_digest", "core_version")
            figures: dict[str, str] = dict.fromkeys(names, "x")
            row = Verification(
                **figures, job=job, role="single", definition={}, widths=[], nn_mass=1.0, params=1, macs=1
            )
            row.dataset, row.recipe, row.seeds, row.kept, row.log = {}, recipe, [0], [], ""
            session.add(row)
            read = 0.5 if number == 1 else None
            tested = dict.fromkeys(("test_loss", "test_accuracy"), read)
            rest = dict.fromkeys(("train_loss", "train_accuracy", "learning_rate", "images_per_second", "seconds"), 1.0)
            session.flush()
            session.add(VerificationEpoch(verification_id=job.id, seed=0, epoch=1, **tested, **rest))
        session.commit()
    with engine.connect() as connection:
        command.downgrade(migrate.alembic_config(connection), "0017")
    with engine.connect() as connection:
        for name in ("jobs", "verifications", "verification_epochs"):
            assert connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() == 1, name
        assert connection.execute(text("SELECT test_loss FROM verification_epochs")).scalar_one() == 0.5
    engine.dispose()


def test_alembic_upgrade_head_works_from_the_command_line(tmp_path: Path) -> None:
    environment = os.environ | {"NNMASS_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=60)
    engine = make_engine(f"sqlite:///{tmp_path / 'data' / 'nnmass.db'}")
    with engine.connect() as connection:
        assert migrate.is_current(connection)
    engine.dispose()


def test_the_query_of_a_list_uses_its_index(sqlite_file: Path) -> None:
    engine = make_engine(f"sqlite:///{sqlite_file}")
    query = "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE owner = 'x' AND kind = 'search' AND id < 'y' ORDER BY id DESC"
    with engine.connect() as connection:
        plan = str(connection.exec_driver_sql(query).all())
    engine.dispose()
    assert "ix_jobs_owner_kind_id" in plan
    assert "TEMP B-TREE" not in plan
