"""Operations on measurements."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app import catalog
from app.errors import Invalid, NotFound, WrongState
from app.http.idempotency import Submission, fingerprint_of, once
from app.jobs import lifecycle, waiting
from app.jobs.owned_rows import owned
from app.measurements.schemas import MeasurementAnswer, MeasurementBody
from app.storage.ids import new_id
from app.storage.models import Job, Measurement
from nnmass_core import __version__
from nnmass_core.architecture import Architecture
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture
from nnmass_core.wiring import concatenation_cells

KIND, QUEUE = "measurement", "files"
PLACE = "/v1/measurements"


def submit(session: Session, owner: str, body: MeasurementBody, idempotency_key: str | None) -> Submission:
    """Store a measurement for the workers. Raises DefinitionError or Invalid that names the field."""
    fingerprint = fingerprint_of(PLACE, body)
    return once(session, owner, idempotency_key, fingerprint, lambda: _submit(session, owner, body))


def _submit(session: Session, owner: str, body: MeasurementBody) -> Submission:
    architecture = _architecture(session, owner, body.architecture)
    if (body.dataset is None) == (body.kind == "ldi"):
        message = "is required to measure ldi" if body.dataset is None else "does not apply to this kind"
        raise Invalid.at("dataset", "conflicts_with_kind", message)
    if body.kind == "ldi" and not concatenation_cells(architecture):
        message = f"must have concatenation cells, and {architecture.family} has none"
        raise Invalid.at("architecture", "no_cells", message)
    request = body.model_dump(mode="json") | {"architecture": architecture.definition()}
    job = lifecycle.enqueue(session, new_id(), kind=KIND, queue=QUEUE, owner=owner)
    row = Measurement(
        id=job.id,
        job=job,
        kind=body.kind,
        arch_id=architecture.arch_id,
        request=request,
        core_version=__version__,
    )
    session.add(row)
    session.flush()
    return Submission(202, answer(session, row).model_dump(mode="json"), f"{PLACE}/{row.id}")


def _architecture(session: Session, owner: str, named: Any) -> Architecture:
    if isinstance(named, dict) and set(named) == {"arch_id"}:
        arch_id = named["arch_id"]
        try:
            return catalog.architecture(session, owner, arch_id if isinstance(arch_id, str) else "")
        except NotFound as unknown:
            raise Invalid.at(
                "architecture.arch_id", "unknown_architecture", "names an unknown architecture"
            ) from unknown
    try:
        return decode_architecture(named)
    except DefinitionError as error:
        raise error.under("architecture") from error


def get(session: Session, owner: str, measurement_id: UUID) -> Measurement:
    """Return a measurement. Raises NotFound."""
    found = session.scalars(owned(Measurement, KIND, owner).where(Job.id == measurement_id)).one_or_none()
    if found is None:
        raise NotFound("there is no such measurement")
    return found


def cancel(session: Session, owner: str, measurement_id: UUID) -> Measurement:
    """Cancel a measurement; an ended one does not change. Raises NotFound."""
    found = get(session, owner, measurement_id)
    lifecycle.cancel(session, measurement_id)
    session.refresh(found.job)  # its current state: it may have ended since it was read
    return found


def delete(session: Session, owner: str, measurement_id: UUID) -> None:
    """Delete a measurement and its figures. Raises NotFound, WrongState while it runs."""
    get(session, owner, measurement_id)
    if not lifecycle.delete(session, measurement_id):
        session.expire_all()
        get(session, owner, measurement_id)  # it may no longer exist
        raise WrongState("the measurement is running; cancel it first")


def answer(session: Session, row: Measurement) -> MeasurementAnswer:
    """Return the response for a measurement."""
    job = row.job
    waits = waiting.of(session, job)
    return MeasurementAnswer.model_validate(
        {
            "id": row.id,
            "kind": row.kind,
            "status": job.state,
            "arch_id": row.arch_id,
            "request": row.request,
            "created_at": job.created_at,
            "finished_at": job.finished_at,
            "result": row.result,
            "error": {"code": job.error_code, "message": job.error_message} if job.error_code else None,
            "progress": {
                "fraction": job.progress_fraction,
                "message": waits.message if waits else job.progress_message,
            },
            "waiting": waits,
        }
    )
