"""Exactly the old jobs are deleted, with their rows and files, on both databases."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, select, update
from typer.testing import CliRunner

from app.cli import app as command_line
from app.config import Settings
from app.exports import service as exports
from app.jobs import lifecycle, retention, rounds
from app.jobs.lifecycle import State
from app.jobs.retention import SEARCHES, VERIFICATIONS, PruneReport, RetentionPolicy, age_of
from app.jobs.sweeper import PRUNE_EVERY_SECONDS, Sweeper
from app.main import create_app
from app.storage.db import now
from app.storage.models import Base, Checkpoint, Export, Job
from nnmass_core.export.deployment import USUAL
from nnmass_core.families import decode_architecture
from tests.api import trainings
from tests.api.test_verifications import BODY, SEARCH
from tests.clients import client_of
from tests.conftest import Backend
from worker import search_tasks
from worker.process import Context

OLD, NEW = timedelta(days=100), timedelta(days=10)
AGE = "90d"
CHECKPOINT = b"x" * 1000

Rows = dict[str, Counter[str]]


@dataclass
class World:
    """A service with a mixture of jobs, old and new, and what each is by a name."""

    client: TestClient
    backend: Backend
    ids: dict[str, UUID] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return self.backend.settings

    def rows(self) -> Rows:
        """Every row of every table, whole."""
        with self.backend.database.read() as session:
            return {
                table.name: Counter(repr(tuple(row)) for row in session.execute(select(table)).all())
                for table in Base.metadata.sorted_tables
            }

    def files(self) -> dict[str, bytes]:
        """Every file below the training folder."""
        folder = self.settings.training_dir
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def end(self, name: str, job_id: str | UUID, age: timedelta, state: State | None = None) -> None:
        """Have a job end, or have ended, so long ago."""
        job_id = self.ids[name] = UUID(str(job_id))
        with self.backend.database.write() as session:
            ended = now(session) - age
            values: dict[str, Any] = {"finished_at": ended} | ({} if state is None else {"state": state})
            session.execute(update(Job).where(Job.id == job_id).values(**values))


@pytest.fixture
def world(backend: Backend, worker: Context) -> World:
    world = World(client_of(create_app(backend.settings)), backend)
    for name, age, seed in (("old", OLD, 7), ("new", NEW, 8)):
        _campaign(world, worker, name, age, seed)
    _searches(world, worker)
    _trainings(world)
    _others(world)
    return world


def _searches(world: World, worker: Context) -> None:
    def search(name: str, age: timedelta, **labels: Any) -> str:
        found = world.client.post("/v1/searches", json=SEARCH | {"fresh": True, "name": name} | labels)
        search_id = str(found.json()["id"])
        assert search_tasks.run_next(worker)
        world.end(name, search_id, age)
        return search_id

    search("old", OLD)
    search("old and tagged", OLD, tags=["keep", "me"])
    search("new", NEW)
    search("old, trained long ago", OLD)
    search("old, trained lately", OLD)
    for state in (State.FAILED, State.CANCELLED):
        made = world.client.post("/v1/searches", json=SEARCH | {"fresh": True}).json()["id"]
        world.end(f"old, {state}", made, OLD, state)
    for name, state in (("queued for long", State.QUEUED), ("running for long", State.RUNNING)):
        made = world.client.post("/v1/searches", json=SEARCH | {"fresh": True}).json()["id"]
        world.end(name, made, OLD, state)  # one that was retried has no moment of its end; even with one it stays


def _trainings(world: World) -> None:
    def train(name: str, age: timedelta, path: str = "/v1/verifications", **body: Any) -> str:
        answer = world.client.post(path, json=body or None).json()
        made = str((answer["items"][0] if "items" in answer else answer)["id"])
        trainings.train_all(world.backend.database, [7])
        world.end(name, made, age)
        return made

    best: dict[str, Any] = {"dataset": "digits", "recipe": "mlp-paper", "seeds": [0]}
    train("old training", OLD, search=str(world.ids["old, trained long ago"]), **best)
    train("new training", NEW, search=str(world.ids["old, trained lately"]), **best)
    first = train("old, replayed lately", OLD, **BODY)
    second = train("old, its replay was replayed lately", OLD, f"/v1/verifications/{first}/replay")
    train("new replay", NEW, f"/v1/verifications/{second}/replay")
    train("old, a file of it waits", OLD, **BODY)
    world.ids["file that waits"] = _file_of(world, "old, a file of it waits")
    world.end("file of the old training", _file_of(world, "old training"), OLD, State.SUCCEEDED)
    gone = train("old, replayed long ago", OLD, **BODY)
    train("old replay", OLD, f"/v1/verifications/{gone}/replay")
    for name, age in (("old, failed with a checkpoint", OLD), ("new, failed with a checkpoint", NEW)):
        made = world.client.post("/v1/verifications", json=BODY).json()["id"]
        _keep_checkpoint(world, trainings.claim(world.backend.database))
        world.end(name, made, age, State.FAILED)


def _file_of(world: World, training: str) -> UUID:
    """Have a file written from the weights of a training; returns its id. It has content already."""
    wanted = exports.Wanted(decode_architecture(BODY["architecture"]), "onnx", 0, USUAL, world.ids[training])
    with world.backend.database.write() as session:
        exports.ask(session, "local", wanted)
        row = session.scalars(select(Export).where(Export.verification_id == world.ids[training])).one()
        row.content = b"onnx" * 5
        return row.id


def _keep_checkpoint(world: World, held: lifecycle.Claim) -> None:
    folder = world.settings.training_dir / str(held.job_id)
    folder.mkdir(parents=True)
    (folder / "seed0.pt").write_bytes(CHECKPOINT)
    with world.backend.database.write() as session:
        point = Checkpoint(verification_id=held.job_id, file="seed0.pt", fence=held.fence, seed=0, epoch=1, step=0)
        point.sha256, point.size, point.created_at = "0" * 64, len(CHECKPOINT), now(session)
        session.add(point)


def _others(world: World) -> None:
    for name, age in (("old measurement", OLD), ("new measurement", NEW)):
        body = {"kind": "peak", "architecture": BODY["architecture"]}
        world.end(name, world.client.post("/v1/measurements", json=body).json()["id"], age, State.SUCCEEDED)
    arch = world.client.post("/v1/architectures", json=BODY["architecture"]).json()["arch_id"]
    for name, age in (("old export", OLD), ("new export", NEW)):
        seed = {"old export": 1, "new export": 2}[name]
        assert world.client.get(f"/v1/architectures/{arch}/export?format=onnx&seed={seed}").status_code == 202
        with world.backend.database.write() as session:
            row = session.scalars(select(Export).where(Export.seed == seed)).one()
            row.content = b"onnx" * 25
            made = row.id
        world.end(name, made, age, State.SUCCEEDED)


def _campaign(world: World, worker: Context, name: str, age: timedelta, seed: int) -> None:
    """Run a campaign of one network; its training ended long ago."""
    question = {field: value for field, value in SEARCH.items() if field != "top_k"}
    body = {"search": question, "strategy": "top", "trainings": 1, "confirm": 0, "rounds": 1, "seeds": [seed]}
    body |= {"dataset": "digits", "recipe": "mlp-paper"}
    made = world.client.post("/v1/campaigns", json=body).json()["id"]
    assert search_tasks.run_next(worker)
    held = trainings.claim(world.backend.database)
    trainings.finish(world.backend.database, held, {seed: 7})
    rounds.advance(world.backend.database)
    assert search_tasks.run_next(worker)
    world.end(f"{name} campaign", made, age)
    world.end(f"training of the {name} campaign", held.job_id, OLD)


def prune(world: World, *arguments: str) -> tuple[PruneReport, str]:
    """Run the command, and read what it prints."""
    urls = {"database_url": "NNMASS_DATABASE_URL", "broker_url": "NNMASS_BROKER_URL"}
    environment = {"NNMASS_DATA_DIR": str(world.settings.data_dir)}
    for name, variable in urls.items():
        secret = getattr(world.settings, name)
        environment[variable] = "" if secret is None else secret.get_secret_value()
    environment = {key: value for key, value in environment.items() if value}
    done = CliRunner().invoke(command_line, ["db", "prune", "--older-than", AGE, *arguments], env=environment)
    assert done.exit_code == 0, done.output
    first, *rest = done.stdout.splitlines()
    said_rows = re.findall(r"^(\d+) rows of (\w+)$", done.stdout, re.MULTILINE)
    rows = Counter({table: int(count) for count, table in said_rows})
    (stored,) = re.findall(r"^(\d+) bytes of files in the database$", done.stdout, re.MULTILINE)
    (files,) = re.findall(r"^(\d+) files on disk, (\d+) bytes$", done.stdout, re.MULTILINE)
    assert len(rest) == len(rows) + 2, "and nothing else"
    (reported_count,) = re.findall(r"deleted? (\d+) jobs", first)
    assert int(reported_count) == rows["jobs"]
    return PruneReport(rows, int(stored), int(files[0]), int(files[1])), first


def gone(before: Rows, after: Rows) -> Counter[str]:
    """Return how many rows each table lost; all others are as they were, to the last column."""
    for table, rows in after.items():
        assert rows - before[table] == Counter(), f"{table}: a row was changed or added"
    return +Counter({table: (rows - after[table]).total() for table, rows in before.items()})


def names_left(world: World) -> set[str]:
    with world.backend.database.read() as session:
        left = set(session.scalars(select(Job.id)))
    return {name for name, job_id in world.ids.items() if job_id in left}


OLD_SEARCHES = {"old", "old and tagged", "old, failed", "old, cancelled"}
OLD_TRAININGS = {
    "old training",
    "file of the old training",
    "old, replayed long ago",
    "old replay",
    "old, failed with a checkpoint",
}

CASES: list[tuple[list[str], set[str]]] = [
    ([], OLD_SEARCHES),
    (["--keep-tagged"], OLD_SEARCHES - {"old and tagged"}),
    (["--kind", "verifications"], OLD_TRAININGS),
    (["--kind", "searches", "--kind", "verifications"], OLD_SEARCHES | OLD_TRAININGS | {"old, trained long ago"}),
    (["--kind", "campaigns"], {"old campaign"}),
    (
        ["--kind", "campaigns", "--kind", "verifications"],
        OLD_TRAININGS | {"old campaign", "training of the old campaign"},
    ),
    (["--kind", "measurements"], {"old measurement"}),
    (["--kind", "exports"], {"old export", "file of the old training"}),
    (["--kind", "exports", "--kind", "verifications"], OLD_TRAININGS | {"old export"}),
]


@pytest.mark.parametrize(("arguments", "named"), CASES, ids=lambda value: " ".join(sorted(value)) or "default")
def test_prune_deletes_exactly_what_its_dry_run_reports(world: World, arguments: list[str], named: set[str]) -> None:
    before, files = world.rows(), world.files()
    reported, first = prune(world, *arguments, "--dry-run")
    assert first.startswith("would delete")
    assert (world.rows(), world.files()) == (before, files)

    removed, first = prune(world, *arguments)
    assert first.startswith("deleted")
    after = world.rows()
    assert set(world.ids) - names_left(world) == named
    assert gone(before, after) == removed.rows
    assert removed == reported
    assert removed.rows["jobs"] == len(named)

    lost = {name: content for name, content in files.items() if name not in world.files()}
    assert {name: world.files()[name] for name in world.files()} == {k: v for k, v in files.items() if k not in lost}
    with_files = {str(world.ids[name]) for name in named if "checkpoint" in name}
    assert {name.split("/")[0] for name in lost} == with_files
    assert (removed.files, removed.file_bytes) == (len(lost), sum(map(len, lost.values())))
    assert not [name for name in with_files if (world.settings.training_dir / name).exists()]
    of_exports = 100 * ("old export" in named) + 20 * ("file of the old training" in named)
    assert removed.stored_bytes == of_exports + 3 * removed.rows["artifacts"]

    again, _ = prune(world, *arguments)
    assert again == PruneReport(), "there is no more of it"
    assert world.rows() == after


def test_remaining_jobs_and_evidence_can_be_read_after_a_prune(world: World) -> None:
    evidence = world.client.get("/v1/evidence").json()
    prune(world)
    assert world.client.get("/v1/evidence").json() == evidence
    assert world.client.get(f"/v1/searches/{world.ids['old']}").status_code == 404
    trained = world.client.get(f"/v1/verifications/{world.ids['new training']}").json()
    assert trained["search"] == str(world.ids["old, trained lately"])
    ranking = world.client.get(f"/v1/searches/{trained['search']}/architectures").json()
    assert len(ranking["items"]) == 3


def test_prune_deletes_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.rows()
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    policy = RetentionPolicy(timedelta(days=90), kinds=(SEARCHES, VERIFICATIONS))
    database = world.backend.database
    moment = retention.cutoff(database, policy)
    folder = world.settings.training_dir
    planned = [batch.jobs for batch in retention.prune(database, folder, policy, moment, dry_run=True)]
    batches = list(retention.prune(database, folder, policy, moment))
    assert sum(batch.jobs for batch in batches) == sum(planned) == len(OLD_SEARCHES | OLD_TRAININGS) + 1
    assert max(batch.jobs - batch.rows["exports"] for batch in batches) == 2, "files go with their training"
    assert set(world.ids) - names_left(world) == OLD_SEARCHES | OLD_TRAININGS | {"old, trained long ago"}
    gone(before, world.rows())


def test_jobs_retried_tagged_or_trained_during_a_prune_remain(world: World) -> None:
    """Between selection and deletion one is retried, one tagged, one trained."""
    policy = RetentionPolicy(timedelta(days=90), keep_tagged=True)
    database, folder = world.backend.database, world.settings.training_dir
    moment = retention.cutoff(database, policy)
    looked: list[str] = []

    def take_up(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "verifications.search_id IN" not in statement or looked:
            return  # the first query of references: the candidates have been chosen
        looked.append(statement)
        assert world.client.post(f"/v1/searches/{world.ids['old, failed']}/retry").status_code == 202
        assert world.client.patch(f"/v1/searches/{world.ids['old']}", json={"tags": ["late"]}).status_code == 200

    event.listen(database.engine, "before_cursor_execute", take_up)
    try:
        removed = sum(batch.jobs for batch in retention.prune(database, folder, policy, moment))
    finally:
        event.remove(database.engine, "before_cursor_execute", take_up)
    assert looked
    assert removed == 1
    assert set(world.ids) - names_left(world) == {"old, cancelled"}


def test_a_search_that_is_queued_for_training_during_a_prune_remains(world: World) -> None:
    policy = RetentionPolicy(timedelta(days=90))
    database, folder = world.backend.database, world.settings.training_dir
    criteria = retention._Criteria(SEARCHES, retention.cutoff(database, policy), keep_tagged=False)
    (batch,) = retention._batches(database, criteria, set())
    search_id = world.ids["old"]
    assert search_id in batch
    body = {"search": str(search_id), "dataset": "digits", "recipe": "mlp-paper", "seeds": [0]}
    assert world.client.post("/v1/verifications", json=body).status_code == 202
    assert retention._delete(database, folder, criteria, batch).jobs == len(batch) - 1
    assert "old" in names_left(world)


# by the service itself


def sweeper(world: World, queue: str, **settings: Any) -> Sweeper:
    changed = world.settings.model_copy(update=settings)
    return Sweeper(world.backend.database, changed, lambda queue: None, worker=("test/1", queue))


def test_the_sweeper_prunes_a_batch_each_sweep_and_starts_once_an_hour(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.jobs import sweeper as module

    class Clock:
        moment = 10_000.0

        def monotonic(self) -> float:
            return self.moment

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    sweeping = sweeper(world, "maintenance", retention_days=90.0, retention_keep_tagged=True)
    counts = []
    for _ in range(5):
        sweeping.sweep()
        counts.append(len(set(world.ids) - names_left(world)))
    assert counts == [1, 2, 3, 3, 3], "of each two that are old enough, those that may go"
    assert set(world.ids) - names_left(world) == OLD_SEARCHES - {"old and tagged"}

    world.end("new", world.ids["new"], OLD)
    sweeping.sweep()
    assert "new" in names_left(world), "an hour is not over"
    clock.moment += PRUNE_EVERY_SECONDS
    sweeping.sweep()
    assert "new" not in names_left(world)


DAYS = {"retention_days": 90.0}


@pytest.mark.parametrize(
    ("queue", "settings"), [("maintenance", {}), ("search", DAYS), ("train", DAYS), ("files", DAYS)]
)
def test_only_the_maintenance_worker_prunes_and_only_when_configured(
    world: World, queue: str, settings: dict[str, Any]
) -> None:
    sweeping = sweeper(world, queue, **settings)
    for _ in range(3):
        sweeping.sweep()
    assert names_left(world) == set(world.ids)


# options


@pytest.mark.parametrize(("text", "age"), [("90d", OLD - NEW), ("12h", timedelta(hours=12)), ("6w", timedelta(42))])
def test_ages_are_read_with_their_units(text: str, age: timedelta) -> None:
    assert age_of(text) == age


@pytest.mark.parametrize("text", ["", "90", "d", "0d", "-1d", "1.5d", "90 d", "90m", "1e3d", "9999999d"])
def test_an_invalid_age_is_refused(tmp_path: Path, text: str) -> None:
    done = CliRunner().invoke(
        command_line, ["db", "prune", f"--older-than={text}"], env={"NNMASS_DATA_DIR": str(tmp_path)}
    )
    assert done.exit_code == 2
    assert done.stderr.startswith("nnmass: --older-than must be a number of hours, days or weeks")


def test_prune_in_a_folder_without_a_database_creates_none(tmp_path: Path) -> None:
    environment = {"NNMASS_DATA_DIR": str(tmp_path)}
    done = CliRunner().invoke(command_line, ["db", "prune", "--older-than", AGE], env=environment)
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_prune_counts_rows_of_every_table_that_refers_to_jobs() -> None:
    """A new table that refers to jobs must be added to the counts of a prune."""
    known = {table.__tablename__ for parts in retention.BELONGING.values() for table, _ in parts}
    cascading = {"jobs"}
    for _ in Base.metadata.sorted_tables:
        for table in Base.metadata.sorted_tables:
            keys = (key for column in table.columns for key in column.foreign_keys)
            if any(key.ondelete == "CASCADE" and key.column.table.name in cascading for key in keys):
                cascading.add(table.name)
    assert known == cascading
