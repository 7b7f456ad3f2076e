"""Files of trainings with options of their own: a worker writes the ONNX file anew from the stored weights."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from app.errors import Invalid, NotFound, WrongState
from app.exports import repository
from app.exports.service import File, Wanted, file_of
from app.jobs.lifecycle import ENDED
from app.storage.blobs import Blob
from app.storage.models import Verification
from nnmass_core.codec import JsonObject
from nnmass_core.export.artifacts import ARTIFACTS
from nnmass_core.export.deployment import USUAL, FileOptions, metadata_file, read_metadata, rewritten
from nnmass_core.families import decode_architecture


def look_up(
    session: Session, owner: str, verification_id: UUID, kind: str, seed: int | None, options: FileOptions
) -> File | Wanted:
    """Return a file that needs no worker: the stored one where the options are the usual, and the metadata.

    For others, return what a worker is to write.

    Args:
        session: The session.
        owner: The owner of the verification.
        verification_id: The verification.
        kind: `onnx`, or `metadata`, what the ONNX file says about itself.
        seed: One of its seeds; None if there is only one.
        options: How the file is written.

    Raises:
        NotFound: There is no such verification.
        Invalid: The seed is not one of its seeds.
        WrongState: It has not ended, or has not stored what the file is made of.
    """
    training = _training(session, owner, verification_id)
    number = _seed(training, seed)
    if training.job.state not in ENDED:
        raise WrongState(f"the verification has not ended; its status is {training.job.state}")
    wanted = Wanted(decode_architecture(training.definition), kind, number, options, training.id)
    if options == USUAL and (stored := _artifact(session, training, kind, number)):
        return file_of(wanted, stored)
    about = _required(session, training, "metadata", number)
    if kind == "metadata":
        described = rewritten(read_metadata(repository.whole(session, about)), options)
        return file_of(wanted, metadata_file(described))
    _required(session, training, "weights", number)
    return wanted


def seed_of(session: Session, owner: str, verification_id: UUID, seed: int | None) -> int:
    """Return a seed of a verification, which must be named where there are several. Raises NotFound, Invalid."""
    return _seed(_training(session, owner, verification_id), seed)


def parts_of(session: Session, verification_id: UUID, seed: int) -> tuple[JsonObject, bytes]:
    """Return what an ONNX file is made of: what the stored file says about itself, and the weights."""
    training = session.get_one(Verification, verification_id)
    about, weights = (
        repository.whole(session, _required(session, training, kind, seed)) for kind in ("metadata", "weights")
    )
    return read_metadata(about), weights


def _training(session: Session, owner: str, verification_id: UUID) -> Verification:
    found = repository.verification(session, owner, verification_id)
    if found is None:
        raise NotFound("there is no such verification")
    return found


def _seed(training: Verification, seed: int | None) -> int:
    seeds = ", ".join(map(str, training.seeds))
    if seed is None:
        if len(training.seeds) > 1:
            raise Invalid.at("seed", "required", f"is required: the verification has the seeds {seeds}")
        return training.seeds[0]
    if seed not in training.seeds:
        raise Invalid.at("seed", "unknown_choice", f"must be a seed of the verification: {seeds}")
    return seed


def _artifact(session: Session, training: Verification, kind: str, seed: int) -> Blob | None:
    return repository.artifact(session, training.id, ARTIFACTS[kind].name(seed))


def _required(session: Session, training: Verification, kind: str, seed: int) -> Blob:
    found = _artifact(session, training, kind, seed)
    if found is None:
        name = ARTIFACTS[kind].name(seed)
        raise WrongState(
            f"the file is written from the stored weights and metadata, and this verification has no {name}; "
            "train with the `artifacts` weights and metadata"
        )
    return found
