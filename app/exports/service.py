"""Files of networks, untrained and trained. A worker creates those that need torch; they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app import catalog
from app.errors import Invalid, NotFound, Unavailable, WrongState
from app.exports import repository
from app.exports.repository import Kept, Source
from app.jobs import lifecycle, waiting
from app.jobs.lifecycle import State
from app.jobs.waiting import Waiting
from app.storage.blobs import Blob
from app.storage.db import now
from app.storage.ids import new_id
from app.storage.locks import advisory_lock
from app.storage.models import Export
from nnmass_core import __version__
from nnmass_core.architecture import Architecture
from nnmass_core.export.artifacts import ARTIFACTS
from nnmass_core.export.deployment import FILES_VERSION, USUAL, FileOptions, applying
from nnmass_core.export.pytorch_source import file_without_torch
from nnmass_core.wiring import MOST_LINKS, possible_links

KIND, QUEUE = "export", "files"
MOST_WEIGHTS = 100_000_000
"""The most weights of a file that a worker creates: 400 MB."""

TRY_AGAIN_AFTER = timedelta(seconds=10)
"""How long a failed or cancelled export is reported; a request after that tries again."""


@dataclass(frozen=True)
class Format:
    """One format of a file."""

    suffix: str
    media_type: str


@dataclass(frozen=True)
class Wanted:
    """A file that somebody asks for.

    kind: its format. verification_id: the training whose weights of the seed it has; None for an untrained network.
    """

    architecture: Architecture
    kind: str
    seed: int
    options: FileOptions
    verification_id: UUID | None = None

    @property
    def source(self) -> Source:
        """What it is a file of."""
        return self.verification_id or self.architecture.arch_id


FORMATS = {
    "json": Format("json", "application/json"),
    "pytorch": Format("py", "text/x-python"),
    "onnx": Format("onnx", "application/octet-stream"),
    "torchscript": Format("pt2", "application/octet-stream"),
    "metadata": Format("onnx.json", "application/json"),
}


@dataclass(frozen=True)
class File:
    """A finished file."""

    name: str
    media_type: str
    content: bytes | Blob


@dataclass(frozen=True)
class Pending:
    """A file that does not exist, at least not yet.

    status: the state of its job, such as `running` while a worker creates it. waiting: what it waits for while it is
    queued.
    """

    status: State
    message: str
    waiting: Waiting | None


def architecture_of(session: Session, owner: str, arch_id: str, kind: str) -> Architecture:
    """Return the architecture for a file. Raises NotFound, and Invalid if the file would be too large."""
    architecture = catalog.architecture(session, owner, arch_id)
    _check_size(architecture, kind)
    return architecture


def made_here(wanted: Wanted) -> File | None:
    """Return an untrained file that needs no torch, created in a second or two; None for the other kinds."""
    content = file_without_torch(wanted.architecture, wanted.kind, wanted.seed)
    return None if content is None else file_of(wanted, content)


def find(session: Session, owner: str, wanted: Wanted) -> File | Pending | None:
    """Look up a file that a worker creates; None when none is to.

    Raises Unavailable when it has just failed or been cancelled.
    """
    kept = repository.newest(session, owner, wanted.source, wanted.kind, wanted.seed, wanted.options)
    if kept is None or _worth_another_try(session, kept.row):
        return None
    return _found(session, wanted, kept)


def _found(session: Session, wanted: Wanted, kept: Kept) -> File | Pending:
    if kept.row.job.state == State.FAILED:
        raise Unavailable(f"the export failed: {kept.row.job.error_message}")
    if kept.row.job.state == State.CANCELLED:
        raise Unavailable("the export was cancelled")
    if kept.content is None:
        return _pending(session, kept.row)
    return file_of(wanted, kept.content)


def _pending(session: Session, row: Export) -> Pending:
    job = row.job
    waits = waiting.of(session, job)
    message = "a worker is creating the file" if job.state == State.RUNNING else job.progress_message
    return Pending(State(job.state), waits.message if waits else message, waits)


def file_of(wanted: Wanted, content: bytes | Blob) -> File:
    """Return a file under its name, which says whether it is trained, and its options where they are not the usual."""
    form, options, architecture = FORMATS[wanted.kind], wanted.options, wanted.architecture
    batch = "" if options.batch is None else f"-batch{options.batch}"
    opset = "" if options.opset == USUAL.opset else f"-opset{options.opset}"
    variant = batch + opset + ("" if options.fold_batchnorm else "-batchnorm")
    if wanted.verification_id is not None:
        stem, _, suffix = ARTIFACTS[wanted.kind].name(wanted.seed).partition(".")
        return File(f"{stem}{variant}.{suffix}", form.media_type, content)
    name = f"{architecture.family}-{architecture.arch_id.removeprefix('arch_')[:12]}"
    if wanted.kind != "json":  # a definition has neither weights nor wiring
        name += f"-untrained-seed{wanted.seed}{variant}"
    return File(f"{name}.{form.suffix}", form.media_type, content)


def ask(session: Session, owner: str, wanted: Wanted) -> File | Pending:
    """Queue a job to create a file, unless one is pending or has succeeded.

    Raises Unavailable as `find` does, and NotFound when its verification was deleted meanwhile.
    """
    # so that it is created only once
    advisory_lock(session, "export", owner, str(wanted.source), wanted.kind, str(wanted.seed), str(wanted.options))
    kept = repository.newest(session, owner, wanted.source, wanted.kind, wanted.seed, wanted.options)
    if kept is None or _worth_another_try(session, kept.row):
        return _pending(session, _enqueue(session, owner, wanted))
    return _found(session, wanted, kept)


def cancel(session: Session, owner: str, source: Source, kind: str, seed: int) -> Pending:
    """Cancel the creation of a file, with any options; an ended one does not change. Raises NotFound.

    Returns the state of the newest.
    """
    newest, *others = every(session, owner, source, kind, seed)
    for row in (newest, *others):
        lifecycle.cancel(session, row.id)
    session.refresh(newest.job)  # its current state: it may have ended since it was read
    return _pending(session, newest)


def delete(session: Session, owner: str, source: Source, kind: str, seed: int) -> None:
    """Delete a file, with any options, also as other versions made it.

    Raises NotFound, WrongState while a worker creates it.
    """
    for row in every(session, owner, source, kind, seed):
        if not lifecycle.delete(session, row.id):
            session.expire_all()
            every(session, owner, source, kind, seed)  # it may no longer exist
            raise WrongState("a worker is creating the file; cancel it first")


def every(session: Session, owner: str, source: Source, kind: str, seed: int) -> Sequence[Export]:
    """Return the stored files of a network, of a format and a seed, the latest first. Raises NotFound."""
    found = repository.every(session, owner, source, kind, seed)
    if not found:
        raise NotFound("there is no such file")
    return found


def _check_size(architecture: Architecture, kind: str) -> None:
    """Refuse files that would take minutes to write or gigabytes to store. Raises Invalid."""
    if kind != "json" and possible_links(architecture) > MOST_LINKS:
        raise Invalid.at("format", "too_large", f"has more than {MOST_LINKS:,} possible skip connections")
    if kind not in ("json", "pytorch") and architecture.evaluation.weights > MOST_WEIGHTS:
        raise Invalid.at("format", "too_large", f"has more than {MOST_WEIGHTS:,} weights, too many for a file")


def _worth_another_try(session: Session, row: Export) -> bool:
    ended = row.job.finished_at
    gave_up = row.job.state in (State.FAILED, State.CANCELLED)
    return gave_up and ended is not None and now(session) - ended > TRY_AGAIN_AFTER


def _enqueue(session: Session, owner: str, wanted: Wanted) -> Export:
    if wanted.verification_id is not None and not repository.keep(session, wanted.verification_id):
        raise NotFound("there is no such verification")
    job = lifecycle.enqueue(session, new_id(), kind=KIND, queue=QUEUE, owner=owner)
    row = Export(
        id=job.id,
        job=job,
        verification_id=wanted.verification_id,
        arch_id=wanted.architecture.arch_id,
        definition=wanted.architecture.definition(),
        format=wanted.kind,
        seed=wanted.seed,
        files_version=FILES_VERSION,
        core_version=__version__,
        **applying(wanted.kind, wanted.options),
    )
    session.add(row)
    session.flush()
    return row
