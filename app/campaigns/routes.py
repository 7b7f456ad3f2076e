"""Routes of campaigns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy.orm import Session

from app.campaigns import service
from app.campaigns.repository import Filters
from app.campaigns.schemas import CampaignAnswer, CampaignBody, CampaignChanges, CampaignList
from app.http.dependencies import (
    Admitted,
    IdempotencyKey,
    InTurn,
    Owner,
    PagingDep,
    ReadSession,
    StreamsDep,
    ThreadsDep,
    WriteSession,
)
from app.http.event_streams import RESPONSES, LastEventId
from app.http.fields import BODY_ERRORS, UUID_EXAMPLE, CreatedAfter, FamilyFilter, StatusFilter, problems
from app.storage.db import Database
from app.storage.ids import id_of

router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"])

CampaignId = Annotated[UUID, id_of("campaign"), Field(description="Id of the campaign.", examples=[UUID_EXAMPLE])]


@router.post("", status_code=202, response_model=CampaignAnswer, responses=problems(*BODY_ERRORS))
async def submit_campaign(
    body: CampaignBody, threads: ThreadsDep, owner: Owner, idempotency_key: IdempotencyKey
) -> JSONResponse:
    """Train a number of networks of a search's question in rounds, to find the best that is measured.

    Each training is a verification of its own. Networks that were trained on this data by this recipe before are free.
    """
    done = await threads.write(owner, service.submit, body, idempotency_key)
    return JSONResponse(done.body, done.status, headers={"Location": done.location})


@router.get("", response_model=CampaignList, responses=problems(422, 503))
def list_campaigns(
    session: ReadSession,
    owner: Owner,
    paging: PagingDep,
    status: StatusFilter = None,
    family: FamilyFilter = None,
    created_after: CreatedAfter = None,
) -> dict[str, object]:
    """List campaigns, newest first, without their trainings."""
    items, following = service.list_page(session, owner, Filters(status, family, created_after), paging)
    return {"items": items, "next_cursor": following}


@router.get("/{campaign_id}", response_model=CampaignAnswer, responses=problems(404, 422, 503))
def get_campaign(campaign_id: CampaignId, session: ReadSession, owner: Owner) -> CampaignAnswer:
    """Return a campaign with its trainings and, once it has succeeded, the best network that was measured."""
    return service.show(session, owner, campaign_id)


@router.patch("/{campaign_id}", response_model=CampaignAnswer, responses=problems(404, 409, *BODY_ERRORS))
def change_campaign(campaign_id: CampaignId, body: CampaignChanges, database: InTurn, owner: Owner) -> CampaignAnswer:
    """Change how many networks a campaign trains. 409 if its last round has begun, or if it has ended."""
    return _changed(database, owner, campaign_id, partial(service.change, changes=body))


@router.delete("/{campaign_id}", status_code=204, responses=problems(404, 409, *BODY_ERRORS))
def delete_campaign(campaign_id: CampaignId, session: WriteSession, owner: Owner) -> None:
    """Delete a campaign. Its trainings remain, as evidence. A running campaign returns 409."""
    service.delete(session, owner, campaign_id)


@router.post("/{campaign_id}/cancel", response_model=CampaignAnswer, responses=problems(404, *BODY_ERRORS))
def cancel_campaign(campaign_id: CampaignId, database: InTurn, owner: Owner) -> CampaignAnswer:
    """Cancel a campaign with its trainings that have not ended. A campaign that has ended remains unchanged."""
    return _changed(database, owner, campaign_id, service.cancel)


@router.post("/{campaign_id}/pause", response_model=CampaignAnswer, responses=problems(404, 409, *BODY_ERRORS))
def pause_campaign(campaign_id: CampaignId, database: InTurn, owner: Owner) -> CampaignAnswer:
    """Pause a campaign: the trainings of its round go on, and nothing else begins. One that has ended returns 409."""
    return _changed(database, owner, campaign_id, partial(service.pause, paused=True))


@router.post("/{campaign_id}/resume", response_model=CampaignAnswer, responses=problems(404, 409, *BODY_ERRORS))
def resume_campaign(campaign_id: CampaignId, database: InTurn, owner: Owner) -> CampaignAnswer:
    """Let a paused campaign go on. One that has ended returns 409."""
    return _changed(database, owner, campaign_id, partial(service.pause, paused=False))


@router.get("/{campaign_id}/events", response_class=Response, responses={**RESPONSES, **problems(404, 422, 503)})
def stream_campaign_events(
    campaign_id: CampaignId,
    session: ReadSession,
    streams: StreamsDep,
    owner: Owner,
    last: LastEventId,
    admitted: Admitted,
) -> Response:
    """Stream the events of a campaign: `status`, `progress` and finally `done`, which contains the campaign.

    It is `queued` again before each round. `Last-Event-ID` resumes a stream.
    """
    found = service.get(session, owner, campaign_id)
    whole = partial(service.whole, owner=owner, campaign_id=campaign_id)
    return streams.response(found.job, last, whole, admitted)


def _changed(
    database: Database, owner: str, campaign_id: UUID, change: Callable[[Session, str, UUID], None]
) -> CampaignAnswer:
    """Change a campaign, and return it after the commit: writing its trainings must not hold the database's lock."""
    with database.write() as session:
        change(session, owner, campaign_id)
    with database.read() as session:
        return service.show(session, owner, campaign_id)
