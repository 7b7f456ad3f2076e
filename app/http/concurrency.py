"""Threads for slow work in requests, arranged so that a request that holds a database lock always gets a thread.

A request with a session moves from thread to thread: into its route, and out of it again to write the response, while
its session may hold locks. FastAPI takes all these threads from one pool of 40. If all of them waited for locks or
connections, the requests that hold one would wait for a thread: a deadlock. Therefore a request that uses the database
first waits, without a thread, for one of fewer slots; long computations and key lookups have their own threads. The
requests of one owner, which wait for each other, use only their share of the slots.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread
from sqlalchemy.orm import Session

from app.storage.db import SESSIONS_OF_REQUESTS, Database

P = ParamSpec("P")
T = TypeVar("T")

MAX_PER_OWNER = 12
"""The most slots that one owner's requests use at the same time."""

COMPUTING = 4
"""Requests that compute at the same time: they share the cores, and a preview's time limit counts from its start."""

LOOKING_UP = 3
"""Keys that are looked up at the same time; each is then cached for a while."""


class Threads:
    """The slots and the threads of one process's requests, and the database that they use."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._turns = asyncio.Semaphore(SESSIONS_OF_REQUESTS)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._computing, self._looking_up = CapacityLimiter(COMPUTING), CapacityLimiter(LOOKING_UP)

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait until few enough requests use the database, in total and of this owner."""
        share = self._shares.setdefault(owner, asyncio.Semaphore(MAX_PER_OWNER))
        async with share, self._turns:
            yield

    async def run_db(self, owner: str, act: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run in a thread a function that uses the database for an owner, from its connection to its commit."""
        async with self.turn(owner):
            return await to_thread.run_sync(partial(act, *args, **options))

    async def read(
        self, owner: str, act: Callable[Concatenate[Session, str, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Call `act(session, owner, ...)` in a thread, with a session for reading."""

        def call() -> T:
            with self.database.read() as session:
                return act(session, owner, *args, **options)

        return await self.run_db(owner, call)

    async def write(
        self, owner: str, act: Callable[Concatenate[Session, str, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Call `act(session, owner, ...)` in a thread, with a session that is committed when it returns."""

        def call() -> T:
            with self.database.write() as session:
                return act(session, owner, *args, **options)

        return await self.run_db(owner, call)

    async def run_cpu(self, act: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run in a thread a function that takes long and needs no database."""
        return await to_thread.run_sync(partial(act, *args, **options), limiter=self._computing)

    async def look_up(self, act: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run in a thread a function that identifies the caller."""
        return await to_thread.run_sync(partial(act, *args, **options), limiter=self._looking_up)
