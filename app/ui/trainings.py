"""Pages of verifications: start them, watch their curves, read their results and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.errors import Invalid
from app.exports.delivery import get_or_enqueue_trained
from app.exports.routes import Batch, FoldBatchNorm, Opset, TrainedSeed
from app.exports.service import Pending
from app.http.dependencies import CallerDep, CursorsDep, Owner, ReadSession, ThreadsDep, WriteSession
from app.http.file_responses import sent
from app.http.pagination import Paging
from app.jobs.lifecycle import ENDED, State
from app.predictions import Predictions
from app.storage.ids import id_of
from app.ui.files import stored_query, waiting_page
from app.ui.forms import FormProblems, checked, chosen_state, verification_body
from app.ui.page import FormDep, PageRoute, go_to, has_torch, render
from app.verifications import service
from app.verifications.repository import Filters
from app.verifications.schemas import ArtifactItem, VerificationAnswer, VerificationBody, VerificationChanges
from app.verifications.submission import submit
from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject
from nnmass_core.errors import DefinitionError
from nnmass_core.export.artifacts import ARTIFACTS
from nnmass_core.export.deployment import LARGEST_BATCH, OPSETS, USUAL, file_options
from nnmass_core.named.datasets import datasets, problems_of, resolve_dataset
from nnmass_core.named.recipes import recipes

router = APIRouter(include_in_schema=False, route_class=PageRoute)

VerificationId = Annotated[UUID, id_of("verification")]


def choices(architecture: Architecture | None) -> dict[str, list[str]]:
    """Return the data sets that fit an architecture's inputs and classes, and the recipes."""
    if architecture is None:
        return {"datasets": [], "recipes": []}
    return {
        "datasets": [name for name in datasets() if _fits(name, architecture)],
        "recipes": recipes_for(architecture.input_shape),
    }


def recipes_for(shape: Sequence[int]) -> list[str]:
    """Return the recipes, first the usual one for inputs of a shape."""
    usual = "mlp-paper" if len(shape) == 1 else "cifar-quick"
    return sorted(recipes(), key=lambda name: name != usual)


def _fits(name: str, architecture: Architecture) -> bool:
    try:
        dataset = resolve_dataset(name)
    except DefinitionError:
        return False  # it needs more than a name
    shape, classes = architecture.input_shape, architecture.num_classes
    return not list(problems_of(dataset, shape, classes, classifies=architecture.classifies))


@router.post("/verifications")
async def submit_form(request: Request, threads: ThreadsDep, owner: Owner, form: FormDep) -> Response:
    """Train the networks in the form; then show the training, or the list of all trainings started."""
    try:
        body = checked(VerificationBody, verification_body(form))
    except FormProblems as problems:
        raise Invalid(str(problems)) from problems
    done = await submit(threads, owner, body, None)
    return go_to(request, done.location.removeprefix("/v1"))


@router.get("/verifications")
def list_all(
    request: Request,
    session: ReadSession,
    owner: Owner,
    signer: CursorsDep,
    status: str = "",
    search: UUID | None = None,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> Response:
    """List verifications, newest first."""
    filters = Filters(chosen_state(status), search)
    items, following = service.list_page(session, owner, filters, Paging(signer, cursor, 50))
    context = {
        "items": items,
        "following": following,
        "status": status,
        "search": search,
        "states": list(State),
        "waiting": any(item.status not in ENDED for item in items),
        "has_torch": has_torch(request, session),
    }
    return render(request, "verifications.html", **context)


@router.get("/verifications/{verification_id}")
def show(request: Request, session: ReadSession, owner: Owner, verification_id: VerificationId) -> Response:
    """Show a verification: its curves, its result and prediction, its log and its files."""
    found = service.show(session, owner, verification_id)
    context = {
        "it": found,
        "ended": found.status in ENDED,
        "files": _files_by_seed(found),
        "rewritable": _rewritable(found),
        "usual": USUAL,
        "opsets": OPSETS,
        "largest_batch": LARGEST_BATCH,
        "stored": [(one, stored_query(one)) for one in found.exports],
        "curves": [_curve(run.model_dump()) for run in found.runs],
        "predicted": Predictions(session, owner, found.family).of(found.architecture),
        "log": service.log(session, owner, verification_id),
        "has_torch": has_torch(request, session),
    }
    return render(request, "verification.html", **context)


def _files_by_seed(found: VerificationAnswer) -> list[tuple[int, list[ArtifactItem], bool]]:
    """Return the seeds that have files, each with these, and whether one is the source into which its weights load."""
    stored = {item.name: item for item in found.artifacts}
    names = {seed: {kind: file.name(seed) for kind, file in ARTIFACTS.items()} for seed in found.seeds}
    return [
        (seed, [stored[name] for name in of.values() if name in stored], of["source"] in stored)
        for seed, of in names.items()
        if stored.keys() & set(of.values())
    ]


def _rewritable(found: VerificationAnswer) -> list[int]:
    """Return the seeds whose ONNX file can be written with other options."""
    stored = {item.name for item in found.artifacts} if found.status in ENDED else set()
    return [seed for seed in found.seeds if {ARTIFACTS[kind].name(seed) for kind in ("weights", "metadata")} <= stored]


def _curve(run: Mapping[str, Any]) -> JsonObject:
    """Return a chart's data for one seed."""
    names = ("epoch", "train_loss", "train_accuracy", "test_accuracy", "validation_accuracy")
    return {"seed": run["seed"], **{name: [epoch[name] for epoch in run["epochs"]] for name in names}}


@router.post("/verifications/{verification_id}/cancel")
def cancel(request: Request, session: WriteSession, owner: Owner, verification_id: VerificationId) -> Response:
    """Cancel a verification."""
    service.cancel(session, owner, verification_id)
    return go_to(request, f"/verifications/{verification_id}")


@router.post("/verifications/{verification_id}/retry")
def retry(request: Request, session: WriteSession, owner: Owner, verification_id: VerificationId) -> Response:
    """Queue a verification again."""
    service.retry(session, owner, verification_id)
    return go_to(request, f"/verifications/{verification_id}")


@router.post("/verifications/{verification_id}/exclude")
def exclude(request: Request, session: WriteSession, owner: Owner, verification_id: VerificationId) -> Response:
    """Take a verification out of the evidence."""
    service.change(session, owner, verification_id, VerificationChanges(excluded=True))
    return go_to(request, f"/verifications/{verification_id}")


@router.post("/verifications/{verification_id}/include")
def include(request: Request, session: WriteSession, owner: Owner, verification_id: VerificationId) -> Response:
    """Take a verification back into the evidence."""
    service.change(session, owner, verification_id, VerificationChanges(excluded=False))
    return go_to(request, f"/verifications/{verification_id}")


@router.post("/verifications/{verification_id}/replay")
def replay(request: Request, session: WriteSession, owner: Owner, verification_id: VerificationId) -> Response:
    """Run the training again."""
    done = service.replay(session, owner, verification_id, None)
    return go_to(request, done.location.removeprefix("/v1"))


@router.get("/verifications/{verification_id}/export/{form}")
async def export(
    request: Request,
    threads: ThreadsDep,
    caller: CallerDep,
    verification_id: VerificationId,
    form: Literal["onnx", "metadata"],
    seed: TrainedSeed = None,
    batch: Batch = None,
    opset: Opset = None,
    fold_batchnorm: FoldBatchNorm = None,
) -> Response:
    """Return the file of a training; while it does not exist, a page that says why and reloads itself."""
    options = file_options(form, batch=batch, opset=opset, fold_batchnorm=fold_batchnorm)
    found = await get_or_enqueue_trained(threads, caller, request.headers, verification_id, form, seed, options)
    if isinstance(found, Pending):
        place = (f"/verifications/{verification_id}", "the training")
        return waiting_page(request, f"the {form} file of the trained network", place, found)
    return await sent(found.content, found.name, found.media_type, threads, caller.owner)
