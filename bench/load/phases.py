"""The phases of the load test: polls, submissions, pages of a long history, and all of them together."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psycopg

from bench.load.client import Client, Timings, at_rate, one_after_another, timed
from bench.load.servers import Running

SMALL = {"space": "densenet-tiny-free", "budget": {"max_params": 20000}, "top_k": 3, "fresh": True}
"""A search that takes milliseconds: the test measures everything around it."""

POLLS_PER_SECOND = 300
AT_ONCE = 16
PAGES = 200
END_SECONDS = 120.0

STREAMS = 200
LIVE_STREAMS = 20
MIX = {"polls": 60.0, "posts": 4.0, "pages": 4.0, "scrapes": 0.2}
"""Requests per second while 200 streams are open."""

SAMPLE_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 0.25


async def submit(client: Client) -> str:
    """Submit a small search; return its id."""
    return str((await client.json("POST", "/v1/searches", SMALL))["id"])


async def polls(client: Client, seconds: float) -> tuple[Timings, Timings]:
    """Poll one finished search: at 300 requests a second, then as often as possible."""
    search = await submit(client)
    async with asyncio.timeout(END_SECONDS):
        await client.follow(f"/v1/searches/{search}/events")  # the stream ends with the search

    async def poll() -> None:
        await client.read(f"/v1/searches/{search}")

    steady = await at_rate(POLLS_PER_SECOND, seconds, poll)
    return steady, await one_after_another(AT_ONCE, seconds, poll)


async def submissions(client: Client, running: Running, count: int) -> tuple[Timings, float]:
    """Submit `count` searches and wait until all have succeeded; return POST latencies and searches per second."""
    with psycopg.connect(running.postgres_url, autocommit=True) as database:
        unfinished = "select count(*) from jobs where state in ('queued', 'running')"
        failed = "select count(*) from jobs where state = 'failed' and created_at > %s"
        began = _value(database, "select now()")
        posts = Timings()
        numbers = itertools.count()
        started = time.perf_counter()

        async def work() -> None:
            while next(numbers) < count:
                await timed(lambda: _submit_only(client), posts)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        posts.seconds = time.perf_counter() - started
        while _value(database, unfinished):
            if time.perf_counter() - started > END_SECONDS:
                raise SystemExit("the searches do not end")
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - started
        posts.errors += int(database.execute(failed, [began]).fetchall()[0][0])
    return posts, count / seconds


async def _submit_only(client: Client) -> None:
    await submit(client)


def _value(database: psycopg.Connection[Any], query: str) -> Any:
    return database.execute(query).fetchall()[0][0]


QUERIES = {
    "newest first, page by page": "",
    "status=failed": "&status=failed",
    "family=resnet": "&family=resnet",
    "tag=rare": "&tag=rare",
    "created_after": "&created_after=2020-01-01T00:00:00Z",
    "q=camera": "&q=camera",
}


async def pages(client: Client, query: str, count: int) -> Timings:
    """Page through a list, 20 a page, from its start."""
    timings = Timings()
    cursor = ""
    started = time.perf_counter()
    for _ in range(count):
        seen: dict[str, Any] = {}

        async def page(at: str = cursor, seen: dict[str, Any] = seen) -> None:
            seen.update(await client.json("GET", f"/v1/searches?limit=20{query}{at}"))

        await timed(page, timings)
        following = seen.get("next_cursor")
        cursor = f"&cursor={following}" if following else ""
    timings.seconds = time.perf_counter() - started
    return timings


async def nothing(client: Client, count: int) -> Timings:
    """Call a route that uses neither database nor keys, repeatedly: the cost of HTTP itself."""
    timings = Timings()
    started = time.perf_counter()
    for _ in range(count):
        await timed(lambda: client.read("/healthz"), timings)
    timings.seconds = time.perf_counter() - started
    return timings


@dataclass
class Mixed:
    """What happened while all phases ran together."""

    timings: dict[str, Timings] = field(default_factory=dict)
    memory: list[tuple[float, int]] = field(default_factory=list)
    streams: int = 0
    streams_ended: int = 0
    events: int = 0
    stream_errors: int = 0
    metrics: set[str] = field(default_factory=set)

    def growth(self) -> float:
        """Return the memory at the end divided by that after the first minute (medians over 1/10 of the time each)."""
        first = [size for at, size in self.memory if at >= 60] or [size for _, size in self.memory]
        tenth = max(1, len(first) // 10)
        return sorted(first[-tenth:])[tenth // 2] / sorted(first[:tenth])[tenth // 2]


async def mixed(client: Client, running: Running, seconds: float) -> Mixed:
    """POST, poll, page, and hold 200 event streams open, all concurrently."""
    result = Mixed()
    newest = [await submit(client)]
    waiting = await _waiting_job(client)
    stopping = asyncio.Event()

    async def post() -> None:
        newest.append(await submit(client))

    async def poll() -> None:
        await client.read(f"/v1/searches/{random.choice(newest[-100:])}")

    async def page() -> None:
        await client.read("/v1/searches?limit=20")

    async def scrape() -> None:
        result.metrics |= set(re.findall(r"^# TYPE (nnmass_\w+)", await client.text("/metrics"), re.MULTILINE))

    streams = [
        asyncio.create_task(_stream(client, result, stopping, newest, waiting, live=n < LIVE_STREAMS))
        for n in range(STREAMS)
    ]
    watch = asyncio.create_task(_watch(running, result, stopping))
    work: dict[str, Callable[[], Awaitable[None]]] = {"polls": poll, "posts": post, "pages": page, "scrapes": scrape}
    done = await asyncio.gather(*(at_rate(MIX[name], seconds, do) for name, do in work.items()))
    result.timings = dict(zip(work, done, strict=True))
    stopping.set()
    await client.json("POST", f"{waiting}/cancel")  # ends the streams that follow it
    await asyncio.gather(watch, *streams)
    return result


async def _waiting_job(client: Client) -> str:
    """Return the path of a training that stays queued: no training worker runs here."""
    network = {"family": "densenet_mlp", "in_features": 64, "num_classes": 10, "width": 4, "depth": 4}
    network |= {"skip_channels": 2, "activation": "relu"}
    body = {"architecture": network, "dataset": "digits", "recipe": "mlp-paper", "seeds": [0]}
    return f"/v1/verifications/{(await client.json('POST', '/v1/verifications', body))['id']}"


async def _stream(
    client: Client, result: Mixed, stopping: asyncio.Event, newest: list[str], waiting: str, *, live: bool
) -> None:
    """Follow jobs until the test ends: the newest search, then the next, or one that only waits."""
    while not stopping.is_set():
        search = newest[-1]
        path = f"/v1/searches/{search}" if live else waiting
        result.streams += 1
        try:
            events = await client.follow(f"{path}/events")
            result.events += events  # not in one statement, which would lose other tasks' events
            result.streams_ended += 1
        except (aiohttp.ClientError, TimeoutError):
            result.stream_errors += 1
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _watch(running: Running, result: Mixed, stopping: asyncio.Event) -> None:
    """Record the API process's memory every few seconds."""
    started = time.perf_counter()
    while not stopping.is_set():
        result.memory.append((time.perf_counter() - started, running.api.memory_info().rss))
        await asyncio.sleep(SAMPLE_SECONDS)
