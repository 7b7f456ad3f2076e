"""Run verifications: the trainer trains, and this worker writes its events under the claim's fence."""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, undefer

from app.jobs.lifecycle import Claim, State
from app.storage.db import is_unavailable
from app.storage.models import Artifact, Job, Verification
from app.verifications import recording
from app.verifications.recording import CheckpointFile, EpochFigures, SeedOutcome
from nnmass.torch_process.protocol import Event
from nnmass_core.codec import JsonObject
from worker.child import MODULE, Listener, run_child
from worker.heartbeat import Heartbeat, Lost
from worker.job_runner import Failed
from worker.process import Context

LOG_LINES, LONGEST_LINE = 400, 500
"""The number of the trainer's log lines that are stored, and the most characters of each."""

WRITE_EVERY_SECONDS = 1.0
AWAY_SECONDS = 0.5
LIVE = ("seed", "epoch", "images_per_second", "seconds_left")

T = TypeVar("T")
log = logging.getLogger("nnmass.training")


def verify(context: Context, claim: Claim) -> None:
    """Train the verification's networks, from where an earlier attempt stopped."""
    settings = context.settings
    folder = settings.training_dir / str(claim.job_id)
    with context.database.read() as session:
        planned = recording.order_of(session, claim.job_id)
        said = session.get_one(Verification, claim.job_id, options=[undefer(Verification.log)]).log
    order = {
        **planned,
        "do": "train",
        "folder": str(folder),
        "data_root": str(settings.data_root),
        "fence": claim.fence,
        "device": settings.train_device,
        "processes": settings.train_processes,
        "checkpoint_seconds": settings.checkpoint_seconds,
    }
    _tidy(context)
    _make_folder(folder, keep={point["file"] for point in planned["resume"]})
    with Heartbeat(context, claim) as heartbeat:
        recorder = Recorder(context, claim, folder, said, heartbeat)
        recorder.write()
        with recorder.flush_log_on_failure():
            # processes that train together are started anew in any case
            idle_seconds = settings.train_idle_seconds if settings.train_processes == 1 else 0.0
            done = run_child(MODULE, order, heartbeat, recorder, idle_seconds)
        recorder.finish(done["result"])
    shutil.rmtree(folder, ignore_errors=True)


def _make_folder(folder: Path, keep: set[str]) -> None:
    """Create the training's folder; remove unfinished or unknown files of killed attempts. Raises Failed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Failed("disk_full", "the worker's disk is full") from error
    for file in folder.iterdir():
        if file.name not in keep:
            file.unlink(missing_ok=True)


def _tidy(context: Context) -> None:
    """Remove the folders of trainings that succeeded or no longer exist; a kill or another machine may leave them."""
    for folder in context.settings.training_dir.glob("*-*-*-*-*"):
        try:
            verification_id = UUID(folder.name)
        except ValueError:
            continue  # not a training's folder
        with context.database.read() as session:
            job = session.get(Job, verification_id)
        if job is None or job.state == State.SUCCEEDED:
            shutil.rmtree(folder, ignore_errors=True)


class ArtifactFile(TypedDict):
    """A file that the trainer has written to be stored."""

    name: str
    media_type: str
    file: str
    sha256: str
    size: int


class SeedReport(SeedOutcome):
    """What the trainer reports of a seed: its outcome and its files."""

    files: list[ArtifactFile]


class Recorder(Listener):
    """Writes the trainer's events: epochs, checkpoints and outcomes immediately, its log and pace once a second."""

    def __init__(self, context: Context, claim: Claim, folder: Path, said: str, heartbeat: Heartbeat) -> None:
        self._context, self._claim, self._folder, self._heartbeat = context, claim, folder, heartbeat
        self._lines = deque(said.splitlines(keepends=True), maxlen=LOG_LINES)
        self._lines.append(f"-- attempt {claim.attempt} on {context.worker}\n")
        self._lock = threading.Lock()
        self._live_stats: dict[str, float] = {}
        self._progress = (0.0, "started")
        self._written = time.monotonic()

    def log(self, line: str) -> None:
        """Store a line, and forward it to the worker's log."""
        super().log(line)
        with self._lock:
            plain = line.rstrip("\n")[:LONGEST_LINE].replace("\0", "?")  # PostgreSQL cannot store NUL
            self._lines.append(plain + "\n")

    def on_event(self, event: Event) -> None:
        """Write an event. Raises Lost when the job no longer belongs to this worker."""
        handlers: dict[str, Callable[[Any], None]] = {
            "progress": self._on_progress,
            "adaptation": self._on_adaptation,
            "epoch": self._on_epoch,
            "checkpoint": self._on_checkpoint,
            "seed": self._on_seed,
        }
        handlers[event["event"]]({name: value for name, value in event.items() if name != "event"})

    def _on_progress(self, progress: Event) -> None:
        self._progress = (float(progress["fraction"]), str(progress["message"]))
        self._live_stats = {name: progress[name] for name in LIVE if name in progress}
        if time.monotonic() - self._written >= WRITE_EVERY_SECONDS:
            self.write()

    def _on_adaptation(self, fields: Event) -> None:
        adaptation = fields["adaptation"]
        self._check(ours=self._write(lambda session: recording.adaptation(session, self._claim, adaptation)))

    def _on_epoch(self, figures: EpochFigures) -> None:
        with self._heartbeat.reporting(*self._progress):
            self._check(
                ours=self._write(lambda session: recording.epoch(session, self._claim, figures, *self._progress))
            )

    def _on_checkpoint(self, point: CheckpointFile) -> None:
        self._remove(self._write(lambda session: recording.checkpoint(session, self._claim, point)))

    def _on_seed(self, seed: SeedReport) -> None:
        files = seed["files"]
        outcome: SeedOutcome = {
            "seed": seed["seed"],
            "data_digest": seed["data_digest"],
            "accuracy": seed["accuracy"],
            "test_loss": seed["test_loss"],
            "validation_loss": seed["validation_loss"],
            "validation_accuracy": seed["validation_accuracy"],
            "confusion": seed["confusion"],
        }
        artifacts = [self._artifact(file) for file in files]
        superfluous = self._write(lambda session: recording.seed(session, self._claim, outcome, artifacts))
        self._remove(None if superfluous is None else [*superfluous, *(file["file"] for file in files)])

    def _artifact(self, file: ArtifactFile) -> Artifact:
        content = (self._folder / file["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"], f"{file['file']} changed on disk"
        return Artifact(
            verification_id=self._claim.job_id,
            name=file["name"],
            media_type=file["media_type"],
            sha256=file["sha256"],
            size=file["size"],
            content=content,
        )

    def _remove(self, superfluous: list[str] | None) -> None:
        self._check(ours=superfluous is not None)
        for name in superfluous or ():
            (self._folder / name).unlink(missing_ok=True)

    def _check(self, *, ours: bool) -> None:
        if not ours:
            raise Lost

    def write(self) -> None:
        """Write log and pace. Raises Lost when the job no longer belongs to this worker."""
        self._written = time.monotonic()
        with self._lock:
            said = "".join(self._lines)
        self._check(ours=self._write(lambda session: recording.save_log(session, self._claim, said, self._live_stats)))

    def finish(self, figures: JsonObject) -> None:
        """Finish the job with its result. Raises Lost when it no longer belongs to this worker."""
        self.write()
        self._check(ours=self._write(lambda session: recording.succeed(session, self._claim, figures)))

    def _write(self, change: Callable[[Session], T]) -> T:
        """Write; retry while the lease may be valid if the database is unavailable: a training survives its restart."""
        deadline = time.monotonic() + self._context.settings.lease_seconds
        while True:
            try:
                with self._context.database.write() as session:
                    return change(session)
            except DBAPIError as error:
                if not is_unavailable(error) or time.monotonic() > deadline:
                    raise
                log.warning("the database does not respond (%s); trying again", type(error.orig).__name__)
                time.sleep(AWAY_SECONDS)

    @contextmanager
    def flush_log_on_failure(self) -> Iterator[None]:
        """Store the log of a training that fails, too."""
        try:
            yield
        except Lost:
            raise
        except Exception:
            self.write()
            raise
