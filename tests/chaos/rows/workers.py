"""Rows in which workers die, freeze and come back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import psutil
from sqlalchemy import select, text

from app.jobs.lifecycle import ENDED, State
from app.storage.models import Job, JobEvent, RankedArchitecture, Search
from tests.chaos.full import FILES, LEAST, SEARCH, USUAL, FullMode
from tests.chaos.ledger import ATTEMPTS, Acknowledged, Ledger, times_of
from tests.chaos.processes import Process
from tests.chaos.report import Outcome
from tests.chaos.search_requests import BRISK, ENDLESS, MEASUREMENT, QUICK, SLOW, Json
from tests.chaos.stage import Stage, every, until
from tests.processes.service import kill, wait_for

KILL_SECONDS = 2.0
LATE_SECONDS = 1.0
"""How long a thawed worker is watched after it has found out: two heartbeats, and it would have stored a result."""

BLACKOUT_SECONDS = 10.0


async def worker_churn(stage: Stage) -> Outcome:
    """Every 2 s a search worker is killed with all below it and started again: nothing is lost, done twice or wrong."""
    full = await stage.full(*USUAL)
    outcome = stage.outcome()
    requests = mixed(stage, stage.size(500, least=100))
    async with stage.ledger(full.address, full.database) as ledger:
        killed: list[str] = []
        async with every(KILL_SECONDS, lambda: killed.append(kill_one(stage, full))):
            await ledger.post_all(requests)
            await ledger.all_ended()
        found = await ledger.compare(outcome)
    outcome.take_times(times_of(found))
    again = sum(one.attempts > 1 for one in found.values())
    outcome.notes |= {"kills": len([*filter(None, killed)]), "ran again": again}
    outcome.judge(len(requests))
    outcome.require("no kill hit a search", that=again > 0)
    return outcome


def mixed(stage: Stage, count: int, *, long: float = 0.1) -> list[Json]:
    """Return a number of searches, some of which run long enough for a kill to hit them."""
    return [stage.rng.choice(BRISK if stage.rng.random() < long else QUICK) for _ in range(count)]


def kill_one(stage: Stage, full: FullMode) -> str:
    """Kill a search worker and start it again; returns its name, or nothing if none could be killed.

    It is one at work, if there is one, and else an idle one; killed while it starts, again and again, none would ever
    work. No search is hit twice: three times would fail it, which is for `poison`.
    """
    with full.database.read() as session:
        running = session.execute(select(Job.worker, Job.attempt).where(Job.state == State.RUNNING)).all()
    attempt_of = {int(str(worker).rpartition("/")[2]): attempt for worker, attempt in running}
    attempts = {
        name: [attempt_of[member.pid] for member in full.processes[name].family() if member.pid in attempt_of]
        for name in SEARCH
    }
    at_work = [name for name in SEARCH if attempts[name] == [1]]
    victims = at_work or [name for name in SEARCH if not attempts[name] and full.works(name)]
    if not victims:
        return ""
    victim = stage.rng.choice(victims)
    full.restart(victim)
    return victim


async def cancel_races(stage: Stage) -> Outcome:
    """Each search is cancelled at a random moment while workers restart: what was answered is what remains."""
    full = await stage.full(*USUAL)
    outcome = stage.outcome()
    requests = [stage.rng.choice([*BRISK, *QUICK, *SLOW[:1]]) for _ in range(stage.size(300, least=60))]
    moments = [stage.rng.expovariate(1) for _ in requests]
    async with stage.ledger(full.address, full.database) as ledger:

        async def post_and_cancel(request: Json, moment: float) -> None:
            reported = await ledger.post(request)
            await asyncio.sleep(moment)
            if reported is not None:
                await ledger.cancel(reported)

        async with every(KILL_SECONDS, lambda: kill_one(stage, full)), asyncio.TaskGroup() as group:
            for request, moment in zip(requests, moments, strict=True):
                group.create_task(post_and_cancel(request, moment))
                await asyncio.sleep(1 / 15)
        await ledger.all_ended()
        found = await ledger.compare(outcome)
        answers = [reported.cancel_answer for reported in ledger.acknowledged]
    outcome.take_times(times_of(found))
    outcome.notes |= {str(answer): answers.count(answer) for answer in dict.fromkeys(answers)}
    outcome.judge(len(requests))
    for answer in (State.CANCELLED, State.SUCCEEDED):
        outcome.require(f"no cancel was answered {answer}: they race with nothing", that=answer in answers)
    return outcome


async def zombie(stage: Stage) -> Outcome:
    """A worker frozen for longer than its lease writes nothing any more: another has finished its search for good.

    p50, p99: from the freeze to the end of the search.
    """
    full = await stage.full(*LEAST)
    outcome = stage.outcome()
    delays: list[float] = []
    async with stage.ledger(full.address, full.database) as ledger:
        for _ in range(stage.size(5)):
            reported, worker = await freeze_amid(stage, full, ledger)
            frozen = time.monotonic()
            await ledger.all_ended()
            delays.append(time.monotonic() - frozen)
            if not has_ended(full, reported.search_id):  # no other worker claimed it, so its result is not late
                outcome.stuck += 1
                worker.thaw()
                continue
            before, offset = trace(full, reported.search_id), worker.log.stat().st_size
            worker.thaw()
            await until(
                partial(log_has, worker.log, str(reported.search_id), offset),
                "the resumed worker has tried to continue",
            )
            await asyncio.sleep(LATE_SECONDS)
            outcome.wrong += trace(full, reported.search_id) != before
        await ledger.compare(outcome)
        outcome.judge(len(ledger.acknowledged))
    outcome.take_times(delays)
    outcome.notes["frozen"] = len(delays)
    return outcome


async def freeze_amid(stage: Stage, full: FullMode, ledger: Ledger) -> tuple[Acknowledged, Process]:
    """Freeze a worker somewhere in a search, between two transactions: an open one would hold the row's lock."""
    while True:
        reported = await ledger.post(stage.rng.choice(SLOW))
        assert reported is not None, "a search was refused"
        await until(lambda reported=reported: job_of(full, reported.search_id).state != State.QUEUED, "the search runs")  # type: ignore[misc]
        await asyncio.sleep(stage.rng.uniform(0, 0.8))
        while (job := job_of(full, reported.search_id)).state == State.RUNNING:
            worker = full.worker_of(job)
            worker.freeze()
            await asyncio.sleep(0.1)
            if not holds_transaction(full) and not has_ended(full, reported.search_id):
                return reported, worker
            worker.thaw()
            await asyncio.sleep(0.01)


def holds_transaction(full: FullMode) -> bool:
    """Return whether a connection has been idle in a transaction for a while."""
    query = "select count(*) from pg_stat_activity where state = 'idle in transaction' and state_change < now() - :old"
    with full.database.read() as session:
        return bool(session.execute(text(query), {"old": timedelta(seconds=0.05)}).scalar_one())


def job_of(full: FullMode, job_id: UUID) -> Job:
    """Return a job as it is now."""
    with full.database.read() as session:
        return session.get_one(Job, job_id)


def has_ended(full: FullMode, job_id: UUID) -> bool:
    """Return whether a job has ended."""
    return job_of(full, job_id).state in ENDED


def trace(full: FullMode, search_id: UUID) -> list[object]:
    """Return everything that the database holds of one search, to be compared."""
    tables = ((Job, Job.id), (Search, Search.id), (JobEvent, JobEvent.job_id))
    with full.database.read() as session:
        rows: list[object] = [
            tuple(row)
            for table, column in tables
            for row in session.execute(select(table.__table__).where(column == search_id))
        ]
        places = select(RankedArchitecture.rank).where(RankedArchitecture.search_id == search_id)
        return [*rows, sorted(session.scalars(places))]


def log_has(log: Path, words: str, after: int) -> bool:
    """Return whether a log has these words after an offset in bytes."""
    with log.open("rb") as file:
        file.seek(after)
        return words.encode() in file.read()


async def poison(stage: Stage) -> Outcome:
    """A search and a measurement whose process is killed each time fail after three attempts; others continue.

    The measurement's process is killed as the kernel does when the memory is not enough, and is reported so.
    """
    full = await stage.full(*USUAL, FILES)
    outcome = stage.outcome()
    others = [stage.rng.choice(QUICK) for _ in range(stage.size(50, least=10))]
    async with stage.ledger(full.address, full.database) as ledger:
        endless = await ledger.post(ENDLESS, fails_with="worker_lost")
        answer = await ledger.client.post("/v1/measurements", json=MEASUREMENT)
        measurement = UUID(answer.raise_for_status().json()["id"])
        assert endless is not None, "the search was refused"
        async with asyncio.TaskGroup() as group:
            group.create_task(ledger.post_paced(others, a_second=5))
            group.create_task(asyncio.to_thread(kill_runners, full, endless.search_id))
            group.create_task(asyncio.to_thread(kill_runners, full, measurement))
        await ledger.all_ended()
        found = await ledger.compare(outcome)
        measured = job_of(full, measurement)
    outcome.acked += 1
    outcome.stuck += measured.state not in ENDED
    outcome.wrong += (measured.state, measured.error_code, measured.attempt) != ("failed", "out_of_memory", ATTEMPTS)
    outcome.take_times(times_of({key: one for key, one in found.items() if key != endless.search_id}))
    outcome.judge(len(others) + 2)
    return outcome


def kill_runners(full: FullMode, job_id: UUID) -> None:
    """Kill the process that does a job's work, in each attempt that it is to have."""
    for attempt in range(1, ATTEMPTS + 1):
        kill([wait_for(partial(runner_of, full, job_id, attempt), f"attempt {attempt} of {job_id} runs", 60)])


def runner_of(full: FullMode, job_id: UUID, attempt: int) -> psutil.Process | None:
    """Return the process that does the work of an attempt: the worker's own, or the one below it that has torch."""
    job = job_of(full, job_id)
    if job.state != State.RUNNING or job.attempt != attempt:
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        worker = psutil.Process(int(str(job.worker).rpartition("/")[2]))
        if job.queue == "search":
            return worker
        return next((child for child in worker.children() if "worker.trainer" in child.cmdline()), None)
    return None


async def blackout(stage: Stage) -> Outcome:
    """Everything is killed and started again: no search is lost, and each ends within 10 s of the start.

    p50, p99: from the moment at which every process is ready again to a search's end.
    """
    full = await stage.full(*USUAL)
    outcome = stage.outcome()
    requests = [*SLOW, *(stage.rng.choice(QUICK) for _ in range(stage.size(100, least=20)))]
    async with stage.ledger(full.address, full.database) as ledger:
        await ledger.post_all(requests)
        left = await ledger.open_jobs()
        await asyncio.to_thread(full.kill_everything)
        await asyncio.to_thread(full.postgres.start)
        await asyncio.to_thread(full.redis.start)
        await asyncio.to_thread(full.be, *USUAL)
        back = datetime.now(UTC)
        await ledger.all_ended()
        found = await ledger.compare(outcome)
    outcome.take_times(
        [max(0.0, (one.finished_at - back).total_seconds()) for one in found.values() if one.finished_at]
    )
    outcome.notes["open when killed"] = left
    outcome.judge(len(requests))
    outcome.require("nothing was left to do when everything was killed", that=left > 0)
    outcome.require(f"took {outcome.p99} s", that=(outcome.p99 or 0) <= stage.limit(BLACKOUT_SECONDS))
    return outcome
