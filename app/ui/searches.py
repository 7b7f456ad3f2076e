"""Pages of searches: submit, watch, read the ranking and its proof, browse, compare."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from app import catalog
from app.errors import Invalid
from app.http.dependencies import CursorsDep, Owner, ReadSession, ThreadsDep, WriteSession
from app.http.pagination import USUAL, Paging
from app.jobs.lifecycle import ENDED, State
from app.searches import answers, comparison, repository, service
from app.searches.repository import Filters
from app.searches.schemas import SearchBody, SearchChanges, SearchList
from app.storage.ids import id_of
from app.storage.models import RankedArchitecture, Search
from app.ui import budgets
from app.ui.forms import FormProblems, checked, chosen_state, filled, search_body, value, words
from app.ui.page import FormDep, PageRoute, go_to, has_torch, render
from app.ui.trainings import choices
from nnmass.formatting import OUTCOMES, STRUCTURES, joined, varies_resolution
from nnmass_core.budget import Budget
from nnmass_core.codec import JsonObject
from nnmass_core.costs import COSTS, costs_by_floor, objectives, sums
from nnmass_core.errors import DefinitionError
from nnmass_core.families import FAMILIES, decode_architecture
from nnmass_core.hardware.devices import devices, read_device
from nnmass_core.named.networks import named_networks
from nnmass_core.named.presets import presets
from nnmass_core.named.scaling import KEPT, KEPT_BY_DEFAULT
from nnmass_core.named.within import TAKEN, scaled
from nnmass_core.request import SearchRequest
from nnmass_core.spaces.base import AnySpace
from nnmass_core.spaces.several import SEVERAL

router = APIRouter(include_in_schema=False, route_class=PageRoute)

SearchId = Annotated[UUID, id_of("search")]
FIRST_FORM = {"preset": ["densenet-cifar"], "max_params": ["1M"], "max_macs": ["150M"]}
RANKS_SHOWN = 100
SHOWN_LIVE = 5


@router.get("/")
def new_search(request: Request, session: ReadSession, owner: Owner, like: UUID | None = None) -> Response:
    """Show the form of a search, empty or filled in from an earlier search."""
    form: Mapping[str, Any] = FIRST_FORM
    if like is not None:
        form = filled(service.get(session, owner, like).request)
    return _form(request, session, owner, form)


def _form(
    request: Request, session: Session, owner: str, form: Mapping[str, Any], problems: FormProblems | None = None
) -> Response:
    context = {
        "form": {name: values[0] for name, values in form.items() if values},
        "further": list(form.get("devices", [])),
        "kept": list(form.get("keep", [])) if form.get("kept") else KEPT_BY_DEFAULT,
        "keepable": KEPT,
        "problems": {} if problems is None else problems.by_field,
        "presets": list(presets().values()),
        "mosts": _mosts(),
        "named": list(named_networks()),
        "devices": [read_device(profile) for profile in catalog.devices_of(session, owner)] + list(devices().values()),
        "costs": list(COSTS.values()),
        "floors": costs_by_floor(),
        "ratios": {f"ratio_{name}": COSTS[name] for name in scaled()},
        "taken_costs": TAKEN,
        "fronts": _fronts(),
        "sums": sums(),
        "structures": STRUCTURES,
    }
    return render(request, "new_search.html", 200 if problems is None else 422, **context)


def _fronts() -> dict[str, str]:
    """Return the label of each cost that an objective may name, and of each two that a front may have together."""
    labels = {name: COSTS[name].label for name in objectives()}
    pairs = itertools.combinations(labels, 2)
    return labels | {"+".join(pair): joined([labels[name] for name in pair]) for pair in pairs}


@cache
def _mosts() -> dict[str, dict[str, int]]:
    """Return the highest cost of a network of each preset: the end of the sliders."""
    return {name: _most(preset.space) for name, preset in presets().items()}


def _most(space: AnySpace) -> dict[str, int]:
    figures = [one.largest().evaluation.report("fp32") for one in space.spaces]
    return {cost.limit: max(each[name] for each in figures) for name, cost in budgets.charted().items()}


@router.post("/ui/preview")
async def preview(request: Request, threads: ThreadsDep, owner: Owner, form: FormDep) -> Response:
    """Preview the form's current request: a part of the page, with the ranking or with the errors."""
    try:
        question = await threads.read(owner, _question, form)
        found, most = await threads.run_cpu(_previewed, question)
    except FormProblems as problems:
        return render(request, "part_problems.html", 422, problems=problems.by_field)
    except DefinitionError as error:
        return render(request, "part_problems.html", 422, problems=FormProblems(error.problems).by_field)
    except Invalid as error:
        return render(request, "part_problems.html", 422, problems=FormProblems(error.problems).by_field)
    context = {"result": found["result"], "items": found["items"][:SHOWN_LIVE], "asked": question.to_json()}
    return render(request, "part_preview.html", most=most, **context)


def _previewed(question: SearchRequest) -> tuple[service.Preview, dict[str, int]]:
    return service.preview(question), _most(question.space)


def _question(session: Session, owner: str, form: Mapping[str, Any]) -> SearchRequest:
    return service.read(session, owner, checked(SearchBody, search_body(form)))


@router.post("/searches")
def submit(request: Request, session: WriteSession, owner: Owner, form: FormDep) -> Response:
    """Submit the form; errors are shown next to its fields."""
    try:
        done = service.submit(session, owner, checked(SearchBody, search_body(form)), None)
    except FormProblems as problems:
        return _form(request, session, owner, form, problems)
    except DefinitionError as error:
        return _form(request, session, owner, form, FormProblems(error.problems))
    return go_to(request, f"/searches/{done.body['id']}")


@router.get("/searches")
def history(
    request: Request,
    session: ReadSession,
    owner: Owner,
    signer: CursorsDep,
    status: str = "",
    outcome: str = "",
    family: Annotated[str, Query(max_length=64)] = "",
    tag: Annotated[str, Query(max_length=64)] = "",
    q: Annotated[str, Query(max_length=200)] = "",
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> Response:
    """List searches, newest first."""
    proved = outcome if outcome in OUTCOMES else None
    filters = Filters(status=chosen_state(status), outcome=proved, family=family or None, tag=tag or None, q=q or None)
    rows, following = service.history(session, owner, filters, Paging(signer, cursor, USUAL))
    page = SearchList.model_validate_json(answers.write_list(session, rows, following))
    asked = {"status": status, "outcome": outcome, "family": family, "tag": tag, "q": q}
    context = {"items": page.items, "following": page.next_cursor, "filters": asked}
    return render(
        request, "history.html", states=list(State), outcomes=OUTCOMES, families=[*FAMILIES, SEVERAL], **context
    )


@router.get("/searches/compare")
def compare(
    request: Request, session: ReadSession, owner: Owner, ids: Annotated[list[str] | None, Query(max_length=100)] = None
) -> Response:
    """Compare searches."""
    found = comparison.compare(session, owner, ids or [])
    shown: list[Any] = [item for item in found["items"] if item["best"] is not None]
    bests = [item["best"] for item in shown]
    caveats = [caveat for item in shown for caveat in item["result"]["caveats"]]
    more = {
        "bests": bests,
        "requests": [item["request"] for item in shown],
        "sized": varies_resolution(bests, caveats),
        "shared_items": found["shared"]["items"],
    }
    return render(request, "compare.html", **found, **more)


@router.get("/searches/{search_id}")
def show(request: Request, session: ReadSession, owner: Owner, signer: CursorsDep, search_id: SearchId) -> Response:
    """Show a search: its progress, then its proof and its ranking."""
    row = service.get(session, owner, search_id)
    search = answers.answer(session, row)
    items, following = service.ranking(session, owner, search_id, Paging(signer, None, RANKS_SHOWN))
    architecture = decode_architecture(items[0]["architecture"]) if items else None
    budget = _budget(row)
    context = {
        "search": search,
        "ended": search.status in ENDED,
        "items": items,
        "more": following is not None,
        "limits": {limit.name: limit.bound for limit in budget.limits()},
        "floors": {floor.name: floor.bound for floor in budget.floors()},
        "masses": {limit.name: limit.bound for limit in budget.mass_limits()},
        "densities": [limit.bound for limit in budget.density_limits()],
        "training": choices(architecture),
        "points": [_point(row) for row in repository.ranking(session, owner, search_id)],
        "charted": budgets.charted(),
        "has_torch": has_torch(request, session),
        "following": service.following(row),
    }
    return render(request, "search.html", **context)


@router.post("/searches/{search_id}/next")
def next_ranks(request: Request, session: WriteSession, owner: Owner, search_id: SearchId) -> Response:
    """Submit the search of the ranks that follow those of a search."""
    done = service.submit_next(session, owner, search_id, None)
    return go_to(request, f"/searches/{done.body['id']}")


def _budget(row: Search) -> Budget:
    """Return the budget of a search; an empty one if this release cannot read it, so that its page stays reachable."""
    try:
        return SearchRequest.from_json(row.request, version=row.request_version).budget
    except DefinitionError:
        return Budget()


def _point(row: RankedArchitecture) -> JsonObject:
    """Return a chart's data for one architecture."""
    figures = {name: row.figures.get(name) for name in ("arch_id", "nn_mass", *budgets.charted())}
    return {"position": row.rank, **figures}


@router.get("/searches/{search_id}/more")
async def more(request: Request, threads: ThreadsDep, owner: Owner, search_id: SearchId) -> Response:
    """Show the gain from slightly raising each limit."""
    asked = await threads.read(owner, _stored_search, search_id)
    rows = await threads.run_cpu(budgets.gains, asked.question) if asked.value is not None else []
    precision = asked.question.budget.precision
    return render(request, "part_more.html", gains=rows, factors=budgets.FACTORS, now=asked.value, precision=precision)


@router.get("/searches/{search_id}/front")
async def front(threads: ThreadsDep, owner: Owner, search_id: SearchId, cost: str = "macs") -> list[budgets.FrontPoint]:
    """Return points of the front near a search's result, for its chart."""
    if cost not in budgets.charted():
        raise Invalid.at("cost", "unknown_choice", f"must be one of {', '.join(budgets.charted())}")
    asked = await threads.read(owner, _stored_search, search_id)
    best = None if asked.best is None else asked.best.get(cost)  # a package may have brought the cost since
    return [] if best is None else await threads.run_cpu(budgets.front, asked.question, cost, best)


@dataclass(frozen=True)
class _StoredSearch:
    """The request of a search as the core's own, its objective's value and the figures of its best network."""

    question: SearchRequest
    value: float | None
    best: Mapping[str, Any] | None


def _stored_search(session: Session, owner: str, search_id: UUID) -> _StoredSearch:
    """Read a search's request and result. Raises NotFound."""
    found = service.get(session, owner, search_id)
    question = SearchRequest.from_json(found.request, version=found.request_version)
    ranked = repository.ranking(session, owner, search_id, 0, 1)
    value = found.result["objective_value"] if found.result else None
    return _StoredSearch(question, value, ranked[0].figures if ranked else None)


@router.post("/searches/{search_id}/cancel")
def cancel(request: Request, session: WriteSession, owner: Owner, search_id: SearchId) -> Response:
    """Cancel a search."""
    service.cancel(session, owner, search_id)
    return go_to(request, f"/searches/{search_id}")


@router.post("/searches/{search_id}/retry")
def retry(request: Request, session: WriteSession, owner: Owner, search_id: SearchId) -> Response:
    """Queue a search again."""
    service.retry(session, owner, search_id)
    return go_to(request, f"/searches/{search_id}")


@router.post("/searches/{search_id}/change")
def change(request: Request, session: WriteSession, owner: Owner, search_id: SearchId, form: FormDep) -> Response:
    """Change name, tags and note."""
    given = {"name": value(form, "name"), "tags": words(value(form, "tags")), "note": value(form, "note")}
    try:
        service.change(session, owner, search_id, checked(SearchChanges, given))
    except FormProblems as problems:
        raise Invalid(str(problems)) from problems
    return go_to(request, f"/searches/{search_id}")
