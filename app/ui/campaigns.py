"""Pages of campaigns: start one from a search, watch its trainings, read the best that was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from app.campaigns import repository, service
from app.campaigns.answers import answer
from app.campaigns.planning import CONFIRM
from app.campaigns.repository import Filters, Training
from app.campaigns.results import CONTROLS
from app.campaigns.schemas import (
    VALIDATION,
    CampaignAnswer,
    CampaignBody,
    CampaignChanges,
    CampaignTrainingItem,
    Strategy,
)
from app.errors import Invalid
from app.http.dependencies import CursorsDep, Owner, ReadSession, WriteSession
from app.http.pagination import Paging
from app.jobs.lifecycle import ENDED, State
from app.searches import service as searches
from app.storage.ids import id_of
from app.storage.models import Campaign
from app.ui.forms import Form, FormProblems, campaign_body, campaign_changes, checked, chosen_state
from app.ui.page import FormDep, PageRoute, go_to, has_torch, render
from app.ui.trainings import recipes_for
from nnmass.formatting import role, shape
from nnmass_core.codec import JsonObject
from nnmass_core.errors import DefinitionError
from nnmass_core.families import FAMILIES, decode_architecture
from nnmass_core.named.datasets import datasets, resolve_dataset
from nnmass_core.request import Pareto, SearchRequest
from nnmass_core.spaces.base import AnySpace
from nnmass_core.spaces.several import SEVERAL

router = APIRouter(include_in_schema=False, route_class=PageRoute)

CampaignId = Annotated[UUID, id_of("campaign")]
SearchId = Annotated[UUID, id_of("search")]

STRATEGIES = {
    "spread-fit-confirm": "spread near the budget, then where results promise most",
    "random": "random near the budget",
    "top": "the first of the ranking",
}
"""What a strategy trains, in the words of the pages."""

NUMBERS = ("trainings", "rounds", "confirm")
OWN_SIZE = ("top_k", "first_rank")
"""The fields of a search's question that a campaign replaces by its own."""

OWN_RECIPE = "of your own"
"""Stands for a recipe without a name, which the form cannot name: it asks for another."""

USUAL = {
    **{name: str(CampaignBody.model_fields[name].default) for name in NUMBERS},
    **dict.fromkeys(("strategy", "dataset", "recipe", "unadapted"), ""),
    "seeds": "0",
    "validation": str(VALIDATION),
}
"""The form at first."""

AXES = {"params": "params", "macs": "MACs", "nn_mass": "NN-Mass"}
"""What the chart shows accuracy against, and its label."""


@router.get("/campaigns")
def list_all(
    request: Request,
    session: ReadSession,
    owner: Owner,
    signer: CursorsDep,
    status: str = "",
    family: Annotated[str, Query(max_length=64)] = "",
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> Response:
    """List campaigns, newest first."""
    filters = Filters(chosen_state(status), family or None)
    items, following = service.list_page(session, owner, filters, Paging(signer, cursor, 50))
    context = {
        "items": items,
        "following": following,
        "filters": {"status": status, "family": family},
        "states": list(State),
        "families": [*FAMILIES, SEVERAL],
        "strategies": STRATEGIES,
        "waiting": any(item.status not in ENDED for item in items),
        "has_torch": has_torch(request, session),
    }
    return render(request, "campaigns.html", **context)


@router.get("/campaigns/{campaign_id}")
def show(request: Request, session: ReadSession, owner: Owner, campaign_id: CampaignId) -> Response:
    """Show a campaign: its answer, its charts and its trainings."""
    row = service.get(session, owner, campaign_id)
    found = answer(session, row)
    names = [_name_of(one) for one in repository.trainings(session, campaign_id)]
    rows = list(zip(found.items, names, strict=True))
    context = {
        "it": found,
        "ended": found.status in ENDED,
        "strategies": STRATEGIES,
        "rows": rows,
        "round": max((item.round for item in found.items), default=0),
        "points": [_point(number, item, name) for number, (item, name) in enumerate(rows, 1)],
        "axes": AXES,
        "limits": _limits(found),
        "predicts": any(item.predicted is not None for item in found.items),
        "evidence": {"dataset": row.dataset_key, "recipe": row.recipe_digest},
        "controls": CONTROLS,
        "confirm": CONFIRM,
        "has_torch": has_torch(request, session),
    }
    return render(request, "campaign.html", **context)


def _name_of(training: Training) -> str:
    """Return a network's cells or stages in short form."""
    return shape(decode_architecture(training.row.definition).evaluation.report("fp32"))


def _point(number: int, item: CampaignTrainingItem, name: str) -> JsonObject:
    """Return the charts' data for one training."""
    fields = {"arch_id", "role", "round", "accuracy", "validation_accuracy", "predicted", "known", "seeds", *AXES}
    return {"number": number, "name": name, "label": role(item.role), **item.model_dump(mode="json", include=fields)}


def _limits(found: CampaignAnswer) -> dict[str, float]:
    """Return the upper limits of the question on what the chart shows, by axis."""
    budget = found.search["budget"]
    return {name: budget[f"max_{name}"] for name in AXES if f"max_{name}" in budget}


@router.get("/searches/{search_id}/campaign")
def new(request: Request, session: ReadSession, owner: Owner, search_id: SearchId) -> Response:
    """Show the form of a campaign of a search's question."""
    row = searches.get(session, owner, search_id)
    asked = SearchRequest.from_json(row.request, version=row.request_version)
    return _form(request, session, _Source(asked, f"/searches/{search_id}", "the search"), {})


@router.post("/searches/{search_id}/campaign")
def submit(request: Request, session: WriteSession, owner: Owner, search_id: SearchId, form: FormDep) -> Response:
    """Submit the form; errors are shown next to its fields."""
    row = searches.get(session, owner, search_id)
    asked = SearchRequest.from_json(row.request, version=row.request_version)
    return _submit(request, session, owner, _Source(asked, f"/searches/{search_id}", "the search"), form)


@router.get("/campaigns/{campaign_id}/again")
def new_like(request: Request, session: ReadSession, owner: Owner, campaign_id: CampaignId) -> Response:
    """Show the form of a campaign of the question of another one, filled in as that was."""
    row = service.get(session, owner, campaign_id)
    return _form(request, session, _source_of(row), _filled(answer(session, row)))


@router.post("/campaigns/{campaign_id}/again")
def submit_like(
    request: Request, session: WriteSession, owner: Owner, campaign_id: CampaignId, form: FormDep
) -> Response:
    """Submit the form; errors are shown next to its fields."""
    return _submit(request, session, owner, _source_of(service.get(session, owner, campaign_id)), form)


@dataclass(frozen=True)
class _Source:
    """Where the question of a new campaign comes from: its page, and what that shows."""

    question: SearchRequest
    page: str
    name: str


def _source_of(row: Campaign) -> _Source:
    asked = SearchRequest.from_json(row.request, version=row.request_version)
    return _Source(asked, f"/campaigns/{row.id}", "the campaign")


def _filled(found: CampaignAnswer) -> dict[str, list[str]]:
    """Return the form that would submit a campaign again."""
    texts = {name: str(getattr(found, name)) for name in NUMBERS}
    texts |= {"strategy": found.strategy, "dataset": found.dataset["name"], "seeds": ", ".join(map(str, found.seeds))}
    texts |= {"recipe": found.recipe_name or OWN_RECIPE, "validation": f"{found.validation:g}"}
    return {name: [text] for name, text in texts.items()} | {"unadapted": ["" if found.adapt else "1"]}


def _form(
    request: Request, session: Session, source: _Source, form: Form, problems: FormProblems | None = None
) -> Response:
    context = {
        "source": source,
        "asked": source.question.to_json(),
        "ranks": not isinstance(source.question.objective, Pareto),
        "form": USUAL | {name: values[0] for name, values in form.items() if values},
        "problems": {} if problems is None else problems.by_field,
        "strategies": [(name.value, STRATEGIES.get(name, name)) for name in Strategy],
        "training": _choices(source.question.space),
        "has_torch": has_torch(request, session),
    }
    return render(request, "new_campaign.html", 200 if problems is None else 422, **context)


def _choices(space: AnySpace) -> dict[str, list[str]]:
    """Return the data sets that some network of a space fits, and the recipes."""
    fitting = [name for name in datasets() if _fits(name, space)]
    return {"datasets": fitting, "recipes": recipes_for(space.spaces[0].inputs()[0])}


def _fits(name: str, space: AnySpace) -> bool:
    try:
        return not service.misfits(space, resolve_dataset(name))
    except DefinitionError:
        return False  # it needs more than a name


def _submit(request: Request, session: Session, owner: str, source: _Source, form: Form) -> Response:
    question = {name: part for name, part in source.question.to_json().items() if name not in OWN_SIZE}
    try:
        body = checked(CampaignBody, campaign_body(form, {"spend": None} | question))
        done = service.submit(session, owner, body, None)
    except FormProblems as problems:
        return _form(request, session, source, form, problems)
    except (DefinitionError, Invalid) as error:
        return _form(request, session, source, form, FormProblems(error.problems))
    return go_to(request, done.location.removeprefix("/v1"))


@router.post("/campaigns/{campaign_id}/cancel")
def cancel(request: Request, session: WriteSession, owner: Owner, campaign_id: CampaignId) -> Response:
    """Cancel a campaign with its trainings that have not ended."""
    service.cancel(session, owner, campaign_id)
    return go_to(request, f"/campaigns/{campaign_id}")


@router.post("/campaigns/{campaign_id}/pause")
def pause(request: Request, session: WriteSession, owner: Owner, campaign_id: CampaignId) -> Response:
    """Pause a campaign."""
    service.pause(session, owner, campaign_id, paused=True)
    return go_to(request, f"/campaigns/{campaign_id}")


@router.post("/campaigns/{campaign_id}/resume")
def resume(request: Request, session: WriteSession, owner: Owner, campaign_id: CampaignId) -> Response:
    """Let a paused campaign continue."""
    service.pause(session, owner, campaign_id, paused=False)
    return go_to(request, f"/campaigns/{campaign_id}")


@router.post("/campaigns/{campaign_id}/change")
def change(request: Request, session: WriteSession, owner: Owner, campaign_id: CampaignId, form: FormDep) -> Response:
    """Change how many networks a campaign trains."""
    service.get(session, owner, campaign_id)
    try:
        service.change(session, owner, campaign_id, checked(CampaignChanges, campaign_changes(form)))
    except FormProblems as problems:
        raise Invalid(str(problems)) from problems
    return go_to(request, f"/campaigns/{campaign_id}")
