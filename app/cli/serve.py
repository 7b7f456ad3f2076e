"""Commands that run the service: API, workers, or all of it together."""

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
    """The queues that a worker can process."""

    SEARCH = "search"
    TRAIN = "train"
    FILES = "files"
    MAINTENANCE = "maintenance"


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 selects a free port.")] = 8000,
    data_dir: DataDir = None,
) -> None:
    """Run the service.

    Without NNMASS_DATABASE_URL and NNMASS_BROKER_URL, embedded mode runs the API, workers and sweeper together, with
    SQLite in the data folder. With both set, this command runs only the API.
    """
    use_folder(data_dir)
    from app.observability import logs
    from app.processes.embedded import Embedded
    from app.processes.refusals import StartRefused
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
    """Refuse a broker that would lose messages. An unavailable broker is accepted: its users wait for it."""
    from app.jobs.broker import BrokerUnfit, check_redis, reachable

    try:
        if not settings.embedded and reachable(settings):
            check_redis(settings)
    except BrokerUnfit as unfit:
        refuse(str(unfit))


def worker(
    queue: Annotated[WorkerQueue, typer.Argument(help="Queue to work on.")],
    concurrency: Annotated[int, typer.Option(min=1, help="Number of parallel jobs.")] = 1,
) -> None:
    """Run a worker for one queue. The sweeper serves the `maintenance` queue."""
    settings = settings_here()
    _check_broker(settings)
    if settings.embedded and concurrency > 1:
        refuse("--concurrency must be 1 in embedded mode")
    from app.processes.workers import worker_arguments

    arguments = [sys.executable, "-m", "celery", *worker_arguments(queue, settings, concurrency)]
    os.execv(sys.executable, arguments)  # noqa: S606 - no shell is wanted
