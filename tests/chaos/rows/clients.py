"""Rows in which clients cause the load: many concurrently, repeatedly, or very slowly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import httpx2
from sqlalchemy import func, select

from app.jobs import lifecycle
from app.jobs.lifecycle import Claim, Event
from app.storage.db import Database
from app.storage.models import Search
from tests.chaos.full import API
from tests.chaos.ledger import Ledger
from tests.chaos.report import Outcome, percentile
from tests.chaos.search_requests import QUICK
from tests.chaos.stage import Stage, client_of
from tests.servers import HOST

JOBS = 20
LEASE_SECONDS = 600.0
REPORTED_WITHIN_SECONDS = 90.0
REQUESTS = 200

# Many requests, one key


async def idempotency_storm(stage: Stage) -> Outcome:
    """10,000 POSTs with one Idempotency-Key, 64 at a time: one search, and the same answer to all.

    p50, p99: of the POSTs.
    """
    full = await stage.full(API)
    outcome = stage.outcome()
    key = f"{stage.row}-0"
    body = stage.rng.choice(QUICK) | {"name": key}
    posts = stage.size(10_000, least=500)
    answers: Counter[tuple[int, str]] = Counter()
    seconds: list[float] = []
    waiting = iter(range(posts))

    async def post_some(client: httpx2.AsyncClient) -> None:
        for _ in waiting:
            started = time.monotonic()
            answer = await client.post("/v1/searches", json=body, headers={"Idempotency-Key": key})
            seconds.append(time.monotonic() - started)
            answers[answer.status_code, answer.text] += 1

    async with client_of(full.address) as client, asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(post_some(client))
    with full.database.read() as session:
        rows = session.scalar(select(func.count()).where(Search.name == key)) or 0
    outcome.acked = sum(count for (status, _), count in answers.items() if status == 202)
    outcome.lost = int(rows == 0)
    outcome.doubled = max(0, rows - 1) + max(0, len({text for status, text in answers if status == 202}) - 1)
    outcome.wrong = sum(count for (status, _), count in answers.items() if status != 202)
    outcome.take_times(seconds)
    outcome.notes |= dict(Counter(str(status) for status, _ in answers.elements()))
    outcome.judge(posts)
    return outcome


# Many readers


async def stampede(stage: Stage) -> Outcome:
    """400 clients read a search concurrently and repeatedly: all are answered, and so are later clients.

    acked: answers of 200. p50, p99: of the requests.
    """
    full = await stage.full(API)
    outcome = stage.outcome()
    clients, each = stage.size(400, least=200), 4
    seconds: list[float] = []
    async with (
        stage.ledger(full.address, full.database) as ledger,
        client_of(full.address, connections=clients) as client,
    ):
        reported = await ledger.post(stage.rng.choice(QUICK))
        assert reported is not None, "the search was refused"

        async def read(times: int) -> None:
            for _ in range(times):
                started = time.monotonic()
                good = await reads(client, f"/v1/searches/{reported.search_id}")
                seconds.append(time.monotonic() - started)
                outcome.acked, outcome.wrong = outcome.acked + good, outcome.wrong + (not good)

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(read(each))
        await read(1)
    outcome.take_times(seconds)
    outcome.judge(clients * each + 1)
    return outcome


async def reads(client: httpx2.AsyncClient, path: str) -> bool:
    """Read something; False when there is no answer in time, or a bad one."""
    try:
        return (await client.get(path)).status_code == 200
    except httpx2.TransportError:
        return False


# Many streams


@dataclass
class Follower:
    """One client of a stream, which cuts itself off now and then and comes back with the last id that it has."""

    job_id: UUID
    rng: random.Random
    numbers: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    refusals: int = 0
    connections: int = 0
    done: bool = False

    async def follow(self, client: httpx2.AsyncClient) -> None:
        """Follow the job to its end."""
        while not self.done:
            self.connections += 1
            try:
                async with asyncio.timeout(self.rng.uniform(1, 10)):
                    await self._listen(client)
            except TimeoutError:
                continue  # it has cut itself off
            except httpx2.TransportError:
                self.refusals += 1

    async def _listen(self, client: httpx2.AsyncClient) -> None:
        headers = {"Last-Event-ID": str(self.numbers[-1])} if self.numbers else {}
        event: dict[str, str] = {}
        async with client.stream("GET", f"/v1/searches/{self.job_id}/events", headers=headers) as answer:
            if answer.status_code != 200:
                self.refusals += 1
                await asyncio.sleep(1)
                return
            async for line in answer.aiter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                else:
                    self._take(event)
                    event = {}

    def _take(self, event: dict[str, str]) -> None:
        if "id" not in event:
            return  # a ping
        self.numbers.append(int(event["id"]))
        reported_at = datetime.fromisoformat(json.loads(event["data"])["at"])
        self.delays.append((datetime.now(UTC) - reported_at).total_seconds())
        self.done = self.done or event["event"] == Event.DONE


async def event_streams(stage: Stage) -> Outcome:
    """500 clients follow running jobs, cut themselves off and come back: each has every event once, in order.

    acked: clients. lost: events that one missed. doubled: events that one had twice. stuck: clients that did not get
    the end. p50, p99: from an event to its arrival, for disconnected clients too.
    """
    full = await stage.full(API)
    outcome = stage.outcome()
    clients = stage.size(500, least=50)
    async with (
        stage.ledger(full.address, full.database) as ledger,
        client_of(full.address, connections=clients) as client,
    ):
        await ledger.post_all([QUICK[0]] * JOBS)
        held = [take(full.database) for _ in range(JOBS)]
        followers = [Follower(held[i % JOBS].job_id, random.Random(stage.rng.random())) for i in range(clients)]
        with contextlib.suppress(TimeoutError):  # clients without the end by then are stuck
            async with asyncio.timeout(REPORTED_WITHIN_SECONDS), asyncio.TaskGroup() as group:
                for one in followers:
                    group.create_task(one.follow(client))
                for claim in held:
                    group.create_task(report_progress(full.database, claim, random.Random(stage.rng.random())))
    with full.database.read() as session:
        events = lifecycle.counts(session, [claim.job_id for claim in held])
    for one in followers:
        last = events[one.job_id] if one.done else max(one.numbers, default=0)
        outcome.lost += len(set(range(1, last + 1)) - set(one.numbers))
        outcome.doubled += len(one.numbers) - len(set(one.numbers))
        outcome.stuck += not one.done
        outcome.wrong += one.refusals
    outcome.acked = len(followers)
    outcome.take_times([delay for one in followers for delay in one.delays])
    reported, returns = (sum(len(one.numbers) for one in followers), sum(one.connections - 1 for one in followers))
    outcome.notes |= {"reported": reported, "came back": returns}
    outcome.judge(clients)
    return outcome


def take(database: Database) -> Claim:
    """Claim a search as a worker does; in this row there are no others."""
    with database.write() as session:
        held = lifecycle.claim(session, "search", "chaos/1", LEASE_SECONDS)
    assert held is not None, "there is a search to claim"
    return held


async def report_progress(database: Database, held: Claim, rng: random.Random) -> None:
    """Store a job's progress at random moments, and finally its end."""
    steps = rng.randrange(15, 30)
    for step in range(1, steps + 1):
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        await asyncio.to_thread(write, database, held, step, steps)


def write(database: Database, held: Claim, step: int, steps: int) -> None:
    """Write a job's progress, or that it has ended."""
    with database.write() as session:
        if step < steps:
            assert lifecycle.heartbeat(session, held, LEASE_SECONDS, step / steps, f"step {step} of {steps}")
        else:
            assert lifecycle.fail(session, held, "chaos", "the row is over")


# Slow ones


async def slow_clients(stage: Stage) -> Outcome:
    """While 200 connections are half open and 50 bodies trickle in, others' p99 is at most twice the calm one.

    Short rounds with and without the slow clients take turns, and the medians of both kinds' p99 are compared: what
    else the machine does falls on both alike, and one bad moment on one round. p50, p99: with the slow clients.
    """
    full = await stage.full(API)
    outcome = stage.outcome()
    calm: list[list[float]] = []
    beset: list[list[float]] = []
    async with stage.ledger(full.address, full.database) as ledger:
        for _ in range(stage.size(7, least=3)):
            calm.append(await served(ledger, outcome))
            async with slow(full.address):
                beset.append(await served(ledger, outcome))
        await ledger.compare(outcome, ended=False)
        outcome.judge(2 * len(calm) * REQUESTS // 4)
    outcome.p50, outcome.p99 = (statistics.median(percentile(r, p) for r in beset) for p in (50, 99))
    before = statistics.median(percentile(seconds, 99) for seconds in calm)
    outcome.notes["calm p99"] = round(before, 3)
    outcome.require("others were slowed down", that=outcome.p99 <= stage.limit(2) * before)
    return outcome


async def served(ledger: Ledger, outcome: Outcome) -> list[float]:
    """Make requests of which every fourth submits a search, four at a time; returns the seconds each took."""
    numbers, seconds = iter(range(REQUESTS)), []

    async def request_some() -> None:
        for number in numbers:
            started = time.monotonic()
            if number % 4:
                outcome.wrong += not await reads(ledger.client, "/v1/searches?limit=5")
            else:
                await ledger.post(QUICK[number % len(QUICK)])
            seconds.append(time.monotonic() - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(request_some())
    return seconds


@asynccontextmanager
async def slow(address: str) -> AsyncIterator[None]:
    """Keep slow clients at it while the block runs."""
    port = int(address.rpartition(":")[2])
    slow_ones = [asyncio.create_task(half_open(port)) for _ in range(200)]
    slow_ones += [asyncio.create_task(trickle(port)) for _ in range(50)]
    await asyncio.sleep(0.5)  # until they are all there
    try:
        yield
    finally:
        assert not any(task.done() for task in slow_ones), "they are slow to the end"
        for task in slow_ones:
            task.cancel()
        await asyncio.gather(*slow_ones, return_exceptions=True)


HEAD = b"POST /v1/searches HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"


async def half_open(port: int) -> None:
    """Send half a head and then nothing."""
    async with connection(port) as writer:
        writer.write(HEAD[:40])
        await asyncio.Event().wait()


async def trickle(port: int) -> None:
    """Send a body byte by byte, and again when that has been refused."""
    while True:
        with contextlib.suppress(ConnectionError):
            async with connection(port) as writer:
                writer.write(HEAD + b"\r\n")
                while not writer.transport.is_closing():
                    writer.write(b" ")
                    await asyncio.sleep(0.2)


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[asyncio.StreamWriter]:
    """Open a connection and close it immediately in the end, whatever is left to send."""
    _, writer = await asyncio.open_connection(HOST, port)
    try:
        yield writer
    finally:
        writer.transport.abort()
