"""Metrics of this process and of the whole service.

Job-level figures are read from the database when Prometheus collects them, so that they are right no matter which
process did the work. Only requests are counted here, in the process that answers them.

The cost for the database is bounded, no matter how large the history is and how often figures are collected. Pending
jobs and workers are read by index, and cached for some seconds. Ended jobs are read once each, in the order of their
end, and counted since this process began, as counters are: the sums in the database would shrink when a job is deleted,
which Prometheus would take for a restart. Counting all jobs scans an index; with a million jobs the scan runs so rarely
that it takes 0.5 % of the time.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.config import Settings
from app.jobs import broker
from app.metrics import repository
from app.storage.db import Database, now
from nnmass_core import __version__

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
KEPT_SECONDS = 5.0
"""Seconds for which figures are cached: all scrapes within this interval share one read of the database."""

SHARE = 0.005
"""A slow query runs so rarely that it takes at most this share of the time."""

LATE = timedelta(seconds=30)
"""Reads overlap by this, because a job's end time is read before its transaction is committed."""

LONGEST_BACK = timedelta(hours=1)
"""How far back the first read goes, if this process has run for that long."""

MOST_ENDED = 50_000
"""The most ended jobs that one read counts; the next read continues after them."""

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
JOB_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43_200)
SOLVER_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

log = logging.getLogger("nnmass.metrics")
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # their moments are of no use here


class Metrics:
    """The metrics of one process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._registry = CollectorRegistry()
        build = Gauge("nnmass_build_info", "Running version.", ["version", "python"], registry=self._registry)
        build.labels(__version__, platform.python_version()).set(1)
        labels = ["method", "route", "status"]
        self._requests = Counter(
            "nnmass_http_requests_total", "Requests answered by this process.", labels, registry=self._registry
        )
        self._durations = Histogram(
            "nnmass_http_request_duration_seconds",
            "Time from a request to the start of its response, in this process.",
            labels,
            buckets=REQUEST_SECONDS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(Figures(database, settings))

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        labels = (method if method in METHODS else "other", route, f"{status // 100}xx")
        self._requests.labels(*labels).inc()
        self._durations.labels(*labels).observe(seconds)

    def exposed(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry)


class Figures(Collector):
    """Figures from the database, cached for a moment. Thread-safe: concurrent callers wait for the same result."""

    def __init__(self, database: Database, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._settings, self._clock = database, settings, clock
        self._lock = threading.Lock()
        self._began = clock()
        self._due = self._totals_due = -1e9
        self._figures: list[GaugeMetricFamily] = []
        self._totals: dict[tuple[str, str], int] = {}
        self._ended = _Ended()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are determined when figures are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return the figures, read again if the cached ones are old."""
        with self._lock:
            if self._clock() >= self._due:
                self._figures = self._look()
            return [*self._figures, *self._ended.collect()]

    def _look(self) -> list[GaugeMetricFamily]:
        reachable = _gauge("nnmass_broker_up", "Whether the broker responds.")
        reachable.add_metric([], float(broker.reachable(self._settings)))
        found: list[GaugeMetricFamily] = []
        took = 0.0
        try:
            with self._database.read() as session:
                totals = self._counted(session)
                started = self._clock()
                moment, oldest = repository.oldest(session)
                queues = _queues(session, moment, oldest)
                found = [*queues, _jobs(totals), _pace(session), *_workers(session, moment)]
                self._ended.look(session, timedelta(seconds=self._clock() - self._began))
                took = self._clock() - started
        except SQLAlchemyError as error:
            log.warning("cannot read metrics from the database: %s", type(error).__name__)
        self._due = self._clock() + max(KEPT_SECONDS, took / SHARE)
        there = _gauge("nnmass_database_up", "Whether the database responds and has its tables.")
        there.add_metric([], float(bool(found)))
        return [there, reachable, *found]

    def _counted(self, session: Session) -> dict[tuple[str, str], int]:
        started = self._clock()
        if started >= self._totals_due:
            self._totals = repository.totals(session)
            self._totals_due = self._clock() + max(KEPT_SECONDS, (self._clock() - started) / SHARE)
        return self._totals


class _Ended:
    """Jobs that ended since this process began, each counted once."""

    def __init__(self) -> None:
        self._durations = Histogram(
            "nnmass_job_duration_seconds",
            "Time from a job's first start to its end, for jobs of all workers that ended since this process started.",
            ["kind", "state"],
            buckets=JOB_SECONDS,
            registry=None,
        )
        self._solver = Histogram(
            "nnmass_search_solver_seconds",
            "Search time of succeeded searches of all workers that ended since this process started.",
            buckets=SOLVER_SECONDS,
            registry=None,
        )
        self._began: datetime | None = None
        self._reached: datetime | None = None
        self._counted: set[tuple[UUID, datetime]] = set()

    def look(self, session: Session, running: timedelta) -> None:
        """Count the jobs that ended since the last read. running: how long this process has run."""
        if self._began is None or self._reached is None:
            self._began = self._reached = now(session) - min(running, LONGEST_BACK)
        rows = repository.ended(session, max(self._began, self._reached - LATE), MOST_ENDED)
        for row in rows:
            if (row.id, row.finished_at) not in self._counted:
                self._count(row)
        if rows:
            self._reached = rows[-1].finished_at
        self._counted = {(row.id, row.finished_at) for row in rows}

    def _count(self, row: Any) -> None:
        if row.started_at is not None:  # a job cancelled before it began has no duration
            self._durations.labels(row.kind, row.state).observe((row.finished_at - row.started_at).total_seconds())
        if row.solver_seconds is not None:
            self._solver.observe(row.solver_seconds)

    def collect(self) -> Iterable[Metric]:
        """Return the histograms."""
        return [*self._durations.collect(), *self._solver.collect()]


def _gauge(name: str, about: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, labels=labels)


def _queues(session: Session, moment: datetime, oldest: Mapping[str, datetime | None]) -> list[GaugeMetricFamily]:
    pending = repository.pending(session)
    jobs = _gauge("nnmass_queue_jobs", "Jobs queued and running, by queue.", ("queue", "state"))
    ages = _gauge("nnmass_queue_oldest_seconds", "Age of the oldest queued job, 0 if there is none.", ("queue",))
    for queue in broker.QUEUES:
        for state in repository.PENDING:
            jobs.add_metric([queue, state], pending.get((queue, state), 0))
        accepted = oldest[queue]
        ages.add_metric([queue], 0.0 if accepted is None else (moment - accepted).total_seconds())
    return [jobs, ages]


def _jobs(totals: dict[tuple[str, str], int]) -> GaugeMetricFamily:
    jobs = _gauge("nnmass_jobs", "Jobs in the database.", ("kind", "state"))
    for labels, count in sorted(totals.items()):
        jobs.add_metric(labels, count)
    return jobs


def _pace(session: Session) -> GaugeMetricFamily:
    pace = _gauge("nnmass_training_images_per_second", "Total images per second of all running trainings.")
    pace.add_metric([], sum(repository.paces(session)))
    return pace


def _workers(session: Session, moment: datetime) -> list[GaugeMetricFamily]:
    seen = repository.workers(session, moment)
    alive = _gauge("nnmass_workers", "Workers that sent a heartbeat within 15 s.", ("queue",))
    silent = _gauge(
        "nnmass_worker_last_seen_seconds",
        "Time since the last heartbeat of any worker of a queue; absent after 10 minutes without one.",
        ("queue",),
    )
    for queue in broker.QUEUES:
        count, ago = seen.get(queue, (0, None))
        alive.add_metric([queue], count)
        if ago is not None:
            silent.add_metric([queue], max(0.0, ago.total_seconds()))
    return [alive, silent]
