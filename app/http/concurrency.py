"""Where requests do what takes time, so that whoever holds a lock of the database always finds a thread to go on in.

A request with a session goes from thread to thread: into its route, and out of it again to write the answer, with
whatever its session has locked. FastAPI takes all these threads from one pool of 40. If all of them waited for locks or
connections, those that hold one would wait for a thread, and nobody would ever go on. So whoever uses the database
takes one of fewer turns first, without a thread; and what computes for long, or looks up keys, has threads of its own.
One owner's requests, which wait for each other, take no more than their share of the turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread

from app.storage.db import SESSIONS_OF_REQUESTS

P = ParamSpec("P")
T = TypeVar("T")

MAX_PER_OWNER = 12
"""Turns that one owner's requests take at once."""

COMPUTING = 4
"""Requests that compute at once: they share the cores, and a preview's second counts from when it begins."""

LOOKING_UP = 3
"""Keys that are looked up at once; each is remembered for a while."""


class Threads:
    """The turns and the threads of one process's requests."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(SESSIONS_OF_REQUESTS)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._computing, self._looking_up = CapacityLimiter(COMPUTING), CapacityLimiter(LOOKING_UP)

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait until few enough requests use the database, and few enough of this owner."""
        share = self._shares.setdefault(owner, asyncio.Semaphore(MAX_PER_OWNER))
        async with share, self._turns:
            yield

    async def run_db(self, owner: str, act: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Do in a thread what uses the database for an owner, from its connection to its commit."""
        async with self.turn(owner):
            return await to_thread.run_sync(partial(act, *args, **options))

    async def run_cpu(self, act: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Do in a thread what takes long and needs no database."""
        return await to_thread.run_sync(partial(act, *args, **options), limiter=self._computing)

    async def look_up(self, act: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Do in a thread what says who asks."""
        return await to_thread.run_sync(partial(act, *args, **options), limiter=self._looking_up)
