"""The queue compared with its model, through any interleaving of clients, workers, zombies and sweepers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from typing import Any, TypeVar
from uuid import UUID

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from app.errors import Invalid, NotFound, WrongState
from app.jobs import lifecycle
from app.jobs.lifecycle import TRANSITIONS, Claim, State
from app.searches import service
from app.storage.db import Database
from app.storage.models import IdempotencyKey, Job, WorkerBeat
from tests.conftest import Backend
from tests.jobs.queue_model import MOST_ATTEMPTS, First, Held, Known, Queue, Submitted
from tests.jobs.stored_searches import (
    BODIES,
    LEASE_SECONDS,
    OWNERS,
    QUEUE,
    RENOTIFY_SECONDS,
    ago,
    needs_sweep,
    read_back,
    rows_of,
    save,
    sweep,
)

KEYS, WORKERS = ("k1", "k2"), ("w1", "w2", "w3")
SUBMISSIONS = list(product(OWNERS, BODIES, (None, *KEYS)))
NUMBER = st.integers(0, len(SUBMISSIONS) - 1)
MOST_JOBS, MOST_ZOMBIES = 4, 3
T = TypeVar("T")


class Died(Exception):
    """A process died in the middle of a transaction."""


def save_and_die(session: Session, held: Claim) -> None:
    save(session, held)
    sweep(session)
    raise Died


class Machine(RuleBasedStateMachine):
    """Does to the real queue and to the model what the steps say, and compares them after every step.

    A step takes a number, which counts among the jobs or claims that it can be about; where there are none it does
    nothing. All are of one rule, since hypothesis would leave most rules out of most runs, and to lose a worker, a
    lease and a race takes many of them.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.model = Queue()
        self.states: dict[UUID, State] = {}
        self.claims: list[Claim] = []
        self.waited: list[UUID] = []
        with database.write() as session:
            for model in (Job, IdempotencyKey, WorkerBeat):  # the rest goes with its job
                session.execute(delete(model))

    def write(self, act: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with self.database.write() as session:
            return act(session, *args, **options)

    def read(self, look: Callable[[Session], Any]) -> Any:
        with self.database.read() as session:
            return look(session)

    @contextmanager
    def nothing_changes(self) -> Iterator[None]:
        before = self.read(rows_of)
        yield
        assert self.read(rows_of) == before

    @initialize(number=NUMBER)
    def begin(self, number: int) -> None:
        for i in range(2):
            self.submit(number + i)

    # clients

    def submit(self, number: int) -> None:
        owner, submitted, key = chosen(SUBMISSIONS, number)
        first = self.model.keys.get((owner, key or ""))
        if first is not None:
            self.submit_again(owner, submitted, key, first)
        elif len(self.model.jobs) < MOST_JOBS:
            self.submit_new(owner, submitted, key)

    def repeat(self, number: int) -> None:
        """Send a request once more that carried a key."""
        for (owner, key), first in at(sorted(self.model.keys.items(), key=lambda item: item[0]), number):
            self.submit_again(owner, first.submitted, key, first)

    def submit_new(self, owner: str, submitted: Submitted, key: str | None) -> None:
        reused = self.model.reusable(owner, submitted)
        answer = self.write(service.submit, owner, BODIES[submitted], key)
        job_id = UUID(answer.body["id"])
        if key is not None:
            self.model.keys[owner, key] = First(submitted, answer)
        if reused is None:
            assert job_id not in self.states, "an id was given twice"
            self.model.add(job_id, owner, submitted)
            self.states[job_id] = State(self.model.jobs[job_id].state)
        else:
            assert job_id == reused
        state, source = self.model.jobs[job_id].state, self.model.jobs[job_id].source
        assert answer.status == (200 if state == "succeeded" else 202)
        assert (answer.body["status"], answer.body["reused"]) == (state, reused is not None or source is not None)
        assert answer.body["reused_from"] == (None if source is None else str(source))
        assert (answer.body["result"] is not None) == (state == "succeeded")
        assert answer.location == f"/v1/searches/{job_id}"

    def submit_again(self, owner: str, submitted: Submitted, key: str | None, first: First) -> None:
        with self.nothing_changes():
            if submitted == first.submitted:
                assert self.write(service.submit, owner, BODIES[submitted], key) == first.answer
            else:
                with pytest.raises(Invalid):
                    self.write(service.submit, owner, BODIES[submitted], key)

    def cancel(self, number: int) -> None:
        for job_id, job in self.job(number):
            self.model.cancel(job_id)
            assert self.write(service.cancel, job.owner, job_id).job.state == job.state

    def retry(self, number: int) -> None:
        for job_id, job in self.job(number):
            if job.state == "succeeded":
                self.refused(service.retry, job.owner, job_id)
                continue
            queued = self.model.retry(job_id)
            found, reported = self.write(service.retry, job.owner, job_id)
            assert (found.job.state, reported) == (job.state, queued)

    def delete(self, number: int) -> None:
        for job_id, job in self.job(number):
            if job.state == "running":
                self.refused(service.delete, job.owner, job_id)
                continue
            self.write(service.delete, job.owner, job_id)
            del self.model.jobs[job_id]
            self.unknown(job.owner, job_id)

    def meddle(self, number: int) -> None:
        """Try another owner's search."""
        for job_id, job in self.job(number):
            (stranger,) = (owner for owner in OWNERS if owner != job.owner)
            self.unknown(stranger, job_id)

    def job(self, number: int) -> list[tuple[UUID, Known]]:
        return at(sorted(self.model.jobs.items(), key=lambda item: item[0]), number)

    def refused(self, act: Callable[..., Any], owner: str, job_id: UUID) -> None:
        with self.nothing_changes(), pytest.raises(WrongState):
            self.write(act, owner, job_id)

    def unknown(self, owner: str, job_id: UUID) -> None:
        with self.nothing_changes():
            for act in (service.cancel, service.retry, service.delete):
                with pytest.raises(NotFound):
                    self.write(act, owner, job_id)

    # workers, also those that were given up for dead

    def claim(self, number: int) -> None:
        worker = chosen(WORKERS, number)
        expected = self.model.claim(worker)
        held = self.write(lifecycle.claim, QUEUE, worker, LEASE_SECONDS)
        if expected is None:
            assert held is None
            return
        attempt = self.model.jobs[expected.job_id].attempt
        assert held == Claim(expected.job_id, expected.fence, attempt)
        assert attempt <= MOST_ATTEMPTS
        assert expected not in map(of, self.claims), "two claims share a fence"
        self.claims.append(held)

    def heartbeat(self, number: int) -> None:
        for held, known in self.held(number):
            report = number % 2 == 0
            accepted = self.model.progress(known, 0.5, "halfway", renew=True, report=report)
            self.writes(accepted, lifecycle.heartbeat, held, LEASE_SECONDS, 0.5, "halfway", report=report)

    def report(self, number: int) -> None:
        for held, known in self.held(number):
            with self.nothing_changes():
                assert self.write(lifecycle.holds, held) == (self.model.held(known) is not None)
            accepted = self.model.progress(known, 0.75, "epoch 3", renew=False, report=True)
            self.writes(accepted, lifecycle.add_event, held, "progress", {"epoch": {"epoch": 3}}, 0.75, "epoch 3")

    def finish(self, number: int) -> None:
        for held, known in self.held(number):
            self.writes(self.model.finish(known), save, held)

    def fail(self, number: int) -> None:
        for held, known in self.held(number):
            self.writes(self.model.fail(known, "internal_error"), lifecycle.fail, held, "internal_error", "why")

    def give_up(self, number: int) -> None:
        for held, known in self.held(number):
            accepted = self.model.give_up_attempt(known, "out_of_memory")
            self.writes(
                accepted, lifecycle.give_up_attempt, held, "out_of_memory", "killed", most_attempts=MOST_ATTEMPTS
            )

    def release(self, number: int) -> None:
        for held, known in self.held(number):
            self.writes(self.model.release(known), lifecycle.release, held)

    def die_before_the_commit(self, number: int) -> None:
        for held, _ in self.held(number):
            with self.nothing_changes(), pytest.raises(Died):
                self.write(save_and_die, held)

    def held(self, number: int) -> list[tuple[Claim, Held]]:
        """Return a claim that still counts, or one of the last that do not: a zombie's."""
        live = [held for held in self.claims if self.model.held(of(held)) is not None]
        stale = [held for held in self.claims if self.model.held(of(held)) is None]
        return at([(held, of(held)) for held in (*live, *stale[-MOST_ZOMBIES:])], number)

    def writes(self, accepted: bool, act: Callable[..., bool], *args: Any, **options: Any) -> None:
        """Check that a write is accepted or refused as the model says; what is refused leaves no trace."""
        if accepted:
            assert self.write(act, *args, **options)
        else:
            with self.nothing_changes():
                assert not self.write(act, *args, **options)

    # time, and those who watch it

    def expire(self, number: int) -> None:
        for job_id in at(self.model.running(), number):
            self.move(job_id, "lease_until", 1)
            self.model.jobs[job_id].expired = True

    def lose_notification(self, number: int) -> None:
        for job_id in at(self.model.queued(), number):
            self.move(job_id, "notified_at", 2 * RENOTIFY_SECONDS)
            self.model.jobs[job_id].unnotified = True

    def move(self, job_id: UUID, column: str, seconds: float) -> None:
        """Move a moment of a job into the past."""
        where = update(Job).where(Job.id == job_id)
        self.write(lambda session: session.execute(where.values({column: ago(session, seconds)})))

    def listen(self, number: int) -> None:
        """Let a worker show itself, or none for a while."""

        def beat(session: Session) -> None:
            lifecycle.beat(session, WORKERS[0], QUEUE)
            session.flush()
            session.execute(update(WorkerBeat).values(seen_at=ago(session, 60 if number % 2 else -3600)))

        self.write(beat)
        self.model.listening = number % 2 == 0

    def let_keys_age(self, number: int) -> None:
        self.write(lambda session: session.execute(update(IdempotencyKey).values(created_at=ago(session, 90_000))))
        self.model.old_keys = set(self.model.keys)

    def sweep(self, number: int) -> None:
        needed = self.model.needs_sweep()
        requeued, failed, notifications = self.model.sweep()
        assert self.write(sweep) == lifecycle.Sweep(requeued, failed, {QUEUE: notifications} if notifications else {})
        assert needed == bool(requeued or failed or notifications)

    STEPS = (
        *(submit, submit, repeat, cancel, retry, delete, meddle),
        *(claim, claim, claim, heartbeat, report, finish, fail, give_up, release, die_before_the_commit),
        *(expire, expire, lose_notification, listen, let_keys_age, sweep, sweep),
    )

    @rule(step=st.sampled_from(STEPS), number=NUMBER)
    def do(self, step: Callable[[Machine, int], None], number: int) -> None:
        step(self, number)

    # what holds at all times

    @invariant()
    def as_the_model_says(self) -> None:
        stored, needed = self.read(lambda session: (read_back(session), needs_sweep(session)))
        assert stored == self.model.jobs
        assert needed == self.model.needs_sweep()
        for job_id, job in stored.items():
            assert (job.reported[-1][0] == "done") == (job.state in lifecycle.ENDED)
            before, after = self.states.get(job_id, State.QUEUED), State(job.state)
            assert before == after or after in TRANSITIONS[before]
            self.states[job_id] = after

    @invariant()
    def what_waits_can_be_claimed(self) -> None:
        def look(session: Session) -> None:
            held = lifecycle.claim(session, QUEUE, "w4", LEASE_SECONDS)
            assert (held and held.job_id) == next(iter(waiting), None)
            assert lifecycle.queued(session, QUEUE) == bool(waiting[1:])
            raise Died

        waiting = self.model.queued()
        if waiting != self.waited:
            with suppress(Died):
                self.write(look)
        self.waited = waiting


def at(candidates: Sequence[T], number: int) -> list[T]:
    """Return one of these, or none where there are none."""
    return [chosen(candidates, number)] if candidates else []


def chosen(candidates: Sequence[T], number: int) -> T:
    return candidates[number % len(candidates)]


def of(held: Claim) -> Held:
    return Held(held.job_id, held.fence)


# hypothesis runs ten cases as they come, and from then on five in six as copies of earlier ones with one change
CASES = settings(
    max_examples=10,
    stateful_step_count=70,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(900)  # what fails is made small first
@pytest.mark.random_cases(2)
def test_the_queue_agrees_with_its_model(backend: Backend, seed: int) -> None:
    machine = hypothesis.seed(seed)(lambda: Machine(backend.database))
    run_state_machine_as_test(machine, settings=CASES)  # type: ignore[arg-type]
