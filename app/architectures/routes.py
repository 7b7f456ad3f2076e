"""Routes of architectures."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response

from app.architectures import service
from app.architectures.schemas import AboutArchitecture, Definition, EvaluateAnswer, EvaluateBody
from app.http.dependencies import Owner, ReadSession, ThreadsDep, WriteSession
from app.http.fields import BODY_ERRORS, ArchId, problems
from nnmass_core.codec import JsonObject

router = APIRouter(prefix="/v1/architectures", tags=["architectures"])

DRAWING_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@router.post("/evaluate", response_model=EvaluateAnswer, responses=problems(*BODY_ERRORS))
async def evaluate_architectures(body: EvaluateBody, threads: ThreadsDep) -> JsonObject:
    """Return NN-Mass and all costs of the given definitions, in order. Stores nothing."""
    return {"results": await threads.run_cpu(service.evaluate, body.architectures, body.precision, body.batch)}


@router.post(
    "",
    status_code=201,
    response_model=AboutArchitecture,
    responses={
        200: {"model": AboutArchitecture, "description": "Already registered: equal networks have equal ids."},
        **problems(*BODY_ERRORS),
    },
)
def register_architecture(
    body: Annotated[Definition, Body()], session: WriteSession, owner: Owner, response: Response
) -> JsonObject:
    """Register a network by its full definition, to use its `arch_id` in other requests."""
    answer, new = service.register(session, owner, body)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/architectures/{answer['arch_id']}"
    return answer


@router.get("/{arch_id}", response_model=AboutArchitecture, responses=problems(404, 422, 503))
def get_architecture(arch_id: ArchId, session: ReadSession, owner: Owner) -> JsonObject:
    """Return an architecture with its figures at fp32 and the newest searches that ranked it."""
    return service.about(session, owner, arch_id)


@router.delete("/{arch_id}", status_code=204, responses=problems(404, 409, *BODY_ERRORS))
def delete_architecture(arch_id: ArchId, session: WriteSession, owner: Owner) -> None:
    """Delete an architecture that you registered.

    While a search, verification, measurement or export of yours uses it, returns 409 and names them.
    """
    service.delete(session, owner, arch_id)


@router.get(
    "/{arch_id}/diagram.svg",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}, "description": "The diagram."}, **problems(404, 422, 503)},
)
def get_diagram(arch_id: ArchId, session: ReadSession, owner: Owner) -> Response:
    """Return an SVG diagram of an architecture: its cells or stages, their skip wiring and share of the NN-Mass."""
    headers = {"Content-Security-Policy": DRAWING_POLICY, "Cache-Control": "private, max-age=86400"}
    return Response(service.diagram(session, owner, arch_id), media_type="image/svg+xml", headers=headers)
