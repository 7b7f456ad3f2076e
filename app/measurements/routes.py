"""Routes of measurements."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import Field

from app.http.dependencies import IdempotencyKey, Owner, ReadSession, WriteSession
from app.http.fields import BODY_ERRORS, UUID_EXAMPLE, problems
from app.measurements import service
from app.measurements.schemas import MeasurementAnswer, MeasurementBody
from app.storage.ids import id_of

router = APIRouter(prefix="/v1/measurements", tags=["measurements"])


MeasurementId = Annotated[
    UUID, id_of("measurement"), Field(description="Id of the measurement.", examples=[UUID_EXAMPLE])
]


@router.post("", status_code=202, response_model=MeasurementAnswer, responses=problems(*BODY_ERRORS))
def submit_measurement(
    body: MeasurementBody, session: WriteSession, owner: Owner, idempotency_key: IdempotencyKey
) -> JSONResponse:
    """Measure an initialized network, on a worker with torch."""
    done = service.submit(session, owner, body, idempotency_key)
    return JSONResponse(done.body, done.status, headers={"Location": done.location})


@router.get("/{measurement_id}", response_model=MeasurementAnswer, responses=problems(404, 422, 503))
def get_measurement(measurement_id: MeasurementId, session: ReadSession, owner: Owner) -> MeasurementAnswer:
    """Return a measurement with its status and, once it has succeeded, its figures."""
    return service.answer(session, service.get(session, owner, measurement_id))


@router.delete("/{measurement_id}", status_code=204, responses=problems(404, 409, *BODY_ERRORS))
def delete_measurement(measurement_id: MeasurementId, session: WriteSession, owner: Owner) -> None:
    """Delete a measurement and its figures. A running measurement returns 409."""
    service.delete(session, owner, measurement_id)


@router.post("/{measurement_id}/cancel", response_model=MeasurementAnswer, responses=problems(404, *BODY_ERRORS))
def cancel_measurement(measurement_id: MeasurementId, session: WriteSession, owner: Owner) -> MeasurementAnswer:
    """Cancel a measurement. A measurement that has ended remains unchanged."""
    return service.answer(session, service.cancel(session, owner, measurement_id))
