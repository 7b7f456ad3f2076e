"""What the work of the queues requires beyond this service's own packages: torch, for everything but searches."""

from __future__ import annotations

from importlib.util import find_spec

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.config import Settings
from app.jobs.lifecycle import WORKER_SILENT
from app.storage.db import now
from app.storage.models import WorkerBeat

NEED_TORCH = ("train", "files")
"""The queues whose work requires torch."""

GET_TORCH = "in a checkout run `make serve-train` in place of `make serve`; elsewhere run `pip install 'nnmass[train]'`"
"""What to do where torch is missing."""

WITHOUT_TORCH = (
    "the service has no torch: it cannot train or measure networks, and cannot create ONNX and TorchScript files"
)


def torch_installed() -> bool:
    """Return whether this process's environment has torch. It is read each time: torch may be installed meanwhile."""
    return find_spec("torch") is not None


def torch_found(session: Session, settings: Settings) -> bool | None:
    """Return whether the workers have torch; None where no live worker that needs it says.

    Embedded workers use the environment of this process. Others say it with their heartbeats; one of them without torch
    is enough for False, because it takes jobs that must fail.
    """
    if settings.embedded:
        return torch_installed()
    live = WorkerBeat.seen_at > now(session) - WORKER_SILENT
    said = session.scalars(select(WorkerBeat.torch).where(WorkerBeat.queue.in_(NEED_TORCH), live)).all()
    known = [torch for torch in said if torch is not None]
    return all(known) if known else None


def warning(session: Session, queue: str) -> str | None:
    """Return what to do where all live workers of a queue say that they lack torch: its work fails when they take it.

    None where one of them has torch or does not say, and where there is none.
    """
    live = WorkerBeat.seen_at > now(session) - WORKER_SILENT
    said = session.scalars(select(WorkerBeat.torch).where(WorkerBeat.queue == queue, live)).all()
    if not said or any(torch is not False for torch in said):
        return None
    return (
        f"no running {queue} worker has torch: this fails when one of them takes it; run `pip install 'nnmass[train]'` "
        f"where they run and restart them, or stop them and run `nnmass worker {queue}` where torch is"
    )


def refusal(settings: Settings, queue: str) -> str | None:
    """Return why no work is accepted for a queue: it would have to fail. None where work is accepted.

    Separate workers may be replaced by others that have torch before they take the work, so that it is accepted.
    """
    missing = queue in NEED_TORCH and settings.embedded and not torch_installed()
    return f"{WITHOUT_TORCH}; {GET_TORCH}" if missing else None
