"""The life of a job: claims, leases, fences, cancels and sweeps, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, select, update

from app.jobs import lifecycle
from app.jobs.lifecycle import TRANSITIONS, Claim, State
from app.storage.db import Database, now
from app.storage.ids import new_id
from app.storage.models import IdempotencyKey, Job, JobEvent
from tests.conftest import Backend
from tests.parsed import parsed
from worker.heartbeat import Heartbeat
from worker.process import Context

SWEEP: dict[str, Any] = {"renotify_seconds": 4.0, "most_attempts": 3}


@pytest.fixture
def database(backend: Backend) -> Database:
    """A database in which a search worker has lately shown itself."""
    with backend.database.write() as session:
        lifecycle.beat(session, "test/1", "search")
    return backend.database


def add(database: Database, queue: str = "search") -> UUID:
    with database.write() as session:
        return lifecycle.enqueue(session, new_id(), kind="search", queue=queue, owner="local").id


def claim(database: Database, lease_seconds: float = 15.0) -> Claim | None:
    with database.write() as session:
        return lifecycle.claim(session, "search", "test/1", lease_seconds)


def must_claim(database: Database, lease_seconds: float = 15.0) -> Claim:
    held = claim(database, lease_seconds)
    assert held is not None
    return held


def look(database: Database, job_id: UUID) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def sweep(database: Database) -> lifecycle.Sweep:
    with database.write() as session:
        return lifecycle.sweep(session, **SWEEP)


def beat(database: Database, held: Claim) -> bool:
    with database.write() as session:
        return lifecycle.heartbeat(session, held, 15.0, 0.5, "halfway")


def succeed(database: Database, held: Claim) -> bool:
    with database.write() as session:
        return lifecycle.succeed(session, held)


def age(database: Database, job_id: UUID, **moments: timedelta) -> None:
    """Move some of a job's moments into the past."""
    with database.write() as session:
        moment = now(session)
        values = {name: moment - ago for name, ago in moments.items()}
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def test_jobs_are_claimed_oldest_first_and_once(database: Database) -> None:
    added = [add(database) for _ in range(3)]
    claimed = [must_claim(database) for _ in range(3)]
    assert [held.job_id for held in claimed] == added
    assert [(held.fence, held.attempt) for held in claimed] == [(1, 1)] * 3
    assert claim(database) is None


def test_a_queue_claims_only_its_own_jobs(database: Database) -> None:
    add(database, queue="train")
    assert claim(database) is None


def test_concurrent_claims_never_share_a_job(database: Database) -> None:
    added = {add(database) for _ in range(24)}
    claimed: list[UUID] = []

    def work() -> None:
        while (held := claim(database)) is not None:
            claimed.append(held.job_id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 24
    assert set(claimed) == added


def test_an_expired_lease_requeues_the_job_and_blocks_writes_of_the_old_worker(database: Database) -> None:
    job_id = add(database)
    old = must_claim(database)
    assert sweep(database).requeued == 0
    age(database, job_id, lease_until=timedelta(seconds=1))
    assert sweep(database) == lifecycle.Sweep(1, 0, {"search": 1})
    assert look(database, job_id).state == State.QUEUED

    new = must_claim(database)
    assert (new.fence, new.attempt) == (2, 2)
    assert not beat(database, old)
    assert not succeed(database, old)
    with database.write() as session:
        assert not lifecycle.fail(session, old, "x", "late")
        assert not lifecycle.release(session, old)
    assert beat(database, new)
    assert succeed(database, new)
    assert look(database, job_id).state == State.SUCCEEDED


def test_a_heartbeat_renews_the_lease_and_stores_the_progress(database: Database) -> None:
    job_id = add(database)
    held = must_claim(database, lease_seconds=1.0)
    before = look(database, job_id)
    assert beat(database, held)
    after = look(database, job_id)
    assert before.lease_until is not None
    assert after.lease_until is not None
    assert after.lease_until - before.lease_until > timedelta(seconds=10)
    assert (after.progress_fraction, after.progress_message) == (0.5, "halfway")


def test_a_job_whose_worker_dies_three_times_fails(database: Database) -> None:
    job_id = add(database)
    for attempt in (1, 2, 3):
        assert must_claim(database).attempt == attempt
        age(database, job_id, lease_until=timedelta(seconds=1))
        done = sweep(database)
        assert (done.requeued, done.failed) == ((1, 0) if attempt < 3 else (0, 1))
    job = look(database, job_id)
    assert (job.state, job.error_code, job.attempt) == (State.FAILED, "worker_lost", 3)
    assert job.finished_at is not None
    assert claim(database) is None


def test_a_lease_that_ends_during_a_sweep_gives_no_extra_attempt(database: Database) -> None:
    job_id = add(database)
    must_claim(database)
    with database.write() as session:
        session.execute(update(Job).values(attempt=3))
    updates: list[str] = []

    def meanwhile(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("UPDATE jobs"):
            updates.append(statement)
            if len(updates) == 2:
                cursor.execute("UPDATE jobs SET lease_until = '1970-01-01 00:00:00.000000'")

    event.listen(database.engine, "before_cursor_execute", meanwhile)
    assert sweep(database) == lifecycle.Sweep(0, 0, {})
    event.remove(database.engine, "before_cursor_execute", meanwhile)
    assert look(database, job_id).state == State.RUNNING
    assert sweep(database) == lifecycle.Sweep(0, 1, {})


def test_a_released_job_does_not_count_as_an_attempt(database: Database) -> None:
    job_id = add(database)
    with database.write() as session:
        held = lifecycle.claim(session, "search", "test/1", 15.0)
        assert held is not None
        assert lifecycle.release(session, held)
    assert (look(database, job_id).state, look(database, job_id).attempt) == (State.QUEUED, 0)
    assert sweep(database).notifications == {"search": 1}
    assert must_claim(database).attempt == 1


def test_writes_to_a_cancelled_job_are_refused(database: Database) -> None:
    job_id = add(database)
    held = must_claim(database)
    with database.write() as session:
        assert lifecycle.cancel(session, job_id)
        assert not lifecycle.cancel(session, job_id)
    assert not beat(database, held)
    assert not succeed(database, held)
    job = look(database, job_id)
    assert (job.state, job.lease_until) == (State.CANCELLED, None)
    assert job.finished_at is not None


@pytest.mark.parametrize("state", State)
def test_a_job_is_deleted_with_its_events_unless_it_is_running(database: Database, state: State) -> None:
    job_id, other = add(database), add(database)
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(state=state))
    assert written(database, lifecycle.delete, job_id) == (state is not State.RUNNING)
    with database.read() as session:
        left = set(session.scalars(select(JobEvent.job_id))), set(session.scalars(select(Job.id)))
    assert left == (({job_id, other},) * 2 if state is State.RUNNING else ({other},) * 2)
    assert not written(database, lifecycle.delete, new_id())


@pytest.mark.parametrize("end", [State.SUCCEEDED, State.FAILED])
def test_an_ended_job_is_not_cancelled(database: Database, end: State) -> None:
    job_id = add(database)
    held = must_claim(database)
    with database.write() as session:
        assert lifecycle.succeed(session, held) if end == State.SUCCEEDED else lifecycle.fail(session, held, "x", "why")
    with database.write() as session:
        assert not lifecycle.cancel(session, job_id)
    assert look(database, job_id).state == end


def test_unclaimed_jobs_are_notified_again_a_limited_number_of_times(database: Database) -> None:
    added = [add(database) for _ in range(20)]
    assert sweep(database).notifications == {}
    for job_id in added:
        age(database, job_id, notified_at=timedelta(seconds=5))
    with database.read() as session:
        assert lifecycle.needs_sweep(session, renotify_seconds=4.0)
    assert sweep(database).notifications == {"search": lifecycle.MAX_NOTIFICATIONS}
    assert sweep(database).notifications == {}
    with database.read() as session:
        assert not lifecycle.needs_sweep(session, renotify_seconds=4.0)
    must_claim(database)
    assert sweep(database).notifications == {"search": 1}, "the next ones are notified when they are first in the queue"


def test_a_sweep_of_a_long_queue_writes_only_the_jobs_that_it_notifies(database: Database) -> None:
    added = [add(database) for _ in range(20)]
    for job_id in added:
        age(database, job_id, notified_at=timedelta(seconds=5))
    before = {job_id: look(database, job_id).notified_at for job_id in added}
    sweep(database)
    notified = [job_id for job_id in added if look(database, job_id).notified_at != before[job_id]]
    assert notified == sorted(added)[: lifecycle.MAX_NOTIFICATIONS]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_sweep_does_not_read_every_job(database: Database) -> None:
    statements: list[tuple[str, Any]] = []
    record = lambda *context: statements.append((context[2], context[3]))  # noqa: E731 - its arguments are many
    event.listen(database.engine, "before_cursor_execute", record)
    with database.read() as session:
        lifecycle.needs_sweep(session, renotify_seconds=4.0)
    event.remove(database.engine, "before_cursor_execute", record)
    of_jobs = [(statement, values) for statement, values in statements if "FROM jobs" in statement]
    with database.engine.connect() as connection:
        plans = [connection.exec_driver_sql(f"explain query plan {query}", values).all() for query, values in of_jobs]
    steps = [step[-1] for plan in plans for step in plan if "SUBQUERY" not in step[-1]]
    assert steps
    assert all("USING" in step for step in steps), steps


def test_old_idempotency_keys_are_deleted_in_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "MOST_FORGOTTEN", 2)
    row = {"owner": "ann", "fingerprint": "0" * 64, "status": 202, "location": "/", "body": {}}
    with database.write() as session:
        moment = now(session)
        old = [IdempotencyKey(key=f"old{n}", created_at=moment - timedelta(hours=25), **row) for n in range(5)]
        session.add_all([*old, IdempotencyKey(key="new", created_at=moment - timedelta(hours=23), **row)])
    more = []
    for _ in range(3):
        with database.write() as session:
            more.append(lifecycle.tidy(session))
    assert more == [True, True, False]
    with database.read() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["new"]


def test_queues_without_a_worker_are_not_notified(database: Database) -> None:
    job_id = add(database, queue="train")
    age(database, job_id, notified_at=timedelta(seconds=60))
    with database.read() as session:
        assert not lifecycle.needs_sweep(session, renotify_seconds=4.0)
    assert sweep(database).notifications == {}


def test_a_notification_is_sent_after_the_commit_and_dropped_on_rollback(backend: Backend) -> None:
    notified: list[tuple[str, int]] = []

    def notify(queue: str) -> None:
        with backend.database.read() as session:
            notified.append((queue, session.execute(select(func.count()).select_from(Job)).scalar_one()))

    database = Database(backend.settings.sqlalchemy_url, announce=notify)

    def change_my_mind() -> None:
        with database.write() as session:
            lifecycle.enqueue(session, new_id(), kind="search", queue="search", owner="local")
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        change_my_mind()
    assert notified == []
    add(database)
    assert notified == [("search", 1)]
    database.dispose()


def test_the_table_of_transitions_covers_every_state(database: Database) -> None:
    assert {state for targets in TRANSITIONS.values() for state in targets} == set(State)
    assert [state for state, targets in TRANSITIONS.items() if not targets] == [State.SUCCEEDED]


def test_ids_sort_by_creation_time() -> None:
    made = [new_id() for _ in range(2000)]
    assert len(set(made)) == 2000
    assert made == sorted(made)
    assert {id_.version for id_ in made} == {7}


Reported = tuple[str, str, float, str]
"""An event: its name, the job's state, fraction and message."""

QUEUED: Reported = ("status", "queued", 0.0, "waiting for a worker")
RUNNING: Reported = ("status", "running", 0.0, "started")


def events(database: Database, job_id: UUID) -> list[Reported]:
    """Return the events of a job, after a check that they are numbered and dated in order."""
    with database.read() as session:
        rows, last = lifecycle.events_after(session, job_id, 0, 10_000)
        assert session.get_one(Job, job_id).event_count == last
    assert [row.number for row in rows] == list(range(1, last + 1))
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    found = [(row.event, parsed(row.data)) for row in rows]
    return [(event, data["status"], data["fraction"], data["message"]) for event, data in found]


def written(database: Database, act: Callable[..., bool], *args: Any, **options: Any) -> bool:
    with database.write() as session:
        return act(session, *args, **options)


def test_every_change_is_one_event_in_order(database: Database) -> None:
    job_id = add(database)
    held = must_claim(database)
    assert beat(database, held)
    assert written(database, lifecycle.heartbeat, held, 15.0, 0.6, "unsaid", report=False)
    assert written(database, lifecycle.add_event, held, "progress", {"epoch": {"epoch": 1}}, 0.7, "epoch 1")
    assert written(database, lifecycle.release, held)
    must_claim(database)
    age(database, job_id, lease_until=timedelta(seconds=1))
    sweep(database)
    assert written(database, lifecycle.give_up_attempt, must_claim(database), "out_of_memory", "killed", 3)
    assert written(database, lifecycle.cancel, job_id)
    assert written(database, lifecycle.retry, job_id)
    assert succeed(database, must_claim(database))
    assert events(database, job_id) == [
        QUEUED,
        RUNNING,
        ("progress", "running", 0.5, "halfway"),
        ("progress", "running", 0.7, "epoch 1"),
        QUEUED,
        RUNNING,
        QUEUED,
        RUNNING,
        QUEUED,
        ("done", "cancelled", 0.0, "cancelled"),
        QUEUED,
        RUNNING,
        ("done", "succeeded", 1.0, "finished"),
    ]
    with database.read() as session:
        fourth = session.get_one(JobEvent, (job_id, 4))
    assert fourth.data == {"epoch": {"epoch": 1}, "status": "running", "fraction": 0.7, "message": "epoch 1"}


@pytest.mark.parametrize("how", ["fail", "sweep", "give_up"])
def test_a_failure_is_the_last_event(database: Database, how: str) -> None:
    job_id = add(database)
    for _ in range(3):
        held = must_claim(database)
        if how == "fail":
            assert written(database, lifecycle.fail, held, "x", "why")
            break
        if how == "give_up":
            assert written(database, lifecycle.give_up_attempt, held, "x", "why", 3)
        else:
            age(database, job_id, lease_until=timedelta(seconds=1))
            sweep(database)
    assert look(database, job_id).error_code == ("worker_lost" if how == "sweep" else "x")
    reported = events(database, job_id)
    assert reported[-1][:2] == ("done", "failed")
    assert reported[:-1] == [QUEUED, RUNNING] * (1 if how == "fail" else 3)


def test_a_sweep_adds_an_event_to_each_job_that_it_changes(database: Database) -> None:
    added = [add(database) for _ in range(4)]
    for _ in added:
        must_claim(database)
    with database.write() as session:
        session.execute(update(Job).where(Job.id.in_(added[:2])).values(attempt=3))
    for job_id in added:
        age(database, job_id, lease_until=timedelta(seconds=1))
    done = sweep(database)
    assert (done.requeued, done.failed) == (2, 2)
    assert [events(database, job_id)[-1][0] for job_id in added] == ["done", "done", "status", "status"]
    assert [len(events(database, job_id)) for job_id in added] == [3] * 4


def test_writes_with_a_lost_fence_add_no_events(database: Database) -> None:
    job_id = add(database)
    old = must_claim(database)
    assert written(database, lifecycle.holds, old)
    age(database, job_id, lease_until=timedelta(seconds=1))
    sweep(database)
    must_claim(database)
    before = events(database, job_id)
    assert not written(database, lifecycle.holds, old)
    assert not beat(database, old)
    assert not written(database, lifecycle.add_event, old, "progress", {"epoch": {}}, 0.9, "late")
    assert not succeed(database, old)
    assert not written(database, lifecycle.fail, old, "x", "late")
    assert not written(database, lifecycle.release, old)
    assert not written(database, lifecycle.give_up_attempt, old, "x", "late", 3)
    assert not written(database, lifecycle.give_up_attempt, old, "x", "late", 1)
    assert events(database, job_id) == before


def test_a_rollback_removes_the_event(database: Database) -> None:
    job_id = add(database)
    held = must_claim(database)

    def change_my_mind() -> None:
        with database.write() as session:
            assert lifecycle.succeed(session, held)
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        change_my_mind()
    assert events(database, job_id) == [QUEUED, RUNNING]


def test_event_numbers_of_concurrent_writers_have_no_gap(database: Database) -> None:
    job_id = add(database)
    held = must_claim(database)
    reported: list[bool] = []

    def work(writer: int) -> None:
        for i in range(10):
            text = f"{writer}.{i}"
            reported.append(written(database, lifecycle.add_event, held, "progress", {"writer": writer}, 0.5, text))

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    written(database, lifecycle.cancel, job_id)
    for thread in threads:
        thread.join()
    seen = events(database, job_id)
    assert len(reported) == 80
    assert len(seen) == 2 + sum(reported) + 1
    assert seen[-1] == ("done", "cancelled", seen[-2][2], "cancelled")


@pytest.mark.parametrize("end", [State.FAILED, State.CANCELLED])
def test_a_retried_job_starts_with_no_attempts_and_no_progress(backend: Backend, end: State) -> None:
    notified: list[str] = []
    database = Database(backend.settings.sqlalchemy_url, announce=notified.append)
    job_id = add(database)
    for _ in range(3):
        held = must_claim(database)
        assert written(database, lifecycle.give_up_attempt, held, "out_of_memory", "killed", 4)
    held = must_claim(database)
    assert (
        written(database, lifecycle.fail, held, "x", "why")
        if end == State.FAILED
        else written(database, lifecycle.cancel, job_id)
    )
    notified.clear()
    assert written(database, lifecycle.retry, job_id)
    assert notified == ["search"]
    job = look(database, job_id)
    assert (job.state, job.attempt, job.progress_fraction, job.error_code) == (State.QUEUED, 0, 0.0, None)
    assert (job.error_message, job.started_at, job.finished_at, job.lease_until) == (None, None, None, None)
    assert not beat(database, held)
    again = must_claim(database)
    assert (again.attempt, again.fence) == (1, 5)
    database.dispose()


def test_only_failed_or_cancelled_jobs_are_retried(database: Database) -> None:
    job_id = add(database)
    assert not written(database, lifecycle.retry, job_id)
    held = must_claim(database)
    assert not written(database, lifecycle.retry, job_id)
    assert succeed(database, held)
    assert not written(database, lifecycle.retry, job_id)
    assert not written(database, lifecycle.retry, new_id())
    assert len(events(database, job_id)) == 3


def test_an_abandoned_attempt_counts_once(database: Database) -> None:
    job_id = add(database)
    for attempt in (1, 2):
        held = must_claim(database)
        assert held.attempt == attempt
        assert written(database, lifecycle.give_up_attempt, held, "out_of_memory", "killed", 3)
        job = look(database, job_id)
        assert (job.state, job.attempt, job.error_code) == (State.QUEUED, attempt, None)
        assert sweep(database) == lifecycle.Sweep(0, 0, {"search": 1})
    assert written(database, lifecycle.give_up_attempt, must_claim(database), "out_of_memory", "killed", 3)
    job = look(database, job_id)
    assert (job.state, job.attempt, job.error_code, job.error_message) == ("failed", 3, "out_of_memory", "killed")


def test_the_heartbeat_reports_only_changes(backend: Backend) -> None:
    settings = backend.settings.model_copy(update={"heartbeat_seconds": 0.02})
    job_id = add(backend.database)
    held = must_claim(backend.database)
    with Heartbeat(Context(settings, backend.database, "test/1"), held) as heartbeat:
        for fraction, message in ((0.0, "started"), (0.004, "looking"), (0.5, "halfway"), (0.501, "at b"), (0.6, "c")):
            heartbeat.report(fraction, message)
            for _ in range(200):  # until a heartbeat has stored it, and the next one could have reported it
                threading.Event().wait(0.02)
                if look(backend.database, job_id).progress_fraction == fraction:
                    break
            threading.Event().wait(0.1)
        with heartbeat.reporting(0.7, "reported otherwise"):
            pass
        threading.Event().wait(0.2)
    assert events(backend.database, job_id) == [
        QUEUED,
        RUNNING,
        ("progress", "running", 0.5, "halfway"),
        ("progress", "running", 0.6, "c"),
    ]


def test_a_change_of_the_message_is_reported_after_a_delay(worker: Context) -> None:
    heartbeat = Heartbeat(worker, Claim(new_id(), 1, 1))
    assert not heartbeat._worth_reporting(0.004, "other")
    assert heartbeat._worth_reporting(0.006, "started")
    heartbeat._reported_at -= 10.0
    assert heartbeat._worth_reporting(0.004, "other")
    assert not heartbeat._worth_reporting(0.0, "started")
