"""SQL of campaigns; every query for an owner is limited to that owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload

from app.jobs.lifecycle import ENDED, State
from app.jobs.owned_rows import newest, of_owner, owned
from app.storage.models import Campaign, CampaignTraining, Job, Verification, VerificationSeed
from app.verifications.repository import KIND as VERIFICATION_KIND

KIND = "campaign"


@dataclass(frozen=True)
class Filters:
    """Which campaigns to return."""

    status: State | None = None
    family: str | None = None
    created_after: datetime | None = None


@dataclass(frozen=True)
class Training:
    """A training of a campaign, and how it stands.

    state: of its verification's job; None where that was deleted. error: why it failed. accuracies: by seed, of those
    of its seeds that have ended; empty where its owner took the verification out of the evidence.
    """

    row: CampaignTraining
    state: State | None
    error: str | None
    accuracies: dict[int, float]

    @property
    def pending(self) -> bool:
        """Whether it is queued or runs."""
        return self.state is not None and self.state not in ENDED

    @property
    def accuracy(self) -> float | None:
        """The mean over its seeds; None until all have ended."""
        if not all(seed in self.accuracies for seed in self.row.seeds):
            return None
        return sum(self.accuracies[seed] for seed in self.row.seeds) / len(self.row.seeds)


def get(session: Session, owner: str, campaign_id: UUID) -> Campaign | None:
    """Return a campaign with its job."""
    return session.scalars(owned(Campaign, KIND, owner).where(Job.id == campaign_id)).one_or_none()


def get_to_change(session: Session, owner: str, campaign_id: UUID) -> Campaign | None:
    """Return a campaign, its job locked until the transaction ends: no worker stores a round meanwhile."""
    query = owned(Campaign, KIND, owner).where(Job.id == campaign_id)
    return session.scalars(query.with_for_update()).one_or_none()


def of_worker(session: Session, campaign_id: UUID) -> Campaign:
    """Return a campaign with its job, for the worker that has claimed it."""
    return session.get_one(Campaign, campaign_id, options=[joinedload(Campaign.job)])


def page(session: Session, owner: str, filters: Filters, before: str | None, limit: int) -> Sequence[Campaign]:
    """Return up to `limit` campaigns, newest first, older than the one `before`."""
    older = None if before is None else UUID(before)
    status, after = filters.status, filters.created_after
    query = newest(owned(Campaign, KIND, owner), Campaign, older, limit, status=status, created_after=after)
    if filters.family is not None:
        query = query.where(Campaign.family == filters.family)
    return session.scalars(query).all()


def trainings(session: Session, campaign_id: UUID) -> list[Training]:
    """Return the trainings of a campaign in the order in which they were chosen."""
    of_it = CampaignTraining.campaign_id == campaign_id
    query = (
        select(CampaignTraining, Job.state, Job.error_message)
        .outerjoin(Job, Job.id == CampaignTraining.verification_id)
        .where(of_it)
        .order_by(CampaignTraining.number)
    )
    rows = session.execute(query).all()
    measured = accuracies(session, select(CampaignTraining.verification_id).where(of_it))
    return [
        Training(
            row.CampaignTraining,
            None if row.state is None else State(row.state),
            row.error_message,
            measured.get(row.CampaignTraining.verification_id, {}),
        )
        for row in rows
    ]


def accuracies(session: Session, verification_ids: Select[UUID | None]) -> dict[UUID, dict[int, float]]:
    """Return the accuracies by which campaigns choose and which they answer, by verification and seed.

    The only place where they are read. They are those on the test images: choosing by them flatters the network that is
    chosen, which the seeds of the confirmation, drawn afterwards, correct for in part.
    """
    query = (
        select(VerificationSeed.verification_id, VerificationSeed.seed, VerificationSeed.accuracy)
        .join(Verification, Verification.id == VerificationSeed.verification_id)
        .where(Verification.id.in_(verification_ids), Verification.excluded.is_(False))
    )
    found: dict[UUID, dict[int, float]] = defaultdict(dict)
    for verification_id, seed, accuracy in session.execute(query):
        found[verification_id][seed] = accuracy
    return found


def known(session: Session, owner: str, campaign: Campaign) -> list[tuple[UUID, str, list[int]]]:
    """Return id, network and seeds of the owner's succeeded trainings on the data and by the recipe of a campaign."""
    query = of_owner(
        select(Verification.id, Verification.arch_id, Verification.seeds), Verification, VERIFICATION_KIND, owner
    )
    same = (
        Verification.dataset_key == campaign.dataset_key,
        Verification.recipe_digest == campaign.recipe_digest,
        Verification.adapt == campaign.adapt,
        Verification.excluded.is_(False),
        Job.state == State.SUCCEEDED,
    )
    rows = session.execute(query.where(*same).order_by(Job.id))
    return [(verification_id, arch_id, seeds) for verification_id, arch_id, seeds in rows]


def own_trainings(session: Session, campaign_id: UUID) -> Sequence[UUID]:
    """Return the verifications that a campaign has queued itself and that have not ended."""
    query = (
        select(CampaignTraining.verification_id)
        .join(Job, Job.id == CampaignTraining.verification_id)
        .where(CampaignTraining.campaign_id == campaign_id, CampaignTraining.known.is_(False))
        .where(Job.state.not_in(ENDED))
        .order_by(CampaignTraining.number)
    )
    return [found for found in session.scalars(query) if found is not None]
