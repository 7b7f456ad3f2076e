"""Campaigns between rounds: parked until the trainings of their round have ended, then queued again.

What a campaign waits for is read from the rows of its trainings, so that no message can be lost: a worker that has
ended a training looks here, and so does every sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, and_, case, false, func, select
from sqlalchemy.orm import Session, aliased

from app.jobs import lifecycle
from app.jobs.lifecycle import ENDED, State
from app.storage.db import Database
from app.storage.models import Campaign, CampaignTraining, Job

QUEUE = "search"
"""The queue of campaigns: its workers choose networks with the engine, and need no torch."""


def advance(database: Database) -> None:
    """Report the progress of the campaigns between rounds, and queue those whose trainings have all ended.

    Idempotent, and correct in several processes at a time.
    """
    with database.read() as session:
        due = [row for row in _between_rounds(session) if _has_ended(row) or _said(row) != row.progress_message]
    if not due:
        return
    with database.write() as session:
        for row in due:
            advance_one(session, row.id)


def advance_one(session: Session, campaign_id: UUID) -> None:
    """Do the same for one campaign."""
    for row in _between_rounds(session, campaign_id):
        if _has_ended(row):
            lifecycle.unpark(session, campaign_id)
        else:
            lifecycle.report_parked(session, campaign_id, min(1.0, row.ended / row.whole), _said(row))


def _said(row: Row[*tuple[Any, ...]]) -> str:
    """Return the message of a campaign between rounds."""
    paused = "paused; " if row.paused else ""
    return f"{paused}round {row.round}: {row.ended} of {row.ended + row.pending} trainings have ended"


def _has_ended(row: Row[*tuple[Any, ...]]) -> bool:
    return row.pending == 0 and not row.paused


def _between_rounds(session: Session, campaign_id: UUID | None = None) -> Sequence[Row[*tuple[Any, ...]]]:
    query = _query()
    return session.execute(query if campaign_id is None else query.where(Campaign.id == campaign_id)).all()


@cache
def _query() -> Select[*tuple[Any, ...]]:
    """Return the query of the campaigns that are parked: which round it is, and how many trainings have ended."""
    work = aliased(Job)
    pending = func.coalesce(func.sum(case((work.state.not_in(ENDED), 1), else_=0)), 0)
    own = func.count(CampaignTraining.number)
    return (
        select(
            Campaign.id,
            Campaign.paused,
            Job.progress_message,
            func.coalesce(func.max(CampaignTraining.round), 0).label("round"),
            pending.label("pending"),
            (own - pending).label("ended"),
            (Campaign.trainings + Campaign.confirm).label("whole"),
        )
        .join(Job, Job.id == Campaign.id)
        .outerjoin(
            CampaignTraining,
            and_(CampaignTraining.campaign_id == Campaign.id, CampaignTraining.known == false()),
        )
        .outerjoin(work, work.id == CampaignTraining.verification_id)
        .where(Job.queue == QUEUE, Job.state == State.RUNNING, Job.lease_until.is_(None))
        .group_by(Campaign.id, Campaign.paused, Job.progress_message, Campaign.trainings, Campaign.confirm)
    )
