"""The Celery application that workers run: `celery -A worker.celery_app worker -Q search`."""

from __future__ import annotations

import logging
from collections.abc import Callable

from celery import Celery

from app.config import Settings
from app.jobs import broker, lifecycle, rounds
from app.jobs.sweeper import Sweeper
from app.processes.parent_watch import watch_parent
from worker import files_tasks, process, search_tasks, train_tasks
from worker.process import Context

log = logging.getLogger("nnmass.worker")

watch_parent()  # before the other imports, so that no process survives if the parent is killed meanwhile
settings = Settings()
app: Celery = broker.make_celery(settings)
process.connect(app, settings)


@app.task(name=broker.LOOK["search"])
def look_for_search() -> None:
    """Run the oldest queued search, or the next step of a campaign."""
    look("search", search_tasks.run_next)


@app.task(name=broker.LOOK["train"])
def look_for_training() -> None:
    """Run the oldest queued training; a campaign may have waited for it."""
    look("train", train_tasks.run_next)
    rounds.advance(process.context(notify).database)


@app.task(name=broker.LOOK["files"])
def look_for_file() -> None:
    """Run the oldest queued export or measurement."""
    look("files", files_tasks.run_next)


def look(queue: str, run_next: Callable[[Context], bool]) -> None:
    """Run the oldest job of a queue; notify the queue again while it has more."""
    if process.is_stopping():
        return  # notifications fetched earlier must start no work now
    context = process.context(notify)
    if run_next(context) and not process.is_stopping():
        with context.database.read() as session:
            more = lifecycle.queued(session, queue)
        if more:
            notify(queue)


@app.task(name=broker.LOOK["maintenance"])
def look_after_jobs() -> None:
    """Sweep now: a notification on this queue starts a sweep immediately, not at the next interval."""
    context = process.context(notify)
    Sweeper(context.database, context.settings, notify).sweep()


def notify(queue: str) -> None:
    """Notify a queue. If that fails, the sweeper notifies it later."""
    try:
        app.send_task(broker.LOOK[queue], queue=queue, ignore_result=True, retry=False)
    except Exception as error:  # the broker may be unavailable; the job is in the database
        log.warning("could not notify queue %s: %s", queue, type(error).__name__)
