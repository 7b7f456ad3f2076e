"""Load clients: one event loop, keep-alive connections; every response is timed and read to its end."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

REQUEST_SECONDS = 60.0
Do = Callable[[], Awaitable[None]]


@dataclass
class Timings:
    """Latencies of requests in seconds, the number that failed, and the elapsed time."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Requests answered per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, percent: int) -> float:
        """Return a percentile of the latencies, in seconds."""
        if len(self.latencies) < 2:
            return self.latencies[0] if self.latencies else float("nan")
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[percent - 1]

    def to_json(self) -> dict[str, float]:
        """Return the figures, latencies in milliseconds."""
        quantiles = {f"p{percent}_ms": round(self.percentile(percent) * 1000, 2) for percent in (50, 95, 99)}
        return {"per_second": round(self.rate, 1), **quantiles, "errors": self.errors, "requests": len(self.latencies)}


class Client:
    """Sends requests to one service with one key."""

    def __init__(self, address: str, key: str, connections: int) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {key}"}
        self._connections = connections

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=3
            ),  # the server ends idle ones after 5 s
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def json(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the response's JSON. Raises when the response is an error."""
        async with self._session.request(method, self._address + path, json=body) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def text(self, path: str) -> str:
        """Fetch a response as text."""
        async with self._session.get(self._address + path) as answer:
            answer.raise_for_status()
            return await answer.text()

    async def read(self, path: str) -> None:
        """Fetch a response and discard it."""
        async with self._session.get(self._address + path) as answer:
            answer.raise_for_status()
            await answer.read()

    async def follow(self, path: str) -> int:
        """Read a stream of events until it ends, however long that takes; return the number of events."""
        count = 0
        endless = aiohttp.ClientTimeout(total=None, sock_read=REQUEST_SECONDS)
        async with self._session.get(self._address + path, timeout=endless) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                count += line.startswith(b"event:")
        return count


async def timed(do: Do, timings: Timings, due: float | None = None) -> None:
    """Call `do` once; record how long it took since now or since it was due, or that it failed."""
    started = time.perf_counter() if due is None else due
    try:
        await do()
    except (aiohttp.ClientError, TimeoutError):
        timings.errors += 1
    else:
        timings.latencies.append(time.perf_counter() - started)


async def at_rate(per_second: float, seconds: float, do: Do) -> Timings:
    """Call `do` at fixed times, whether or not earlier calls have ended; latency counts from those times."""
    timings, tasks = Timings(), set[asyncio.Task[None]]()
    started = time.perf_counter()

    for number in range(int(per_second * seconds)):
        moment = started + number / per_second
        if (pause := moment - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(timed(do, timings, moment))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    timings.seconds = time.perf_counter() - started
    return timings


async def one_after_another(workers: int, seconds: float, do: Do) -> Timings:
    """Call `do` as often as possible, with this number of concurrent calls."""
    timings = Timings()
    started = time.perf_counter()

    async def work() -> None:
        while time.perf_counter() - started < seconds:
            await timed(do, timings)

    await asyncio.gather(*(work() for _ in range(workers)))
    timings.seconds = time.perf_counter() - started
    return timings
