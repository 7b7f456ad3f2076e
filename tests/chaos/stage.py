"""What every row is given: its seed, its size, the service, and ways to do harm meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from app.storage.db import Database
from tests.chaos.full import FullMode
from tests.chaos.ledger import Ledger
from tests.chaos.report import Outcome

CLIENT_SECONDS = 10.0


@dataclass
class Stage:
    """One run of the suite. Full mode is started when the first row wants it, and shared."""

    seed: int
    scale: float
    folder: Path
    plant: str | None = None
    row: str = ""
    rng: random.Random = field(default_factory=random.Random)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _full: FullMode | None = None

    def begin(self, row: str) -> None:
        """Begin a row: its random numbers depend only on its name and the seed."""
        self.row, self.rng = row, random.Random(f"{self.seed} {row}")

    async def end(self) -> None:
        """End a row: repair what it has broken."""
        if self._full is not None:
            await asyncio.to_thread(self._full.heal)

    async def replant(self, plant: str) -> None:
        """Have this bug in every process that is started from now on, and no other."""
        self.plant = plant
        if self._full is not None:
            await asyncio.to_thread(self._full.replant, plant)

    def for_concurrent_row(self) -> Stage:
        """Return a stage of the same run for a row that runs concurrently with others."""
        return Stage(self.seed, self.scale, self.folder, self.plant)

    async def close(self) -> None:
        """End everything; what is wanted afterwards is started anew."""
        await self._stack.aclose()
        self._full = None

    def size(self, whole: int, least: int = 1) -> int:
        """Return how many of something there are at this scale."""
        return max(least, round(whole * self.scale))

    def limit(self, whole: float) -> float:
        """Return a limit on time. Small runs look for bugs, on machines that may be busy: theirs are wide."""
        return whole if self.scale >= 1 else 10 * whole

    async def full(self, *names: str) -> FullMode:
        """Return full mode with these processes running, and others that were started for earlier rows."""
        if self._full is None:
            folder = self.folder / "full"
            folder.mkdir()
            self._full = await asyncio.to_thread(FullMode(folder, self.plant).__enter__)
            self._stack.callback(self._full.__exit__, None, None, None)
        await asyncio.to_thread(self._full.be, *names)
        return self._full

    @asynccontextmanager
    async def ledger(self, address: str, database: Database) -> AsyncIterator[Ledger]:
        """Give an empty ledger for the service at an address."""
        async with client_of(address) as client:
            yield Ledger(f"{self.row}-{self.rng.randrange(10**9)}", client, database, self.rng)

    def outcome(self) -> Outcome:
        """Return an empty outcome of this row."""
        return Outcome(self.row)


def client_of(address: str, *, connections: int = 100) -> httpx2.AsyncClient:
    """Return a client with room for a number of concurrent requests."""
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx2.AsyncClient(base_url=address, timeout=CLIENT_SECONDS, limits=limits, trust_env=False)


@asynccontextmanager
async def every(seconds: float, harm: Callable[[], object]) -> AsyncIterator[None]:
    """Do harm again and again, in a thread, for as long as the block runs; what has begun is brought to its end."""
    over = asyncio.Event()

    async def run() -> None:
        while not await _within(seconds, over.wait()):
            await asyncio.to_thread(harm)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        over.set()
        await task


async def _within(seconds: float, event: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event
    except TimeoutError:
        return False
    return True


async def until(look: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Look, in a thread, until something is so. Raises TimeoutError that says what was waited for."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await asyncio.to_thread(look):
        if loop.time() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.02)
