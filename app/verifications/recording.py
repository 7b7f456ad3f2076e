"""Store a training's data for a worker: each write under its claim's fence, so that a lost attempt changes nothing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TypedDict
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.jobs import lifecycle
from app.jobs.lifecycle import Claim, Event, State
from app.storage.db import now
from app.storage.models import Artifact, Checkpoint, Job, Verification, VerificationEpoch, VerificationSeed
from app.verifications import repository
from nnmass_core.codec import JsonObject, JsonValue, sha256_of
from nnmass_core.verification.chance import chance_warning

EPOCH_FIGURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate")
"""The fields that are bit-identical when a training is repeated on a CPU; times are not."""

VALIDATION_FIGURES = ("validation_loss", "validation_accuracy")
"""The same of the validation images, null where none are held out."""


class EpochFigures(TypedDict):
    """What the trainer reports of an epoch."""

    seed: int
    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    images_per_second: float
    seconds: float


class CheckpointFile(TypedDict):
    """A checkpoint that the trainer has written."""

    seed: int
    epoch: int
    step: int
    file: str
    sha256: str
    size: int


class SeedOutcome(TypedDict):
    """How the training of a seed ended."""

    seed: int
    data_digest: str
    accuracy: float
    test_loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    confusion: list[list[int]]


class TrainingOrder(TypedDict):
    """What has to be trained, and how far earlier attempts came."""

    architecture: JsonObject
    dataset: JsonObject
    recipe: JsonObject
    adapt: bool
    seeds: list[int]
    artifacts: list[str]
    finished: list[int]
    data_digest: str | None
    resume: list[CheckpointFile]


def order_of(session: Session, verification_id: UUID) -> TrainingOrder:
    """Return the trainer's order: all work, and how far earlier attempts came."""
    row = session.get_one(Verification, verification_id)
    ended = repository.seeds(session, verification_id)
    known = repository.checkpoints(session, verification_id)
    return {
        "architecture": row.definition,
        "dataset": row.dataset,
        "recipe": row.recipe,
        "adapt": row.adapt,
        "seeds": row.seeds,
        "artifacts": row.kept,
        "finished": [seed.seed for seed in ended],
        "data_digest": ended[0].data_digest if ended else None,
        "resume": [
            {
                "seed": point.seed,
                "epoch": point.epoch,
                "step": point.step,
                "file": point.file,
                "sha256": point.sha256,
                "size": point.size,
            }
            for point in known
        ],
    }


def adaptation(session: Session, claim: Claim, adapted: JsonObject | None) -> bool:
    """Store how the recipe is adapted to few images, or None. Return False when the job is no longer this worker's."""
    if not lifecycle.holds(session, claim):
        return False
    session.get_one(Verification, claim.job_id).adaptation = adapted
    return True


def epoch(session: Session, claim: Claim, figures: EpochFigures, fraction: float, message: str) -> bool:
    """Store an epoch and add its event. Return False when the job is no longer this worker's.

    If the same epoch is stored again, because the response to the first commit was lost, it adds no second event.
    """
    known = session.get(VerificationEpoch, (claim.job_id, figures["seed"], figures["epoch"]))
    if known is not None and known.seconds == figures["seconds"]:
        return lifecycle.holds(session, claim)
    if not lifecycle.add_event(session, claim, Event.PROGRESS, {"epoch": figures}, fraction, message):
        return False
    session.merge(VerificationEpoch(verification_id=claim.job_id, **figures))
    return True


def checkpoint(session: Session, claim: Claim, point: CheckpointFile) -> list[str] | None:
    """Store a checkpoint; return the names of files no longer needed, or None when the job is not this worker's."""
    if not lifecycle.holds(session, claim):
        return None
    row = Checkpoint(verification_id=claim.job_id, fence=claim.fence, created_at=now(session), **point)
    session.merge(row)
    session.flush()
    return _forget(session, claim, repository.superfluous(session, claim.job_id, point["seed"], ended=False))


def seed(session: Session, claim: Claim, outcome: SeedOutcome, files: Sequence[Artifact]) -> list[str] | None:
    """Store a seed's result and files; return checkpoint files no longer needed, or None when it is not ours."""
    if not lifecycle.holds(session, claim):
        return None
    session.merge(VerificationSeed(verification_id=claim.job_id, **outcome))
    for file in files:
        session.merge(file)
    return _forget(session, claim, repository.superfluous(session, claim.job_id, outcome["seed"], ended=True))


def _forget(session: Session, claim: Claim, points: Sequence[Checkpoint]) -> list[str]:
    files = [point.file for point in points]
    chosen = delete(Checkpoint).where(Checkpoint.verification_id == claim.job_id, Checkpoint.file.in_(files))
    session.execute(chosen, execution_options={"synchronize_session": False})
    return files


def save_log(session: Session, claim: Claim, log: str, live_stats: dict[str, float]) -> bool:
    """Store the end of the log and the pace. Return False when the job is no longer this worker's."""
    if not lifecycle.holds(session, claim):
        return False
    row = session.get_one(Verification, claim.job_id)
    row.log, row.live_stats = log, live_stats
    return True


def succeed(session: Session, claim: Claim, figures: JsonObject) -> bool:
    """Finish the job with its result. Return False when it is no longer this worker's."""
    if not lifecycle.succeed(session, claim):
        job = session.get(Job, claim.job_id)  # the response to an earlier commit may have been lost
        return job is not None and job.state == State.SUCCEEDED and job.fence == claim.fence
    row = session.get_one(Verification, claim.job_id)
    ended, epochs = repository.seeds(session, row.id), repository.epochs(session, row.id)
    warning = chance_warning({seed.seed: seed.accuracy for seed in ended}, repository.test_counts(session, row.id))
    row.result = _result(row, ended, epochs, figures) | {"warnings": [] if warning is None else [warning]}
    row.result_digest = f"sha256:{_digest(ended, epochs, row.adaptation)}"
    row.live_stats = None
    return True


def _result(
    row: Verification,
    ended: Sequence[VerificationSeed],
    epochs: Sequence[VerificationEpoch],
    figures: JsonObject,
) -> JsonObject:
    by_seed = {seed.seed: seed for seed in ended}
    seeds = [by_seed[number] for number in row.seeds]
    return {
        "accuracy": {
            **_over_seeds([seed.accuracy for seed in seeds]),
            "by_seed": [{"seed": seed.seed, "accuracy": seed.accuracy, "test_loss": seed.test_loss} for seed in seeds],
            "validation": _validation(seeds),
        },
        "seconds": sum(epoch.seconds for epoch in epochs),
        **figures,
    }


def _validation(seeds: Sequence[VerificationSeed]) -> JsonObject | None:
    """Return the accuracy on the validation images over the seeds; None where none are held out."""
    accuracies = [seed.validation_accuracy for seed in seeds if seed.validation_accuracy is not None]
    if not accuracies:
        return None
    by_seed: list[JsonValue] = [
        {"seed": seed.seed, "accuracy": seed.validation_accuracy, "loss": seed.validation_loss} for seed in seeds
    ]
    return {**_over_seeds(accuracies), "by_seed": by_seed}


def _over_seeds(accuracies: Sequence[float]) -> JsonObject:
    """Return the mean and the sample standard deviation of accuracies, which is null for one."""
    std = statistics.stdev(accuracies) if len(accuracies) > 1 else None
    return {"mean": statistics.fmean(accuracies), "std": std}


def _digest(ended: Sequence[VerificationSeed], epochs: Sequence[VerificationEpoch], adapted: JsonObject | None) -> str:
    figures = [[e.seed, e.epoch, *(getattr(e, name) for name in EPOCH_FIGURES), *_validated(e)] for e in epochs]
    outcomes = [[seed.seed, seed.accuracy, seed.test_loss] for seed in ended]
    how = {} if adapted is None else {"adaptation": adapted["digest"]}
    return sha256_of({"epochs": figures, "seeds": outcomes} | how)


def _validated(epoch: VerificationEpoch) -> list[float]:
    """Return the figures of the validation images; none where none are held out, as the digest always was."""
    figures = (getattr(epoch, name) for name in VALIDATION_FIGURES)
    return [figure for figure in figures if figure is not None]
