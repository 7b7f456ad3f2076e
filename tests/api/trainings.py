"""Trainings as a worker would have written them, without one: for what the API makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.storage.db import Database
from app.storage.models import Artifact, Verification
from app.verifications import recording
from nnmass_core.export.deployment import USUAL, metadata, metadata_file
from nnmass_core.families import decode_architecture
from nnmass_core.named.adaptation import adaptation_of
from nnmass_core.named.recipes import Recipe

FIGURES: dict[str, Any] = {
    "measured": {
        "params": 1,
        "macs": 1,
        "latency_ms": {"value": 1.0, "low": 0.9, "high": 1.1, "kind": "measured", "repeats": 30, "device": "cpu"},
    },
    "device": "cpu",
    "processes": 1,
    "threads": 1,
    "data": {
        "train": 4,
        "validation": 0,
        "test": 10,
        "classes": ["no", "yes"],
        "digest": "sha256:0",
        "layout": "train/ is for training, Valid/ for testing",
        "decisions": ["3 images turned as the EXIF orientation says"],
        "left_out": [{"reason": "files that end in .txt", "count": 3, "names": ["a.txt", "b.txt"]}],
    },
    "versions": {"torch": "0"},
}


def claim(database: Database, queue: str = "train") -> Claim:
    """Claim the oldest training, or the oldest job of another queue."""
    with database.write() as session:
        held = lifecycle.claim(session, queue, "test/1", 60.0)
    assert held is not None
    return held


def epoch(
    database: Database, held: Claim, seed: int, number: int, *, validated: float | None = None, tested: bool = True
) -> None:
    """Store an epoch.

    validated: its accuracy on validation images, if there are any. tested: whether the test images are read after it.
    """
    figures: recording.EpochFigures = {
        "seed": seed,
        "epoch": number,
        "train_loss": 1 / number,
        "train_accuracy": 0.5,
        "test_loss": 1 / number if tested else None,
        "test_accuracy": 0.4 if tested else None,
        "validation_loss": None if validated is None else 1 / number,
        "validation_accuracy": validated,
        "learning_rate": 0.1,
        "images_per_second": 10.0,
        "seconds": 0.4,
    }
    with database.write() as session:
        assert recording.epoch(session, held, figures, 0.5, f"epoch {number}")


def adapt(database: Database, held: Claim, recipe: Recipe, images: int) -> None:
    """Store how a recipe is adapted to a number of images, or that it is not."""
    adapted = adaptation_of(recipe, images)
    with database.write() as session:
        assert recording.adaptation(session, held, None if adapted is None else adapted.to_json())


def finish(database: Database, held: Claim, hits_by_seed: dict[int, int], validated: float | None = None) -> None:
    """End a training; for each seed, the given number of 10 test images is right.

    validated: the accuracy of each seed on validation images, if there are any.
    """
    for seed, hits in hits_by_seed.items():
        epoch(database, held, seed, 1, validated=validated)
        outcome: recording.SeedOutcome = {
            "seed": seed,
            "accuracy": hits / 10,
            "test_loss": 1.0,
            "validation_loss": None if validated is None else 0.5,
            "validation_accuracy": validated,
            "confusion": [[hits, 10 - hits], [0, 0]],
            "data_digest": "sha256:0",
        }
        file = Artifact(
            verification_id=held.job_id,
            name=f"weights-seed{seed}.pt",
            media_type="application/octet-stream",
            sha256="0" * 64,
            size=3,
            content=b"abc",
        )
        with database.write() as session:
            assert recording.seed(session, held, outcome, [file]) is not None
    with database.write() as session:
        assert recording.succeed(session, held, {**FIGURES, "data": dict(FIGURES["data"])})


def store(database: Database, verification_id: UUID, files: Mapping[str, bytes]) -> None:
    """Store files of a training, in place of those of the same names."""
    with database.write() as session:
        for name, content in files.items():
            row = Artifact(name=name, media_type="application/octet-stream", sha256="0", size=len(content))
            row.verification_id, row.content = verification_id, content
            session.merge(row)


def describe(database: Database, verification_id: UUID, seed: int = 0) -> None:
    """Store what the ONNX file of a training says about itself; the network has its initial weights."""
    with database.read() as session:
        architecture = decode_architecture(session.get_one(Verification, verification_id).definition)
    about = metadata(architecture, seed, "0" * 64, USUAL)
    store(database, verification_id, {f"model-seed{seed}.json": metadata_file(about)})


def train_all(database: Database, hits: list[int]) -> list[UUID]:
    """End the queued trainings, oldest first, each with seed 0 and the given number of 10 images right."""
    ended = []
    for count in hits:
        held = claim(database)
        finish(database, held, {0: count})
        ended.append(held.job_id)
    return ended
