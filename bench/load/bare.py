"""Bare implementations of the same work: only SQL, pages without HTTP, and Celery tasks that do nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import orjson
import psycopg
from celery import Celery
from kombu.entity import Queue
from redis import Redis

from app.http.cursors import Cursors
from app.http.pagination import Paging
from app.jobs.lifecycle import State
from app.searches import answers, service
from app.searches.repository import Filters
from app.storage.db import Database
from bench.load.client import Timings
from bench.load.servers import OWNER, ROOT, Running

T = TypeVar("T")
COUNTER = "bare-done"
END_SECONDS = 120.0
COLUMNS = """
select j.id, j.state, j.attempt, j.heartbeat_at, j.progress_fraction, j.progress_message, j.error_code, j.error_message,
       j.created_at, j.started_at, j.finished_at, s.name, s.note, s.family, s.request, s.request_digest, s.core_version,
       s.result, s.result_digest
from searches s join jobs j on j.id = s.id
"""
OWNED = f" where j.owner = '{OWNER}' and j.kind = 'search'"
NEWEST = " order by j.id desc limit 21"
CONDITIONS = {
    "newest first, page by page": "",
    "status=failed": " and j.state = 'failed'",
    "family=resnet": " and s.family = 'resnet'",
    "tag=rare": " and s.id in (select search_id from search_tags where tag = 'rare')",
    "created_after": " and j.created_at > '2020-01-01'",
    "q=camera": " and (s.name ilike '%%camera%%' or s.note ilike '%%camera%%')",
}
FILTERS = {
    "newest first, page by page": Filters(),
    "status=failed": Filters(status=State.FAILED),
    "family=resnet": Filters(family="resnet"),
    "tag=rare": Filters(tag="rare"),
    "created_after": Filters(created_after=datetime(2020, 1, 1, tzinfo=UTC)),
    "q=camera": Filters(q="camera"),
}
TAGS = "select search_id, position, tag from search_tags where search_id = any(%s)"


def poll(running: Running, seconds: float) -> Timings:
    """Fetch one search and its tags by plain SQL, on one connection, as often as possible."""
    with psycopg.connect(running.postgres_url, autocommit=True) as database:
        (newest,) = database.execute(
            f"select id from jobs where owner = '{OWNER}' order by id desc limit 1"
        ).fetchall()[0]

        def fetch() -> None:
            database.execute(f"{COLUMNS}{OWNED} and j.id = %s", [newest]).fetchall()
            database.execute(TAGS, [[newest]]).fetchall()

        timings = Timings()
        while timings.seconds < seconds:
            _timed(timings, fetch)
        return timings


def pages(running: Running, name: str, count: int) -> tuple[Timings, Timings]:
    """Page through a list, 20 a page, alternately by plain SQL and by the service's own code without HTTP.

    Both fetch one row more, to see whether more follow, and start again after the last page. Plain SQL gives rows with
    parsed JSON, the service's code gives pages as the JSON that it would send.
    """
    raw, made = Timings(), Timings()
    before: UUID | None = None
    cursor: str | None = None
    cursors = Cursors("a key of the bench")
    database = Database(running.postgres_url.replace("://", "+psycopg://", 1))
    with psycopg.connect(running.postgres_url, autocommit=True) as connection:
        for _ in range(count):
            rows = _timed(raw, partial(_rows, connection, name, before))
            before = rows[19][0] if len(rows) > 20 else None
            page = _timed(made, partial(_page, database, name, Paging(cursors, cursor, 20)))
            cursor = orjson.loads(page)["next_cursor"]
    database.dispose()
    return raw, made


def _rows(connection: psycopg.Connection[Any], name: str, before: UUID | None) -> list[Any]:
    older = "" if before is None else " and j.id < %(before)s and s.id < %(before)s"
    rows = connection.execute(f"{COLUMNS}{OWNED}{CONDITIONS[name]}{older}{NEWEST}", {"before": before}).fetchall()
    connection.execute(TAGS, [[row[0] for row in rows]]).fetchall()
    return rows


def _page(database: Database, name: str, paging: Paging) -> bytes:
    with database.read() as session:
        return answers.write_list(session, *service.history(session, OWNER, FILTERS[name], paging))


def _timed(timings: Timings, do: Callable[[], T]) -> T:
    began = time.perf_counter()
    result = do()
    timings.latencies.append(time.perf_counter() - began)
    timings.seconds += timings.latencies[-1]
    return result


def make_celery() -> Celery:
    """Return a Celery application configured as the service's, with one task that only counts its calls."""
    celery = Celery("bare", broker=os.environ["BARE_REDIS"])
    celery.conf.update(
        task_queues=[Queue("bare", routing_key="bare", no_ack=True)],  # type: ignore[no-untyped-call]
        task_default_queue="bare",
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
    )
    redis = Redis.from_url(os.environ["BARE_REDIS"])

    @celery.task(name="bare.nothing")  # type: ignore[untyped-decorator]
    def nothing() -> None:
        redis.incr(COUNTER)

    return celery


def tasks(running: Running, count: int, concurrency: int) -> float:
    """Publish `count` tasks that do nothing and run them with a Celery worker; return tasks per second."""
    os.environ["BARE_REDIS"] = running.redis_url.removesuffix("/0") + "/1"
    command = [
        "worker",
        "--concurrency",
        str(concurrency),
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
    ]
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "--app", "bench.load.bare_worker", "--skip-checks", *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with Redis.from_url(os.environ["BARE_REDIS"]) as redis, make_celery() as celery:
            _send_and_wait(celery, redis, 1)  # until the worker has started
            started = time.perf_counter()
            _send_and_wait(celery, redis, count)
            return count / (time.perf_counter() - started)
    finally:
        worker.terminate()
        worker.wait(60)


def _send_and_wait(celery: Celery, redis: Redis, count: int) -> None:
    redis.delete(COUNTER)
    for _ in range(count):
        celery.send_task("bare.nothing", queue="bare", ignore_result=True)
    deadline = time.monotonic() + END_SECONDS
    while int(redis.get(COUNTER) or 0) < count:
        if time.monotonic() > deadline:
            raise SystemExit("the bare tasks do not end")
        time.sleep(0.02)
