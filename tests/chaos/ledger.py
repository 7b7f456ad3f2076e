"""The answers that a client got, stored on the client's side, to be compared with the database in the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from app.jobs.lifecycle import ENDED, Event, State
from app.storage.db import Database
from app.storage.models import Job, JobEvent, RankedArchitecture, Search
from tests.chaos.report import Outcome
from tests.chaos.search_requests import Json, undisturbed_digest

ACKNOWLEDGE_SECONDS = 60.0
AGAIN_SECONDS = 0.1
LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 20.0
"""Jobs are stuck when none has ended for so long. Leases are 2 s and sweeps 0.5 s apart; a worker starts in 5 s."""

ATTEMPTS = 3
"""What a job that kills its worker is given."""

REPEATED = 20
"""Searches that are read through the API too, which must say what the database does."""


@dataclass
class Acknowledged:
    """One search that the service has accepted, and what it reported about it since."""

    search_id: UUID
    key: str
    request: Json
    fails_with: str | None = None
    cancel_answer: str | None = None


@dataclass(frozen=True)
class Found:
    """The state of one search in the database."""

    id: UUID
    name: str
    state: str
    attempts: int
    error_code: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    digest: str | None
    result: Json | None
    ranks: list[int]
    events: list[tuple[int, str]]

    @property
    def dones(self) -> int:
        """How often its end was reported."""
        return sum(event == Event.DONE for _, event in self.events)


@dataclass
class Ledger:
    """Searches of one row: submitted, watched, and compared.

    name is what the names and keys of these searches begin with, and of no others. answers counts what POSTs were
    answered with, latencies holds how long each took.
    """

    name: str
    client: httpx2.AsyncClient
    database: Database
    rng: random.Random
    acknowledged: list[Acknowledged] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    # Requests

    async def post(self, request: Json, *, fails_with: str | None = None) -> Acknowledged | None:
        """Submit a search as often as it takes, with one Idempotency-Key; None when it is refused for good.

        fails_with: the error that it is to end with, after all its attempts.
        """
        key = f"{self.name}-{next(self._numbers)}"
        deadline = time.monotonic() + ACKNOWLEDGE_SECONDS
        while time.monotonic() < deadline:
            answer = await self._try(request | {"name": key}, key)
            if answer is not None and answer.status_code == 202:
                reported = Acknowledged(UUID(answer.json()["id"]), key, request, fails_with)
                self.acknowledged.append(reported)
                return reported
            if answer is not None and answer.status_code < 500:
                return None
            await asyncio.sleep(AGAIN_SECONDS)
        return None

    async def _try(self, body: Json, key: str) -> httpx2.Response | None:
        started = time.monotonic()
        try:
            answer = await self.client.post("/v1/searches", json=body, headers={"Idempotency-Key": key})
        except httpx2.TransportError as error:
            self.answers[type(error).__name__] += 1
            return None
        finally:
            self.latencies.append(time.monotonic() - started)
        self.answers[str(answer.status_code)] += 1
        return answer

    async def post_all(self, requests: list[Json], *, concurrency: int = 4) -> None:
        """Submit searches as fast as they are accepted."""
        waiting = iter(requests)

        async def post_some() -> None:
            for request in waiting:
                await self.post(request)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(post_some())

    async def post_paced(self, requests: list[Json], *, a_second: float) -> None:
        """Submit searches at a constant rate, without waiting for answers."""
        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(self.post(request))
                await asyncio.sleep(1 / a_second)

    async def cancel(self, reported: Acknowledged) -> None:
        """Cancel a search as often as it takes, and store the state of the answer."""
        deadline = time.monotonic() + ACKNOWLEDGE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = await self.client.post(f"/v1/searches/{reported.search_id}/cancel")
            except httpx2.TransportError:
                continue
            if answer.status_code == 200:
                reported.cancel_answer = str(answer.json()["status"])
                return
            await asyncio.sleep(AGAIN_SECONDS)

    # Watching

    async def all_ended(self, patience: float = PATIENCE_SECONDS) -> None:
        """Wait until every job has ended, or none has for so long."""
        last, since = -1, time.monotonic()
        while (left := await self.open_jobs()) and time.monotonic() - since < patience:
            if left != last:
                last, since = left, time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)

    async def open_jobs(self) -> int:
        """Return how many jobs have not ended; -1 while the database is unavailable."""
        return await asyncio.to_thread(self._open_jobs)

    def _open_jobs(self) -> int:
        try:
            with self.database.read() as session:
                return session.scalar(select(func.count()).where(Job.state.not_in(ENDED))) or 0
        except DBAPIError:
            return -1

    async def job(self, search_id: UUID) -> Job:
        """Return a search's job as it is now."""

        def look() -> Job:
            with self.database.read() as session:
                return session.get_one(Job, search_id)

        return await asyncio.to_thread(look)

    # Comparing

    def found(self) -> dict[UUID, Found]:
        """Return the state of this row's searches in the database."""
        ours = select(Search.id).where(Search.name.like(f"{self.name}-%"))
        with self.database.read() as session:
            ranks: dict[UUID, list[int]] = {}
            for place in session.scalars(select(RankedArchitecture).where(RankedArchitecture.search_id.in_(ours))):
                ranks.setdefault(place.search_id, []).append(place.rank)
            events: dict[UUID, list[tuple[int, str]]] = {}
            for reported in session.scalars(
                select(JobEvent).where(JobEvent.job_id.in_(ours)).order_by(JobEvent.job_id, JobEvent.number)
            ):
                events.setdefault(reported.job_id, []).append((reported.number, reported.event))
            both = session.execute(select(Search, Job).join(Search.job).where(Search.id.in_(ours))).all()
        return {
            job.id: Found(
                id=job.id,
                name=search.name,
                state=job.state,
                attempts=job.attempt,
                error_code=job.error_code,
                created_at=job.created_at,
                started_at=job.started_at,
                finished_at=job.finished_at,
                digest=search.result_digest,
                result=search.result,
                ranks=sorted(ranks.get(job.id, [])),
                events=events.get(job.id, []),
            )
            for search, job in both
        }

    async def compare(self, outcome: Outcome, *, ended: bool = True) -> dict[UUID, Found]:
        """Compare what was acknowledged with the database and the API; returns the state in the database.

        Without `ended` the searches may be in any state.
        """
        found = await asyncio.to_thread(self.found)
        outcome.acked += len(self.acknowledged)
        outcome.lost += sum(reported.search_id not in found for reported in self.acknowledged)
        rows_of = Counter(one.name for one in found.values())
        outcome.doubled += sum(rows - 1 for rows in rows_of.values())
        for reported in self.acknowledged:
            if (one := found.get(reported.search_id)) is None:
                continue
            outcome.doubled += one.dones > 1 or len(one.ranks) > _count_of(one)
            outcome.stuck += ended and one.state not in ENDED
            if not _right(reported, one):
                outcome.wrong += 1
                outcome.notes.setdefault("for example", f"{one.id} {one.state} {one.error_code} after {one.attempts}")
        outcome.wrong += sum(
            answers for status, answers in self.answers.items() if status.startswith("5") and status != "503"
        )
        outcome.wrong += await self._contradictions(found)
        return found

    async def _contradictions(self, found: dict[UUID, Found]) -> int:
        """Return for how many of some ended searches the API and the database disagree."""
        ended = [one for one in found.values() if one.state in ENDED]
        contradictions = 0
        for one in self.rng.sample(ended, min(len(ended), REPEATED)):
            answer: dict[str, Any] = (await self.client.get(f"/v1/searches/{one.id}")).json()
            contradictions += (answer.get("status"), answer.get("result_digest")) != (one.state, one.digest)
        return contradictions


def times_of(found: dict[UUID, Found]) -> list[float]:
    """Return the seconds from each ended search's acceptance to its end, on the database's clock."""
    return [(one.finished_at - one.created_at).total_seconds() for one in found.values() if one.finished_at]


def _count_of(one: Found) -> int:
    return int(one.result["count"]) if one.result else 0


def _right(reported: Acknowledged, one: Found) -> bool:
    """Return whether the end of a search agrees with its request and answers."""
    if [number for number, _ in one.events] != list(range(1, len(one.events) + 1)):
        return False
    if reported.fails_with is not None:
        return (one.state, one.error_code, one.attempts) == (State.FAILED, reported.fails_with, ATTEMPTS)
    if reported.cancel_answer is not None and reported.cancel_answer != one.state:
        return False
    if one.state == State.SUCCEEDED:
        whole = one.ranks == list(range(1, _count_of(one) + 1))
        return whole and one.dones == 1 and one.digest == undisturbed_digest(reported.request)
    if one.state == State.CANCELLED:
        return reported.cancel_answer is not None and one.result is None and not one.ranks
    return one.state != State.FAILED
