"""Routes of verifications, and of the data sets and recipes that they can name."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import Field

from app.http.dependencies import (
    Admitted,
    IdempotencyKey,
    InTurn,
    Owner,
    PagingDep,
    ReadSession,
    StreamsDep,
    ThreadsDep,
    WidePagingDep,
    WriteSession,
)
from app.http.event_streams import RESPONSES, LastEventId
from app.http.fields import (
    ARCH_ID_EXAMPLE,
    BODY_ERRORS,
    UUID_EXAMPLE,
    CreatedAfter,
    FamilyFilter,
    PathName,
    StatusFilter,
    problems,
)
from app.http.file_responses import sent
from app.http.idempotency import Submission
from app.storage.db import Database
from app.storage.ids import id_of
from app.verifications import repository, service
from app.verifications.repository import Filters
from app.verifications.schemas import (
    Batch,
    DatasetList,
    RecipeList,
    Role,
    VerificationAnswer,
    VerificationBody,
    VerificationChanges,
    VerificationList,
)
from app.verifications.submission import submit
from nnmass_core.codec import JsonObject
from nnmass_core.export.artifacts import ARTIFACTS
from nnmass_core.named.datasets import datasets
from nnmass_core.named.recipes import recipes

router = APIRouter(prefix="/v1/verifications", tags=["verifications"])
names = APIRouter(prefix="/v1", tags=["verifications"])


ArtifactName = Annotated[PathName, Field(description="Name of the file.", examples=["weights-seed0.pt"])]
VerificationId = Annotated[
    UUID, id_of("verification"), Field(description="Id of the verification.", examples=[UUID_EXAMPLE])
]


@router.post("", status_code=202, response_model=VerificationAnswer | Batch, responses=problems(*BODY_ERRORS))
async def submit_verification(
    body: VerificationBody, threads: ThreadsDep, owner: Owner, idempotency_key: IdempotencyKey
) -> JSONResponse:
    """Train a network, or the best of a search and controls of equal cost, on a worker with torch.

    For `arch_id` or `architecture`, returns the verification. For `search`, returns `items`: candidates first, then
    their controls.
    """
    return _accepted(await submit(threads, owner, body, idempotency_key))


def _accepted(done: Submission) -> JSONResponse:
    return JSONResponse(done.body, done.status, headers={"Location": done.location})


def filters_of(
    status: StatusFilter = None,
    search: Annotated[
        UUID | None,
        Query(description="Only those with networks of this search, or of its space.", examples=[UUID_EXAMPLE]),
    ] = None,
    arch_id: Annotated[
        str | None, Query(max_length=64, description="Only those of this network.", examples=[ARCH_ID_EXAMPLE])
    ] = None,
    dataset: Annotated[
        str | None, Query(max_length=500, description="Dataset key, as in the evidence.", examples=["mnist-5k"])
    ] = None,
    family: FamilyFilter = None,
    role: Annotated[Role | None, Query(description="Only those with this role.", examples=[Role.CANDIDATE])] = None,
    created_after: CreatedAfter = None,
) -> Filters:
    """Return the filters of a request."""
    return Filters(status, search, arch_id, dataset, family, role, created_after)


@router.get("", response_model=VerificationList, responses=problems(422, 503))
def list_verifications(
    session: ReadSession,
    owner: Owner,
    paging: PagingDep,
    filters: Annotated[Filters, Depends(filters_of)],
) -> dict[str, object]:
    """List verifications, newest first, without their epochs."""
    items, following = service.list_page(session, owner, filters, paging)
    return {"items": items, "next_cursor": following}


@router.get("/{verification_id}", response_model=VerificationAnswer, responses=problems(404, 422, 503))
def get_verification(verification_id: VerificationId, session: ReadSession, owner: Owner) -> VerificationAnswer:
    """Return a verification with the epochs of each seed and, once it has succeeded, its result."""
    return service.show(session, owner, verification_id)


@router.patch("/{verification_id}", response_model=VerificationAnswer, responses=problems(404, *BODY_ERRORS))
def change_verification(
    verification_id: VerificationId, body: VerificationChanges, database: InTurn, owner: Owner
) -> VerificationAnswer:
    """Take a verification out of the evidence without deleting it, or back in: predictions change with it."""
    with database.write() as session:
        service.change(session, owner, verification_id, body)
    return _show(database, owner, verification_id)


@router.delete("/{verification_id}", status_code=204, responses=problems(404, 409, *BODY_ERRORS))
def delete_verification(verification_id: VerificationId, session: WriteSession, owner: Owner) -> None:
    """Delete a verification with its epochs, log and files. Its evidence goes with it; its replays remain, without it.

    A running verification returns 409.
    """
    service.delete(session, owner, verification_id)


@router.get("/{verification_id}/events", response_class=Response, responses={**RESPONSES, **problems(404, 422, 503)})
def stream_verification_events(
    verification_id: VerificationId,
    session: ReadSession,
    streams: StreamsDep,
    owner: Owner,
    last: LastEventId,
    admitted: Admitted,
) -> Response:
    """Stream the events of a verification: `status`, `progress` and finally `done`, which contains the verification.

    A `progress` event at the end of an epoch has the figures in `epoch`. `Last-Event-ID` resumes a stream.
    """
    found = service.get(session, owner, verification_id)
    whole = partial(service.whole, owner=owner, verification_id=verification_id)
    return streams.response(found.job, last, whole, admitted)


@router.get("/{verification_id}/log", response_class=PlainTextResponse, responses=problems(404, 422, 503))
def get_log(verification_id: VerificationId, session: ReadSession, owner: Owner) -> str:
    """Return the end of the log of the training process."""
    return service.log(session, owner, verification_id)


@router.get(
    "/{verification_id}/artifacts/{name}",
    response_class=Response,
    responses={
        200: {
            "content": {kind.media_type: {} for kind in ARTIFACTS.values()},
            "description": "The file.",
        },
        **problems(404, 422, 503),
    },
)
async def get_artifact(
    verification_id: VerificationId,
    name: ArtifactName,
    threads: ThreadsDep,
    owner: Owner,
) -> Response:
    """Return a file of the training.

    For each seed: the trained weights for torch, the PyTorch source into which they load, the definition with the
    wiring, and the trained network as ONNX. Files of different seeds do not belong together.
    """
    file = await threads.read(owner, service.artifact, verification_id, name)
    return await sent(repository.content_of(file), file.name, file.media_type, threads, owner, file.sha256)


@router.post("/{verification_id}/cancel", response_model=VerificationAnswer, responses=problems(404, *BODY_ERRORS))
def cancel_verification(verification_id: VerificationId, database: InTurn, owner: Owner) -> VerificationAnswer:
    """Cancel a verification; its process ends within seconds. A verification that has ended remains unchanged."""
    with database.write() as session:
        service.cancel(session, owner, verification_id)
    return _show(database, owner, verification_id)


@router.post(
    "/{verification_id}/retry",
    status_code=202,
    response_model=VerificationAnswer,
    responses={
        200: {"model": VerificationAnswer, "description": "Already queued or running: unchanged."},
        **problems(404, 409, *BODY_ERRORS),
    },
)
def retry_verification(
    verification_id: VerificationId, database: InTurn, owner: Owner, response: Response
) -> VerificationAnswer:
    """Queue a failed or cancelled verification again. It resumes at its last checkpoint."""
    with database.write() as session:
        again = service.retry(session, owner, verification_id)
    response.status_code = 202 if again else 200
    return _show(database, owner, verification_id)


@router.post(
    "/{verification_id}/replay",
    status_code=202,
    response_model=VerificationAnswer,
    responses=problems(404, *BODY_ERRORS),
)
def replay_verification(
    verification_id: VerificationId, session: WriteSession, owner: Owner, idempotency_key: IdempotencyKey
) -> JSONResponse:
    """Repeat a verification. Then `replay.same_result` says whether all figures are equal."""
    return _accepted(service.replay(session, owner, verification_id, idempotency_key))


def _show(database: Database, owner: str, verification_id: UUID) -> VerificationAnswer:
    """Return the response after the commit: writing a thousand epochs must not hold the database's lock."""
    with database.read() as session:
        return service.show(session, owner, verification_id)


@names.get("/datasets", response_model=DatasetList)
def list_datasets(paging: WidePagingDep) -> JsonObject:
    """List the datasets for verifications and measurements."""
    page, following = paging.page_of({"list": "datasets"}, list(datasets().values()))
    return {"items": [about.to_json() for about in page], "next_cursor": following}


@names.get("/recipes", response_model=RecipeList)
def list_recipes(paging: WidePagingDep) -> JsonObject:
    """List the named recipes and their full definitions."""
    page, following = paging.page_of({"list": "recipes"}, list(recipes().values()))
    return {
        "items": [
            {
                "name": item.name,
                "description": item.description,
                "digest": item.recipe.digest,
                "recipe": item.recipe.to_json(),
            }
            for item in page
        ],
        "next_cursor": following,
    }
