"""Clients, workers, zombies and sweepers in concurrent threads on one PostgreSQL."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.errors import Invalid, NotFound, TooMany, WrongState
from app.jobs import lifecycle
from app.jobs.lifecycle import TRANSITIONS, Claim, State
from app.searches import service
from app.storage.db import Database
from app.storage.ids import new_id
from app.storage.models import Job
from tests.conftest import BOTH, POSTGRES, Backend
from tests.jobs.queue_model import MOST_ATTEMPTS, Known
from tests.jobs.stored_searches import BODIES, LEASE_SECONDS, OWNERS, QUEUE, ago, needs_sweep, read_back, save, sweep

THREADS, STEPS, KEYS = 8, 60, 3
ROOM = 5
POSTGRESQL = pytest.param(POSTGRES, marks=pytest.mark.servers)


@dataclass
class Reported:
    """The answers that the threads got; each list is only appended to."""

    made: list[UUID] = field(default_factory=list)
    deleted: list[UUID] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    accepted: list[Claim] = field(default_factory=list)
    answers: list[tuple[str, Any]] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


class Actor:
    """One thread's random acts. It keeps every claim that it ever had, and so it is a zombie, too."""

    def __init__(self, database: Database, reported: Reported, name: int, seed: int) -> None:
        self.database = database
        self.reported = reported
        self.name = f"w{name}"
        self.random = Random(f"{seed}.{name}")
        self.claims: list[Claim] = []

    def write(self, act: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with self.database.write() as session:
            return act(session, *args, **options)

    def run(self, start: threading.Barrier) -> None:
        acts = (*[self.submit] * 2, *[self.claim] * 3, *[self.work] * 4, self.curate, self.expire, self.sweep)
        try:
            start.wait()
            for _ in range(STEPS):
                self.random.choice(acts)()
        except BaseException as error:
            self.reported.errors.append(error)

    def submit(self) -> None:
        key = self.random.choice([None, None, *(f"k{i}" for i in range(KEYS))])
        body = BODIES[self.random.choice(list(BODIES))]
        try:
            answer = self.write(service.submit, OWNERS[0], body, key)
        except Invalid:
            assert key is not None
            return
        if key is not None:
            self.reported.answers.append((key, answer))
        self.reported.made.append(UUID(answer.body["id"]))  # again, where an earlier one answers

    def claim(self) -> None:
        held = self.write(lifecycle.claim, QUEUE, self.name, LEASE_SECONDS)
        if held is not None:
            assert held.attempt <= MOST_ATTEMPTS
            self.claims.append(held)
            self.reported.claims.append(held)

    def work(self) -> None:
        if not self.claims:
            return
        held = self.random.choice(self.claims[-4:])
        act = self.random.choice(["save", "save", "fail", "give up", "release", "add event", "heartbeat"])
        if act == "save" and self.write(save, held):
            self.reported.accepted.append(held)
        elif act == "fail":
            self.write(lifecycle.fail, held, "internal_error", "why")
        elif act == "give up":
            self.write(lifecycle.give_up_attempt, held, "out_of_memory", "killed", MOST_ATTEMPTS)
        elif act == "release":
            self.write(lifecycle.release, held)
        elif act == "add event":
            self.write(lifecycle.add_event, held, "progress", {}, 0.5, self.name)
        elif act == "heartbeat":
            self.write(lifecycle.heartbeat, held, LEASE_SECONDS, 0.25, self.name)

    def curate(self) -> None:
        if not self.reported.made:
            return
        job_id = self.random.choice(self.reported.made)
        act = self.random.choice([service.cancel, service.retry, service.delete])
        with suppress(NotFound, WrongState):
            self.write(act, OWNERS[0], job_id)
            if act is service.delete:
                self.reported.deleted.append(job_id)

    def expire(self) -> None:
        """Let the time of a lease be over."""
        for held in self.claims[-1:]:
            mine = update(Job).where(Job.id == held.job_id, Job.state == State.RUNNING)
            self.write(lambda session, mine=mine: session.execute(mine.values(lease_until=ago(session, 1))))

    def sweep(self) -> None:
        self.write(sweep)


def end_everything(database: Database) -> list[Claim]:
    """Do what is left to do after every worker has died; the claims that this took."""
    survivor = Actor(database, Reported(), 0, 0)
    survivor.write(expire_all)
    survivor.write(sweep)
    for _ in range(THREADS * STEPS):
        known = len(survivor.claims)
        survivor.claim()
        if len(survivor.claims) == known:
            return survivor.claims
        assert survivor.write(save, survivor.claims[-1])
    raise AssertionError("there is no end")


def expire_all(session: Session) -> None:
    session.execute(update(Job).where(Job.state == State.RUNNING).values(lease_until=ago(session, 1)))


@pytest.mark.random_cases(3)
@pytest.mark.parametrize("backend", [POSTGRESQL], indirect=True)
def test_no_job_is_lost_or_completed_twice(backend: Backend, seed: int) -> None:
    reported, start = Reported(), threading.Barrier(THREADS)
    actors = [Actor(backend.database, reported, name, seed) for name in range(THREADS)]
    threads = [threading.Thread(target=actor.run, args=(start,)) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reported.errors == []
    check(backend.database, reported)
    last = end_everything(backend.database)
    reported.claims += last
    reported.accepted += last
    stored = check(backend.database, reported)
    assert {job.state for job in stored.values()} <= {*lifecycle.ENDED}
    with backend.database.read() as session:
        assert not needs_sweep(session)


@pytest.mark.parametrize("backend", [*BOTH], indirect=True)
def test_concurrent_submissions_do_not_exceed_the_limit_of_queued_jobs(backend: Backend) -> None:
    database = Database(backend.settings.sqlalchemy_url, most_waiting=ROOM)
    given_up = [new_id() for _ in range(THREADS)]
    with backend.database.write() as session:
        for job_id in given_up:
            lifecycle.enqueue(session, job_id, kind="search", queue=QUEUE, owner=OWNERS[0])
            lifecycle.cancel(session, job_id)
    start = threading.Barrier(2 * THREADS)

    def take(act: Callable[[Session], Any]) -> bool:
        start.wait()
        try:
            with database.write() as session:
                act(session)
        except TooMany:
            return False
        return True

    def new(session: Session) -> None:
        lifecycle.enqueue(session, new_id(), kind="search", queue=QUEUE, owner=OWNERS[0])

    acts = [new] * THREADS + [partial(lifecycle.retry, job_id=job_id) for job_id in given_up]
    with ThreadPoolExecutor(2 * THREADS) as threads:
        taken = list(threads.map(take, acts))
    database.dispose()
    assert taken.count(True) == ROOM
    with backend.database.read() as session:
        assert session.scalar(select(func.count()).where(Job.state == State.QUEUED)) == ROOM


def check(database: Database, reported: Reported) -> dict[UUID, Known]:
    with database.read() as session:
        stored = read_back(session)
    assert len(set(reported.deleted)) == len(reported.deleted), "two got the answer that they deleted it"
    assert set(stored) == set(reported.made) - set(reported.deleted)
    answers = defaultdict(list)
    for key, answer in reported.answers:
        answers[key].append(answer)
    assert all(answer == given[0] for given in answers.values() for answer in given)

    fences = defaultdict(list)
    for held in reported.claims:
        fences[held.job_id].append(held.fence)
    accepted = dict(Counter(held.job_id for held in reported.accepted))
    assert set(accepted.values()) <= {1}, "two results were accepted"
    for job_id, job in stored.items():
        if job.source is not None and job.state == "succeeded":
            assert (job.fence, job.reported) == (0, [("done", "succeeded", 1.0, "finished")])
            continue
        assert sorted(fences[job_id]) == list(range(1, job.fence + 1))
        assert [event[:2] for event in job.reported].count(("status", "running")) == job.fence
        assert (job.state == "succeeded") == (job_id in accepted)
        assert job.accepted in (None, job.fence), "a zombie's result was accepted"
        assert job.accepted == next((held.fence for held in reported.accepted if held.job_id == job_id), None)
        assert job.attempt <= MOST_ATTEMPTS
        states = [State(event[1]) for event in job.reported]
        assert states[0] == State.QUEUED
        assert states[-1] == job.state
        assert all(before == after or after in TRANSITIONS[before] for before, after in pairwise(states))
        assert all((event == "done") == (state in lifecycle.ENDED) for event, state, *_ in job.reported)
    return stored
