"""State of a worker process: settings, database, sweeper, and whether it is shutting down."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from multiprocessing.synchronize import Event
from typing import Any

from celery import Celery, signals

from app.config import Settings
from app.jobs import broker
from app.jobs.broker import Dispatcher
from app.jobs.sweeper import Sweeper
from app.observability import logs, tracing
from app.processes.parent_watch import watch_parent
from app.storage.db import Database

log = logging.getLogger("nnmass.worker")


@dataclass(frozen=True)
class Context:
    """What a task needs from its process."""

    settings: Settings
    database: Database
    worker: str


def context(announce: Callable[[str], None]) -> Context:
    """Return this process's context; a forked process gets its own, since connections cannot be shared.

    announce: called with each queue in which a committed transaction put work.
    """
    return _context_of(os.getpid(), announce)


@lru_cache(maxsize=1)
def _context_of(pid: int, announce: Callable[[str], None]) -> Context:
    settings = Settings()
    return Context(settings, Database(settings.sqlalchemy_url, announce), worker_name(pid))


def worker_name(pid: int) -> str:
    """Return a name that identifies this worker uniquely."""
    return f"{socket.gethostname()}/{pid}"[:128]


def is_stopping() -> bool:
    """Return whether this worker is shutting down."""
    return _stopping().is_set()


@cache
def _stopping() -> Event:
    """Return the event with which the main process signals its pool. Workers forked from one parent have one each."""
    return multiprocessing.get_context("fork").Event()


def connect(celery: Celery, settings: Settings) -> None:
    """Connect the worker's setup and shutdown to Celery's signals."""
    _stopping()  # created before the pool forks

    @signals.celeryd_init.connect(weak=False)  # before Celery logs any warning
    @signals.setup_logging.connect(weak=False)  # in place of Celery's own
    def log_as_set(**_: Any) -> None:
        logs.configure(settings)
        if settings.log_format == "json":  # Celery prints text for people on standard output
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    @signals.worker_process_init.connect(weak=False)
    def follow_main_process(**_: Any) -> None:
        watch_parent(os.getppid())

    @signals.worker_ready.connect(weak=False)
    def start_sweeper(sender: Any, **_: Any) -> None:
        dispatcher = Dispatcher(settings)
        dispatcher.start()
        (queue,) = sender.task_consumer.queues
        database = Database(settings.sqlalchemy_url, dispatcher.notify)
        Sweeper(database, settings, dispatcher.notify, worker=(worker_name(os.getpid()), queue.name)).start()
        if broker.LOOK[queue.name] in celery.tasks:
            dispatcher.notify(queue.name)

    @signals.worker_shutting_down.connect(weak=False)
    def tell_children(**_: Any) -> None:
        _stopping().set()

    @signals.worker_process_shutdown.connect(weak=False)
    @signals.worker_shutdown.connect(weak=False)
    def send_last_traces(**_: Any) -> None:
        tracing.flush()
