"""Operations on verifications. Functions take a session and core values, and are independent of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from app import catalog
from app.errors import Invalid, NotFound, WrongState
from app.http import idempotency
from app.http.idempotency import Submission
from app.http.pagination import Paging
from app.jobs import lifecycle
from app.jobs.lifecycle import State
from app.storage.ids import new_id
from app.storage.models import Artifact, Search, Verification
from app.verifications import repository
from app.verifications.answers import answer, summaries
from app.verifications.repository import KIND, Filters
from app.verifications.schemas import (
    Batch,
    MissingControl,
    Role,
    TrainingFields,
    VerificationAnswer,
    VerificationBody,
    VerificationChanges,
    VerificationSummary,
)
from nnmass_core import __version__
from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.export.pytorch_source import artifact_kinds
from nnmass_core.families import decode_architecture
from nnmass_core.named.datasets import Dataset, datasets, problems_of, resolve_dataset
from nnmass_core.named.recipes import Recipe, batch_problems, resolve_recipe, validation_problems
from nnmass_core.request import SearchRequest
from nnmass_core.verification.controls import macs_control, near_budget_control, params_control, random_control
from nnmass_core.wiring import MOST_LINKS, possible_links

T = TypeVar("T")
QUEUE = "train"
PLACE = "/v1/verifications"
MOST_WEIGHTS = 100_000_000
"""The most weights of a file that is stored: 400 MB."""

NO_SIMILAR = "the space contains no other network of similar cost with the same inputs"
NO_NEAR = "the budget limits no cost, or no other network of the space with the same inputs uses 90 % of a limit"


@dataclass(frozen=True)
class TrainingOptions:
    """The training settings of one request, the same for all its networks."""

    dataset: Dataset
    recipe: Recipe
    adapt: bool
    seeds: list[int]
    artifact_kinds: list[str] | None
    """None stands for all kinds that the family of a network has."""

    def kinds_for(self, architecture: Architecture) -> list[str]:
        """Return the kinds of files to store for a network."""
        return sorted(artifact_kinds(architecture) if self.artifact_kinds is None else set(self.artifact_kinds))


@dataclass(frozen=True)
class Origin:
    """The origin of a network to train."""

    role: Role = Role.SINGLE
    search_id: UUID | None = None
    rank: int | None = None
    replay_of: UUID | None = None


@dataclass(frozen=True)
class Plan:
    """What one request trains: networks with their origins, and requested controls that could not be found.

    search: the one whose best are trained. beside: the kinds of controls still to be found.
    """

    training: TrainingOptions
    networks: list[tuple[Architecture, Origin]]
    search: Search | None = None
    beside: tuple[str, ...] = ()
    missing: tuple[MissingControl, ...] = ()


def plan(session: Session, owner: str, body: VerificationBody) -> Plan:
    """Return what a request trains, without its controls. Raises DefinitionError or Invalid that names the field."""
    training = training_of(body)
    _check_source(body)
    if body.search is not None:
        return _plan_of_search(session, owner, body, training, body.search)
    architecture = _architecture(session, owner, body)
    _check_fit(architecture, training)
    return Plan(training, [(architecture, Origin())])


def with_controls(wanted: Plan) -> Plan:
    """Find the controls of each candidate, all different networks. Takes some seconds each in the largest spaces.

    Raises DefinitionError for a control that cannot be trained in batches of one image.
    """
    if wanted.search is None:
        return wanted
    request = SearchRequest.from_json(wanted.search.request, version=wanted.search.request_version)
    networks, missing = list(wanted.networks), []
    taken = {candidate.arch_id for candidate, _ in wanted.networks}
    for kind in wanted.beside:
        for candidate, origin in wanted.networks:
            assert origin.rank is not None
            control = _control(kind, request, candidate, frozenset(taken), origin.rank)
            if control is None:
                message = NO_NEAR if kind == "near_budget" else NO_SIMILAR
                missing.append(MissingControl(candidate_rank=origin.rank, control=kind, message=message))
            else:
                if problems := _batch_problems(control, wanted.training):
                    raise DefinitionError(problems)
                taken.add(control.arch_id)
                networks.append((control, replace(origin, role=Role(f"{kind}_control"))))
    return replace(wanted, networks=networks, missing=tuple(missing))


def _control(
    kind: str, request: SearchRequest, candidate: Architecture, taken: frozenset[str], rank: int
) -> Architecture | None:
    match kind:
        case "params":
            control = params_control(request, candidate, taken)
        case "macs":
            control = macs_control(request, candidate, taken)
        case "random":
            control = random_control(request, candidate, taken, seed=rank)
        case _:
            control = near_budget_control(request, candidate, taken, seed=rank)
    # a space that varies the resolution contains networks for images of other sizes than the candidate's
    fits = control is not None and control.input_shape == candidate.input_shape
    return control if fits else None


def replayed(session: Session, owner: str, body: VerificationBody, idempotency_key: str | None) -> Submission | None:
    """Return the stored response to this request with its Idempotency-Key, or None."""
    return idempotency.replayed(session, owner, idempotency_key, idempotency.fingerprint_of(PLACE, body))


def submit(
    session: Session, owner: str, body: VerificationBody, wanted: Plan, idempotency_key: str | None
) -> Submission:
    """Store the trainings for the workers. Raises Invalid when their search was deleted since planning."""
    fingerprint = idempotency.fingerprint_of(PLACE, body)
    return idempotency.once(session, owner, idempotency_key, fingerprint, lambda: _submit(session, owner, wanted))


def _submit(session: Session, owner: str, wanted: Plan) -> Submission:
    if wanted.search is not None and repository.keep_search(session, wanted.search.id) is None:
        raise _unknown_search()
    rows = [create(session, owner, network, wanted.training, origin) for network, origin in wanted.networks]
    answers = [answer(session, row) for row in rows]
    if wanted.search is None:
        return Submission(202, answers[0].model_dump(mode="json"), f"{PLACE}/{rows[0].id}")
    batch = Batch(items=answers, missing_controls=list(wanted.missing))
    return Submission(202, batch.model_dump(mode="json"), f"{PLACE}?search={wanted.search.id}")


def training_of(body: TrainingFields) -> TrainingOptions:
    """Read how a request trains. Raises DefinitionError or Invalid that names the field."""
    problems: list[Problem] = []
    dataset = _resolved("dataset", lambda: resolve_dataset(body.dataset), problems)
    recipe = _resolved("recipe", lambda: resolve_recipe(body.recipe), problems)
    if dataset is None or recipe is None:
        raise DefinitionError(problems)
    if len(set(body.seeds)) < len(body.seeds):
        raise Invalid.at("seeds", "duplicate", "must name each seed once")
    kinds: list[str] | None = None if body.artifacts is None else [*body.artifacts]
    return TrainingOptions(dataset, recipe, body.adapt, body.seeds, kinds)


def _resolved(field: str, read: Callable[[], T], problems: list[Problem]) -> T | None:
    """Return what a field names, or None after adding what is wrong with it to `problems`."""
    try:
        return read()
    except DefinitionError as error:
        problems += error.under(field).problems
        return None


def _check_source(body: VerificationBody) -> None:
    named = [name for name in ("arch_id", "architecture", "search") if getattr(body, name) is not None]
    if len(named) != 1:
        raise Invalid.at(
            named[1] if named else "architecture", "one_of", "give exactly one of arch_id, architecture, search"
        )
    for field in ("top", "controls"):
        if body.search is None and getattr(body, field):
            raise Invalid.at(field, "conflicts_with_source", "applies only to a search")


def _architecture(session: Session, owner: str, body: VerificationBody) -> Architecture:
    if body.arch_id is None:
        try:
            return decode_architecture(body.architecture)
        except DefinitionError as error:
            raise error.under("architecture") from error
    try:
        return catalog.architecture(session, owner, body.arch_id)
    except NotFound as unknown:
        raise Invalid.at("arch_id", "unknown_architecture", "names an unknown architecture") from unknown


def _check_fit(architecture: Architecture, training: TrainingOptions) -> None:
    if problems := problems_with(architecture, training):
        raise DefinitionError(problems)


def problems_with(architecture: Architecture, training: TrainingOptions) -> list[Problem]:
    """Return why a network cannot be trained so, each with the field of the request that says so."""
    shape, classes = architecture.input_shape, architecture.num_classes
    problems = list(problems_of(training.dataset, shape, classes, classifies=architecture.classifies))
    if training.recipe.augmentation != "none" and training.dataset.name.startswith("synthetic"):
        problems.append(
            Problem("recipe.augmentation", "no_images", "applies only to images, and this dataset has none")
        )
    problems += _batch_problems(architecture, training)
    about = datasets()[training.dataset.name]
    held_out = validation_problems(training.recipe, about.train, about.num_classes)
    problems += [problem.under("recipe") for problem in held_out]
    problems += _artifact_problems(architecture, training.kinds_for(architecture))
    return problems


def _batch_problems(architecture: Architecture, training: TrainingOptions) -> list[Problem]:
    return [problem.under("recipe") for problem in batch_problems(training.recipe, architecture)]


def _artifact_problems(architecture: Architecture, kinds: list[str]) -> Iterator[Problem]:
    if kinds and architecture.evaluation.weights > MOST_WEIGHTS:
        message = f"are unavailable for networks of more than {MOST_WEIGHTS:,} weights; request none with []"
        yield Problem("artifacts", "too_large", message)
    elif {"source", "definition"} & set(kinds) and possible_links(architecture) > MOST_LINKS:
        message = (
            f"have no source and no definition for networks of more than {MOST_LINKS:,} possible skip connections; "
            "request others"
        )
        yield Problem("artifacts", "too_large", message)
    missing = set(kinds) - set(artifact_kinds(architecture))
    if missing:
        message = f"have no {', '.join(sorted(missing))} for the family {architecture.family}"
        yield Problem("artifacts", "no_source", message)


def _plan_of_search(
    session: Session, owner: str, body: VerificationBody, training: TrainingOptions, search_id: UUID
) -> Plan:
    search = repository.search_of(session, owner, search_id)
    if search is None:
        raise _unknown_search()
    if search.job.state != State.SUCCEEDED:
        raise Invalid.at("search", "not_succeeded", f"has not succeeded; its status is {search.job.state}")
    ranked = repository.best_of(session, search_id, body.top or 1)
    if not ranked:
        raise Invalid.at("search", "no_architectures", "has found no architecture")
    candidates = [decode_architecture(place.architecture) for place in ranked]
    for candidate in candidates:
        _check_fit(candidate, training)
    origins = [Origin(Role.CANDIDATE, search_id, place.rank) for place in ranked]
    networks = list(zip(candidates, origins, strict=True))
    return Plan(training, networks, search, tuple(dict.fromkeys(body.controls)))


def _unknown_search() -> Invalid:
    return Invalid.at("search", "unknown_search", "names an unknown search")


def create(
    session: Session, owner: str, architecture: Architecture, training: TrainingOptions, origin: Origin
) -> Verification:
    """Add a training and queue it. Raises what `lifecycle.enqueue` raises."""
    job = lifecycle.enqueue(session, new_id(), kind=KIND, queue=QUEUE, owner=owner)
    figures = architecture.evaluation
    row = Verification(
        id=job.id,
        job=job,
        role=origin.role,
        search_id=origin.search_id,
        candidate_rank=origin.rank,
        replay_of=origin.replay_of,
        arch_id=architecture.arch_id,
        family=architecture.family,
        task=catalog.task_of(architecture),
        definition=architecture.definition(),
        widths=list(architecture.widths),
        nn_mass=float(figures.mass),
        params=figures.params,
        macs=figures.macs,
        dataset=training.dataset.to_json(),
        dataset_key=training.dataset.key,
        recipe=training.recipe.to_json(),
        recipe_digest=training.recipe.digest,
        adapt=training.adapt,
        seeds=training.seeds,
        kept=training.kinds_for(architecture),
        core_version=__version__,
        log="",
    )
    session.add(row)
    session.flush()
    return row


def get(session: Session, owner: str, verification_id: UUID) -> Verification:
    """Return a verification. Raises NotFound."""
    found = repository.get(session, owner, verification_id)
    return _unknown() if found is None else found


def _unknown() -> NoReturn:
    raise NotFound("there is no such verification")


def show(session: Session, owner: str, verification_id: UUID) -> VerificationAnswer:
    """Return the response for a verification. Raises NotFound."""
    return answer(session, get(session, owner, verification_id))


def whole(session: Session, owner: str, verification_id: UUID) -> JsonObject:
    """Return a verification as JSON. Raises NotFound."""
    return show(session, owner, verification_id).model_dump(mode="json")


def list_page(
    session: Session, owner: str, filters: Filters, paging: Paging
) -> tuple[list[VerificationSummary], str | None]:
    """Return one page of verifications, newest first, and the cursor of the next."""
    scope = {"list": "verifications", "owner": owner, "filters": repr(filters)}
    rows, following = paging.page(
        scope, lambda before, limit: repository.page(session, owner, filters, before, limit), lambda row: str(row.id)
    )
    return summaries(session, rows), following


def cancel(session: Session, owner: str, verification_id: UUID) -> None:
    """Cancel a verification; an ended one does not change. Raises NotFound."""
    get(session, owner, verification_id)
    lifecycle.cancel(session, verification_id)


def change(session: Session, owner: str, verification_id: UUID, changes: VerificationChanges) -> None:
    """Take a verification out of the evidence, or back in. Raises NotFound."""
    found = get(session, owner, verification_id)
    for name, value in changes.model_dump(exclude_unset=True).items():
        setattr(found, name, value)
    session.flush()


def delete(session: Session, owner: str, verification_id: UUID) -> None:
    """Delete a verification with its epochs and files; its accuracy is no longer evidence.

    A file that a worker is writing from its weights goes too. A replay of it stays, without it. Raises NotFound,
    WrongState while it runs.
    """
    get(session, owner, verification_id)
    for export_id in repository.hold(session, verification_id):
        lifecycle.cancel(session, export_id)
        lifecycle.delete(session, export_id)
    if not lifecycle.delete(session, verification_id):
        session.expire_all()
        get(session, owner, verification_id)  # it may no longer exist
        raise WrongState("the verification is running; cancel it first")


def retry(session: Session, owner: str, verification_id: UUID) -> bool:
    """Queue a failed or cancelled verification again, to resume from its last checkpoint; return whether it was queued.

    Raises NotFound, or WrongState for one that has succeeded.
    """
    if get(session, owner, verification_id).job.state == State.SUCCEEDED:
        raise WrongState("the verification has succeeded; POST to its /replay to train it again")
    return lifecycle.retry(session, verification_id)


def replay(session: Session, owner: str, verification_id: UUID, idempotency_key: str | None) -> Submission:
    """Run the training again, to check that the result is the same. Raises NotFound."""
    first = get(session, owner, verification_id)
    fingerprint = idempotency.fingerprint_of(f"{PLACE}/{first.id}/replay")
    return idempotency.once(session, owner, idempotency_key, fingerprint, lambda: _replay(session, owner, first))


def _replay(session: Session, owner: str, first: Verification) -> Submission:
    dataset, recipe = resolve_dataset(first.dataset), resolve_recipe(first.recipe)
    training = TrainingOptions(dataset, recipe, first.adapt, first.seeds, first.kept)
    search_id = repository.keep_search(session, first.search_id)
    if not repository.keep(session, first.id):  # retention may have deleted it meanwhile
        _unknown()
    origin = Origin(Role(first.role), search_id, first.candidate_rank, replay_of=first.id)
    row = create(session, owner, decode_architecture(first.definition), training, origin)
    return Submission(202, answer(session, row).model_dump(mode="json"), f"{PLACE}/{row.id}")


def log(session: Session, owner: str, verification_id: UUID) -> str:
    """Return the end of the trainer's log. Raises NotFound."""
    found = repository.log_of(session, owner, verification_id)
    return _unknown() if found is None else found


def artifact(session: Session, owner: str, verification_id: UUID, name: str) -> Artifact:
    """Return a file, without its content. Raises NotFound."""
    get(session, owner, verification_id)
    found = repository.artifact(session, verification_id, name)
    if found is None:
        raise NotFound("this verification has no such artifact (yet)")
    return found
