"""How a worker runs a search, and what it does on errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, select, update

from app.jobs import lifecycle
from app.searches import service
from app.searches.schemas import SearchBody
from app.storage.db import Database
from app.storage.models import Job, RankedArchitecture, Search
from nnmass_core.request import VERSION
from tests.conftest import POSTGRES, Backend
from worker import process, search_tasks
from worker.process import Context

SMALL: dict[str, Any] = {"space": "densenet-tiny-free", "budget": {"max_params": 100_000}, "fresh": True}
# eight cells with 1,000 results of different shapes: long enough to be interrupted
LONG: dict[str, Any] = {
    "space": {
        "family": "densenet_cnn",
        "input": {"channels": 3, "height": 512, "width": 512},
        "num_classes": 10,
        "cells": 8,
        "width": {"min": 16, "max": 256, "step": 8},
        "depth": {"min": 4, "max": 32},
        "skip_channels": {"min": 0, "max": 512, "step": 4},
    },
    "budget": {"max_params": 3_000_000, "max_macs": 10**9, "max_weight_bytes": 11_000_000},
    "top_k": 1000,
    "diversity": "shape",
    "fresh": True,
}


def submit(database: Database, body: dict[str, Any]) -> UUID:
    with database.write() as session:
        return UUID(str(service.submit(session, "local", SearchBody.model_validate(body), None).body["id"]))


def look(database: Database, search_id: UUID) -> tuple[Job, Search, int]:
    with database.read() as session:
        places = select(func.count()).where(RankedArchitecture.search_id == search_id)
        return session.get_one(Job, search_id), session.get_one(Search, search_id), session.execute(places).scalar_one()


def impatient(worker: Context) -> Context:
    return replace(worker, settings=worker.settings.model_copy(update={"heartbeat_seconds": 0.05}))


def test_a_worker_with_an_empty_queue_does_nothing(worker: Context) -> None:
    assert not search_tasks.run_next(worker)


def test_a_repeated_search_gives_the_same_result(worker: Context) -> None:
    first, second = submit(worker.database, SMALL), submit(worker.database, SMALL)
    assert search_tasks.run_next(worker)
    assert search_tasks.run_next(worker)
    digests = {look(worker.database, search_id)[1].result_digest for search_id in (first, second)}
    assert len(digests) == 1
    assert None not in digests


def test_a_cancelled_search_stops_and_stores_nothing(worker: Context) -> None:
    worker = impatient(worker)
    search_id = submit(worker.database, LONG)

    def cancel() -> None:
        with worker.database.write() as session:
            assert lifecycle.cancel(session, search_id)

    _when_running(worker.database, search_id, cancel, lambda: search_tasks.run_next(worker))
    job, search, places = look(worker.database, search_id)
    assert (job.state, search.result, places) == ("cancelled", None, 0)


def test_a_search_requeued_by_the_sweeper_is_finished_by_the_next_worker(worker: Context) -> None:
    worker = impatient(worker)
    search_id = submit(worker.database, LONG)

    def take_back() -> None:
        with worker.database.write() as session:
            session.execute(update(Job).where(Job.id == search_id).values(state="queued"))
            other = lifecycle.claim(session, "search", "test/2", 60.0)
            assert other is not None
            assert other.fence == 2

    _when_running(worker.database, search_id, take_back, lambda: search_tasks.run_next(worker))
    job, search, places = look(worker.database, search_id)
    assert (job.state, job.worker, search.result, places) == ("running", "test/2", None, 0)


def test_a_worker_that_shuts_down_requeues_its_search(worker: Context, is_stopping: None) -> None:
    search_id = submit(worker.database, LONG)
    assert search_tasks.run_next(worker)
    job, search, _ = look(worker.database, search_id)
    assert (job.state, job.attempt, search.result) == ("queued", 0, None)


def test_a_search_that_raises_fails_with_its_reason(worker: Context) -> None:
    search_id = submit(worker.database, SMALL)
    with worker.database.write() as session:
        session.get_one(Search, search_id).request = {"space": "of a version that is gone"}
    assert search_tasks.run_next(worker)
    job, _, _ = look(worker.database, search_id)
    assert (job.state, job.error_code) == ("failed", "internal_error")
    assert "DefinitionError" in str(job.error_message)


def test_a_queued_search_that_the_schema_no_longer_accepts_succeeds(worker: Context) -> None:
    search_id = submit(worker.database, SMALL)
    with worker.database.write() as session:
        row = session.get_one(Search, search_id)
        row.request = {**row.request, "removed_in_a_later_release": True}
    assert search_tasks.run_next(worker)
    job, search, places = look(worker.database, search_id)
    assert (job.state, places) == ("succeeded", search.request["top_k"])


def test_a_search_stored_by_a_newer_release_fails_with_that_reason(worker: Context) -> None:
    search_id = submit(worker.database, SMALL)
    with worker.database.write() as session:
        session.get_one(Search, search_id).request_version = VERSION + 1
    assert search_tasks.run_next(worker)
    job, _, _ = look(worker.database, search_id)
    assert (job.state, job.error_code) == ("failed", "unknown_version")
    assert "version: is 3, and this release reads at most 2" in str(job.error_message)


def test_progress_is_stored_while_a_search_runs(worker: Context) -> None:
    worker = impatient(worker)
    search_id = submit(worker.database, LONG)
    seen: list[str] = []

    def read_and_cancel() -> None:
        while not seen:
            message = look(worker.database, search_id)[0].progress_message
            if "examined" in message or "building" in message:
                seen.append(message)
        with worker.database.write() as session:
            lifecycle.cancel(session, search_id)

    _when_running(worker.database, search_id, read_and_cancel, lambda: search_tasks.run_next(worker))
    assert seen


@pytest.fixture
def is_stopping() -> Iterator[None]:
    process._stopping().set()
    yield
    process._stopping().clear()


def _when_running(database: Database, search_id: UUID, act: Callable[[], None], run: Callable[[], bool]) -> None:
    """Run a search in this thread, and act from another once it runs."""

    def wait_and_act() -> None:
        deadline = time.monotonic() + 20
        while look(database, search_id)[0].state != "running" and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    actor = threading.Thread(target=wait_and_act)
    actor.start()
    assert run()
    actor.join()


@pytest.mark.parametrize("backend", [POSTGRES], indirect=True)
def test_a_search_takes_few_statements_from_its_claim_to_its_end(worker: Context) -> None:
    """Each is a round trip, in which a worker of small searches spends most of its time."""
    submit(worker.database, SMALL)
    sent: list[str] = []
    note = lambda *context: sent.append(context[2])  # noqa: E731 - its arguments are many
    event.listen(worker.database.engine, "before_cursor_execute", note)
    assert search_tasks.run_next(worker)
    event.remove(worker.database.engine, "before_cursor_execute", note)
    assert len(sent) <= 11, sent


@pytest.mark.parametrize("backend", [POSTGRES], indirect=True)
def test_a_fresh_search_is_submitted_with_few_statements(backend: Backend) -> None:
    database = Database(backend.settings.sqlalchemy_url, most_waiting=1000)
    sent: list[str] = []
    note = lambda *context: sent.append(context[2])  # noqa: E731 - its arguments are many
    event.listen(database.engine, "before_cursor_execute", note)
    submit(database, SMALL)
    database.dispose()
    assert len(sent) <= 6, sent
