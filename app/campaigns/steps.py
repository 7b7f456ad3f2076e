"""The steps of a campaign for a worker: what it reads, and what it stores under its claim's fence."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from app.campaigns import repository
from app.campaigns.planning import Choice, Chosen, Standing, Step
from app.campaigns.results import result_of
from app.jobs import lifecycle, rounds
from app.jobs.lifecycle import Claim
from app.storage.models import Campaign, CampaignTraining
from app.verifications import repository as verifications
from app.verifications.schemas import Role
from app.verifications.service import Origin, TrainingOptions, create
from nnmass_core.named.datasets import resolve_dataset
from nnmass_core.named.recipes import resolve_recipe
from nnmass_core.request import SearchRequest


def standing_of(session: Session, campaign_id: UUID) -> Standing:
    """Read what a campaign asks for, and how far it is. Raises UnknownVersion where another release stored it."""
    row = repository.of_worker(session, campaign_id)
    return Standing(
        request=SearchRequest.from_json(row.request, version=row.request_version),
        options=_options_of(row),
        strategy=row.strategy,
        trainings=row.trainings,
        confirm=row.confirm,
        rounds=row.rounds,
        chosen=repository.trainings(session, campaign_id),
        known=repository.known(session, row),
        paused=row.paused,
    )


def _options_of(row: Campaign) -> TrainingOptions:
    dataset, recipe = resolve_dataset(row.dataset), resolve_recipe(row.recipe)
    return TrainingOptions(dataset, recipe, row.adapt, row.seeds, row.kept)


def wait(session: Session, claim: Claim) -> None:
    """Give up the worker until the trainings that have not ended have."""
    if lifecycle.park(session, claim, 0.0, ""):
        rounds.advance_one(session, claim.job_id)


def begin_round(session: Session, claim: Claim, standing: Standing, step: Step) -> bool:
    """Store and queue the trainings of a round, and give up the worker until they have ended.

    All in one transaction: an attempt that dies before leaves nothing, and one that dies after it leaves nothing to do.
    Return False when the campaign is no longer this worker's; then nothing is stored.
    """
    number, last = standing.round + 1, len(standing.chosen)
    if not lifecycle.park(session, claim, 0.0, f"round {number} begins"):
        return False
    row = repository.of_worker(session, claim.job_id)
    if not step.confirms:
        made: Choice = {"round": number, "proved": step.proved, "controls": {**step.controls}, "fit": step.fit}
        row.choices = [*row.choices, made]
    for place, one in enumerate(step.chosen, last + 1):
        known = one.known if one.known is not None and verifications.keep(session, one.known) else None
        session.add(_training(session, row, one, known, place, number))
    session.flush()
    rounds.advance_one(session, claim.job_id)
    return True


def _training(
    session: Session, row: Campaign, one: Chosen, known: UUID | None, place: int, number: int
) -> CampaignTraining:
    architecture, figures = one.architecture, one.architecture.evaluation
    verification_id = known
    if verification_id is None:
        options = TrainingOptions(**{**vars(_options_of(row)), "seeds": one.seeds})
        verification_id = create(session, row.job.owner, architecture, options, Origin(Role.CAMPAIGN)).id
    return CampaignTraining(
        campaign_id=row.id,
        number=place,
        round=number,
        role=one.role,
        arch_id=architecture.arch_id,
        definition=architecture.definition(),
        nn_mass=float(figures.mass),
        params=figures.params,
        macs=figures.macs,
        seeds=one.seeds,
        first_seed=one.seeds[0],
        known=known is not None,
        predicted=one.predicted,
        verification_id=verification_id,
    )


def succeed(session: Session, claim: Claim) -> bool:
    """Finish a campaign with its answer. Return False when it is no longer this worker's."""
    if not lifecycle.succeed(session, claim):
        return False
    row = repository.of_worker(session, claim.job_id)
    row.result = result_of(repository.trainings(session, claim.job_id), row.choices)
    return True
