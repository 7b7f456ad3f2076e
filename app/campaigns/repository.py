"""SQL of campaigns; every query for an owner is limited to that owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVarTuple
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload

from app.jobs.lifecycle import ENDED, State
from app.jobs.owned_rows import newest, of_owner, owned
from app.storage.models import Campaign, CampaignTraining, Job, Verification, VerificationSeed
from app.verifications.repository import KIND as VERIFICATION_KIND

KIND = "campaign"
Columns = TypeVarTuple("Columns")


@dataclass(frozen=True)
class Filters:
    """Which campaigns to return."""

    status: State | None = None
    family: str | None = None
    created_after: datetime | None = None


class Accuracies(NamedTuple):
    """The accuracies of one seed, in [0, 1]. validation: None where the recipe holds out no images."""

    test: float
    validation: float | None

    @property
    def choosing(self) -> float:
        """The one that campaigns choose by: the test images are for the answer wherever there are others."""
        return self.test if self.validation is None else self.validation


@dataclass(frozen=True)
class Known:
    """A training of the owner that had succeeded before a campaign, on its data and by its recipe.

    accuracies: by seed.
    """

    id: UUID
    arch_id: str
    definition: Any
    seeds: list[int]
    accuracies: dict[int, Accuracies]

    def covers(self, seeds: Sequence[int]) -> bool:
        """Return whether it has all these seeds."""
        return set(seeds) <= set(self.seeds)

    def choosing(self, seeds: Sequence[int]) -> float | None:
        """Return the mean accuracy to choose by over seeds; None until all have ended."""
        return _mean([self.accuracies.get(seed) for seed in seeds], lambda one: one.choosing)


@dataclass(frozen=True)
class Training:
    """A training of a campaign, and how it stands.

    state: of its verification's job; None where that was deleted. error: why it failed. accuracies: by seed, of those
    of its seeds that have ended; empty where its owner took the verification out of the evidence.
    """

    row: CampaignTraining
    state: State | None
    error: str | None
    accuracies: dict[int, Accuracies]

    @property
    def pending(self) -> bool:
        """Whether it is queued or runs."""
        return self.state is not None and self.state not in ENDED

    @property
    def accuracy(self) -> float | None:
        """The mean test accuracy over its seeds; None until all have ended."""
        return _mean(self._by_seed, lambda one: one.test)

    @property
    def validation(self) -> float | None:
        """The mean accuracy on the validation images; None until all seeds have ended, and where there are none."""
        return _mean(self._by_seed, lambda one: one.validation)

    @property
    def choosing(self) -> float | None:
        """The mean accuracy by which campaigns choose; None until all seeds have ended."""
        return _mean(self._by_seed, lambda one: one.choosing)

    @property
    def _by_seed(self) -> list[Accuracies | None]:
        return [self.accuracies.get(seed) for seed in self.row.seeds]


def _mean(found: Sequence[Accuracies | None], read: Callable[[Accuracies], float | None]) -> float | None:
    values = [None if one is None else read(one) for one in found]
    whole = [value for value in values if value is not None]
    return sum(whole) / len(whole) if len(whole) == len(values) else None


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


def accuracies(session: Session, verification_ids: Select[UUID | None]) -> dict[UUID, dict[int, Accuracies]]:
    """Return the accuracies by which campaigns choose and which they answer, by verification and seed.

    The only place where they are read.
    """
    columns = (VerificationSeed.accuracy, VerificationSeed.validation_accuracy)
    query = (
        select(VerificationSeed.verification_id, VerificationSeed.seed, *columns)
        .join(Verification, Verification.id == VerificationSeed.verification_id)
        .where(Verification.id.in_(verification_ids), Verification.excluded.is_(False))
    )
    found: dict[UUID, dict[int, Accuracies]] = defaultdict(dict)
    for verification_id, seed, test, validation in session.execute(query):
        found[verification_id][seed] = Accuracies(test, validation)
    return found


def known(session: Session, campaign: Campaign) -> list[Known]:
    """Return the trainings on the data and by the recipe of a campaign that had succeeded when it was submitted.

    Later ones have no part in its choices, so that an attempt that is repeated chooses the same.
    """
    columns = (Verification.id, Verification.arch_id, Verification.definition, Verification.seeds)
    before = (Job.state == State.SUCCEEDED, Job.finished_at <= campaign.job.created_at)
    query = _same_scope(select(*columns), campaign).where(*before)
    measured = accuracies(session, _same_scope(select(Verification.id), campaign).where(*before))
    return [
        Known(row.id, row.arch_id, row.definition, row.seeds, measured.get(row.id, {}))
        for row in session.execute(query.order_by(Job.id))
    ]


def _same_scope(query: Select[*Columns], campaign: Campaign) -> Select[*Columns]:
    """Limit a query to the owner's trainings on the data and by the recipe of a campaign that count as evidence."""
    return of_owner(query, Verification, VERIFICATION_KIND, campaign.job.owner).where(
        Verification.dataset_key == campaign.dataset_key,
        Verification.recipe_digest == campaign.recipe_digest,
        Verification.adapt == campaign.adapt,
        Verification.excluded.is_(False),
    )


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
