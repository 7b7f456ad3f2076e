"""Rows in which the broker is emptied, killed, frozen and filled. A lost notification only delays a job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime

from redis import Redis

from tests.chaos.full import LEAST, FullMode
from tests.chaos.ledger import times_of
from tests.chaos.report import Outcome, percentile
from tests.chaos.search_requests import QUICK
from tests.chaos.stage import Stage, every

A_SECOND = 20
"""Searches that are submitted while the broker is out of order."""

WAITED = "POSTs waited"
ACKNOWLEDGED_WITHIN_SECONDS = 0.1
STARTS_WITHIN_SECONDS = 5.0

Harm = Callable[[FullMode], AbstractAsyncContextManager[None]]


async def broker_emptied(stage: Stage) -> Outcome:
    """Redis is emptied fifty times a second: everything ends all the same."""
    return await _out_of_order(stage, 8, emptied)


@asynccontextmanager
async def emptied(full: FullMode) -> AsyncIterator[None]:
    """Empty Redis again and again."""
    with Redis.from_url(full.redis.url) as redis:
        async with every(0.02, redis.flushall):
            yield


async def broker_killed(stage: Stage) -> Outcome:
    """Redis is killed every 2 s and started again, with nothing in it: everything ends all the same."""
    return await _out_of_order(stage, 8, killed)


@asynccontextmanager
async def killed(full: FullMode) -> AsyncIterator[None]:
    """Kill Redis and start it again, again and again."""

    def restart() -> None:
        full.redis.kill()
        time.sleep(0.5)
        full.redis.start()

    async with every(1.5, restart):
        yield


async def broker_frozen(stage: Stage) -> Outcome:
    """For 10 s Redis takes connections and answers nothing: no request waits for it, and work starts soon after.

    p50, p99: of the POSTs meanwhile, in the best of three rounds: what else the machine does makes them slower only,
    and a service that waits does so in each.
    """
    outcome = await _frozen_once(stage)
    for _ in range(2 if stage.scale >= 1 else 0):
        if outcome.reasons != [WAITED]:
            break
        outcome = await _frozen_once(stage)
    return outcome


async def _frozen_once(stage: Stage) -> Outcome:
    outcome = await _out_of_order(stage, 10, frozen)
    outcome.p50, outcome.p99 = outcome.notes["POST p50"], outcome.notes["POST p99"]
    outcome.require(WAITED, that=outcome.p99 <= stage.limit(ACKNOWLEDGED_WITHIN_SECONDS))
    return outcome


@asynccontextmanager
async def frozen(full: FullMode) -> AsyncIterator[None]:
    """Freeze Redis."""
    full.redis.pause()
    yield
    full.redis.resume()


async def broker_full(stage: Stage) -> Outcome:
    """Redis has no memory left, again and again, and refuses whatever is written: everything ends all the same."""
    return await _out_of_order(stage, 8, filled)


@asynccontextmanager
async def filled(full: FullMode) -> AsyncIterator[None]:
    """Give Redis no memory, and a little now and then, so that every step of its clients is refused once."""
    with Redis.from_url(full.redis.url) as redis:

        def relieve() -> None:
            redis.config_set("maxmemory", 0)
            time.sleep(0.3)
            redis.config_set("maxmemory", 1)

        redis.config_set("maxmemory", 1)
        try:
            async with every(0.7, relieve):
                yield
        finally:
            redis.config_set("maxmemory", 0)


async def _out_of_order(stage: Stage, seconds: int, harmed: Harm) -> Outcome:
    """Submit searches while the broker is harmed: each is accepted, and work starts again soon after."""
    full = await stage.full(*LEAST)
    outcome = stage.outcome()
    seconds = stage.size(seconds, least=3)
    requests = [stage.rng.choice(QUICK) for _ in range(A_SECOND * seconds)]
    async with stage.ledger(full.address, full.database) as ledger:
        async with asyncio.TaskGroup() as group:
            group.create_task(ledger.post_paced(requests, a_second=A_SECOND))
            async with harmed(full):
                await asyncio.sleep(seconds)
            back = datetime.now(UTC)
        meanwhile = [*ledger.latencies]
        await ledger.post(stage.rng.choice(QUICK))
        await ledger.all_ended()
        found = await ledger.compare(outcome)
    starts = [one.started_at for one in found.values() if one.started_at is not None and one.started_at > back]
    again = (min(starts) - back).total_seconds() if starts else float("inf")
    outcome.take_times(times_of(found))
    outcome.notes |= {
        "starts after": round(again, 2),
        "POST p50": round(percentile(meanwhile, 50), 3),
        "POST p99": round(percentile(meanwhile, 99), 3),
    }
    outcome.judge(len(requests) + 1)
    outcome.require(f"POSTs were answered {dict(ledger.answers)}", that=set(ledger.answers) == {"202"})
    outcome.require("work did not start soon after", that=again <= stage.limit(STARTS_WITHIN_SECONDS))
    return outcome
