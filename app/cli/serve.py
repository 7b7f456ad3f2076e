"""Running the service: API, workers, or all of it in one."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.settings import DataDir, settings_here, use_folder
from nnmass.cli.exit_codes import refuse

if TYPE_CHECKING:
    from app.config import Settings


class WorkerQueue(StrEnum):
    """The queues that a worker can serve."""

    SEARCH = "search"
    TRAIN = "train"
    MAINTENANCE = "maintenance"


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    data_dir: DataDir = None,
) -> None:
    """Run the service.

    Without NNMASS_DATABASE_URL and NNMASS_BROKER_URL everything runs here, in embedded mode: API, workers and sweeper,
    with SQLite in the data folder. With both set, this is the API alone.
    """
    use_folder(data_dir)
    from app.observability import logs
    from app.processes.embedded import Embedded, StartRefused
    from app.processes.uvicorn_server import fit_for, run_api

    try:
        settings = fit_for(host, settings_here())
        if settings.embedded:
            logs.configure(settings)
            raise typer.Exit(Embedded(settings, host, port).run())
    except StartRefused as refusal:
        refuse(str(refusal))
    _check_broker(settings)
    run_api(settings, host=host, port=port)


def _check_broker(settings: Settings) -> None:
    """Refuse a broker that would lose messages; one that is away for now is waited for by those who need it."""
    from app.jobs.broker import BrokerUnfit, check_redis, reachable

    try:
        if not settings.embedded and reachable(settings):
            check_redis(settings)
    except BrokerUnfit as unfit:
        refuse(str(unfit))


def api(fd: Annotated[int, typer.Option(help="A listening socket that the parent has opened.")]) -> None:
    """Run the API alone on an open socket: embedded mode's own child."""
    from app.processes.parent_watch import watch_parent

    watch_parent()  # before the rest is imported, so that a parent killed meanwhile leaves nothing behind
    from app.processes.uvicorn_server import run_api

    run_api(settings_here(), fd=fd)


def worker(
    queue: Annotated[WorkerQueue, typer.Argument(help="What to work on.")],
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at once.")] = 1,
) -> None:
    """Run a worker for one queue. `maintenance` is the sweeper."""
    settings = settings_here()
    _check_broker(settings)
    if settings.embedded and concurrency > 1:
        refuse("--concurrency: embedded mode does one job at a time")
    # a pool fed by bells in a folder hands work over under a lock, and a process killed while it holds that takes it
    # along: the worker would never work again (ADR 12)
    pool = "solo" if settings.embedded or queue is WorkerQueue.MAINTENANCE else "prefork"
    celery = [sys.executable, "-m", "celery", "--app", "worker.celery_app", "--skip-checks", "worker"]
    what = [
        "--queues",
        queue.value,
        "--hostname",
        f"{queue.value}@%h",
        "--pool",
        pool,
        "--concurrency",
        str(concurrency),
    ]
    quiet = ["--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    os.execv(sys.executable, [*celery, *what, *quiet])  # noqa: S606 - no shell is wanted
