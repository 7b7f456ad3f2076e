"""Operations on campaigns. Functions take a session and core values, and are independent of HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy.orm import Session

from app.campaigns import repository
from app.campaigns.answers import answer, summaries
from app.campaigns.repository import KIND, Filters
from app.campaigns.schemas import VALIDATION, CampaignAnswer, CampaignBody, CampaignChanges, CampaignSummary, Strategy
from app.errors import Invalid, NotFound, WrongState
from app.http.idempotency import Submission, fingerprint_of, once
from app.http.pagination import Paging
from app.jobs import lifecycle, rounds
from app.jobs.lifecycle import ENDED
from app.jobs.rounds import QUEUE
from app.searches import service as searches
from app.storage.ids import new_id
from app.storage.models import Campaign
from app.verifications import service as verifications
from app.verifications.service import TrainingOptions
from nnmass_core import __version__
from nnmass_core.campaigns.engine_pool import check_question
from nnmass_core.codec import JsonObject
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.named.datasets import Dataset, datasets, problems_of
from nnmass_core.named.recipes import validation_problems
from nnmass_core.request import Pareto, SearchRequest
from nnmass_core.spaces.base import AnySpace

PLACE = "/v1/campaigns"
OWN_SIZE = "does not apply: a campaign trains as many networks as `trainings` says, from the first rank"


def submit(session: Session, owner: str, body: CampaignBody, idempotency_key: str | None) -> Submission:
    """Store a campaign for the workers. Raises DefinitionError or Invalid that names the field."""
    fingerprint = fingerprint_of(PLACE, body)
    return once(session, owner, idempotency_key, fingerprint, lambda: _submit(session, owner, body))


def _submit(session: Session, owner: str, body: CampaignBody) -> Submission:
    training = _holding_out(verifications.training_of(body), body)
    request = _request_of(session, owner, body)
    if problems := misfits(request.space, training.dataset):
        raise DefinitionError(problems)
    lifecycle.check_served(session, verifications.QUEUE)
    job = lifecycle.enqueue(session, new_id(), kind=KIND, queue=QUEUE, owner=owner)
    row = Campaign(
        id=job.id,
        job=job,
        family=request.space.family,
        request=request.to_json(),
        request_version=request.version,
        dataset=training.dataset.to_json(),
        dataset_key=training.dataset.key,
        recipe=training.recipe.to_json(),
        recipe_digest=training.recipe.digest,
        adapt=training.adapt,
        kept=training.artifact_kinds,
        seeds=training.seeds,
        strategy=body.strategy,
        trainings=body.trainings,
        confirm=body.confirm,
        rounds=body.rounds,
        core_version=__version__,
    )
    session.add(row)
    session.flush()
    return Submission(202, answer(session, row).model_dump(mode="json"), f"{PLACE}/{row.id}")


def _holding_out(training: TrainingOptions, body: CampaignBody) -> TrainingOptions:
    """Return how networks are trained with images held out to choose by. Raises DefinitionError where they are few."""
    share = body.validation
    if share is None:
        named = isinstance(body.recipe, Mapping) and "validation" in body.recipe
        share = training.recipe.validation if named else VALIDATION
    recipe, about = replace(training.recipe, validation=share), datasets()[training.dataset.name]
    if problems := [*validation_problems(recipe, about.train, about.num_classes)]:
        raise DefinitionError(problems)
    return replace(training, recipe=recipe)


def _request_of(session: Session, owner: str, body: CampaignBody) -> SearchRequest:
    if own := [name for name in ("top_k", "first_rank") if name in body.search.model_fields_set]:
        raise DefinitionError([Problem(f"search.{name}", "not_applicable", OWN_SIZE) for name in own])
    try:
        request = searches.read(session, owner, body.search)
    except DefinitionError as error:
        raise error.under("search") from error
    if body.strategy == Strategy.PLANNED:
        try:
            check_question(request)
        except DefinitionError as error:
            raise error.under("search") from error
    if isinstance(request.objective, Pareto):
        raise Invalid.at("search.objective", "not_a_ranking", "must rank networks, which a Pareto front does not")
    if body.strategy == Strategy.RANDOM and not request.budget.limits():
        raise Invalid.at("search.budget", "no_limits", "must limit a cost from above: random networks are near a limit")
    return replace(request, top_k=body.trainings)


def misfits(space: AnySpace, dataset: Dataset) -> Sequence[Problem]:
    """Return why no network of a space can be trained on a data set, as far as inputs and classes say."""
    problems: list[Problem] = []
    for one in space.spaces:
        largest = one.largest()
        for shape in one.inputs():
            found = list(problems_of(dataset, shape, largest.num_classes, classifies=largest.classifies))
            if not found:
                return []
            problems = problems or found
    return problems


def get(session: Session, owner: str, campaign_id: UUID) -> Campaign:
    """Return a campaign. Raises NotFound."""
    found = repository.get(session, owner, campaign_id)
    if found is None:
        raise _unknown()
    return found


def _unknown() -> NotFound:
    return NotFound("there is no such campaign")


def show(session: Session, owner: str, campaign_id: UUID) -> CampaignAnswer:
    """Return the response for a campaign. Raises NotFound."""
    return answer(session, get(session, owner, campaign_id))


def whole(session: Session, owner: str, campaign_id: UUID) -> JsonObject:
    """Return a campaign as in its last event. Raises NotFound."""
    return show(session, owner, campaign_id).model_dump(mode="json")


def list_page(
    session: Session, owner: str, filters: Filters, paging: Paging
) -> tuple[list[CampaignSummary], str | None]:
    """Return one page of campaigns, newest first, and the cursor of the next."""
    scope = {"list": "campaigns", "owner": owner, "filters": repr(filters)}
    rows, following = paging.page(
        scope, lambda before, limit: repository.page(session, owner, filters, before, limit), lambda row: str(row.id)
    )
    return summaries(session, rows), following


def cancel(session: Session, owner: str, campaign_id: UUID) -> None:
    """Cancel a campaign and those of its trainings that have not ended; an ended one does not change.

    Raises NotFound.
    """
    get(session, owner, campaign_id)
    if lifecycle.cancel(session, campaign_id):
        for verification_id in repository.own_trainings(session, campaign_id):
            lifecycle.cancel(session, verification_id)


def pause(session: Session, owner: str, campaign_id: UUID, *, paused: bool) -> None:
    """Let a campaign begin nothing new, or go on. Raises NotFound, WrongState where it has ended."""
    _to_change(session, owner, campaign_id).paused = paused
    session.flush()
    rounds.advance_one(session, campaign_id)


def change(session: Session, owner: str, campaign_id: UUID, changes: CampaignChanges) -> None:
    """Change how many networks a campaign trains.

    Raises NotFound, WrongState where it has ended, or has no round left that could take them.
    """
    found = _to_change(session, owner, campaign_id)
    given = changes.model_dump(exclude_unset=True)
    if given and max((one.row.round for one in repository.trainings(session, campaign_id)), default=0) >= found.rounds:
        raise WrongState("the last round of the campaign has begun")
    for name, value in given.items():
        setattr(found, name, value)
    session.flush()


def _to_change(session: Session, owner: str, campaign_id: UUID) -> Campaign:
    found = repository.get_to_change(session, owner, campaign_id)
    if found is None:
        raise _unknown()
    if found.job.state in ENDED:
        raise WrongState(f"the campaign has ended: it is {found.job.state}")
    return found


def delete(session: Session, owner: str, campaign_id: UUID) -> None:
    """Delete a campaign; its trainings stay. Raises NotFound, WrongState while it runs."""
    get(session, owner, campaign_id)
    if not lifecycle.delete(session, campaign_id):
        session.expire_all()
        get(session, owner, campaign_id)  # it may no longer exist
        raise WrongState("the campaign is running; cancel it first")
