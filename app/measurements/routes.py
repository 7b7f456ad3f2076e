"""Routes of measurements."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from app.deps import Owner, ReadSession, WriteSession
from app.errors import NotFound
from app.fields import BODY_ERRORS, problems
from app.measurements import service
from app.measurements.schemas import MeasurementAnswer, MeasurementBody

router = APIRouter(prefix="/v1/measurements", tags=["measurements"])


def measurement_id_of(measurement_id: str) -> UUID:
    """Read the id in a path; what is no id names no measurement."""
    try:
        return UUID(measurement_id)
    except ValueError:
        raise NotFound("there is no such measurement") from None


MeasurementId = Annotated[UUID, Depends(measurement_id_of)]


@router.post("", status_code=202, response_model=MeasurementAnswer, responses=problems(*BODY_ERRORS))
def submit_measurement(
    body: MeasurementBody, session: WriteSession, owner: Owner, response: Response
) -> MeasurementAnswer:
    """Measure a network as it is initialized; a worker with torch does it."""
    found = service.submit(session, owner, body)
    response.headers["Location"] = f"/v1/measurements/{found.id}"
    return found


@router.get("/{measurement_id}", response_model=MeasurementAnswer, responses=problems(404, 422, 503))
def get_measurement(measurement_id: MeasurementId, session: ReadSession, owner: Owner) -> MeasurementAnswer:
    """Return a measurement with its state and, once it has succeeded, its figures."""
    return service.answer(service.get(session, owner, measurement_id))


@router.post("/{measurement_id}/cancel", response_model=MeasurementAnswer, responses=problems(404, 422, 503))
def cancel_measurement(measurement_id: MeasurementId, session: WriteSession, owner: Owner) -> MeasurementAnswer:
    """Cancel a measurement. One that has ended stays as it is."""
    return service.answer(service.cancel(session, owner, measurement_id))
