"""Pages of architectures: diagram, costs, memory over time, reasons for its rank, differences, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from sqlalchemy.orm import Session

from app import catalog
from app.architectures import service
from app.errors import Invalid
from app.exports.delivery import get_or_enqueue
from app.exports.routes import Batch, FoldBatchNorm, Opset
from app.exports.service import FORMATS, Pending
from app.http.dependencies import CallerDep, Owner, ReadSession, ThreadsDep
from app.http.fields import LARGEST_SEED, ArchId, ExportedAs, Precision
from app.http.file_responses import sent
from app.ui.budgets import charted
from app.ui.files import file_query, stored_query, waiting_page
from app.ui.page import PageRoute, go_to, has_torch, render
from app.ui.trainings import choices
from nnmass_core.architecture import BYTES_PER_ELEMENT, Architecture
from nnmass_core.budget import MOST_BATCH, check_batch
from nnmass_core.export.deployment import LARGEST_BATCH, OPSETS, file_options
from nnmass_core.wiring import depends_on_seed

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MOST_COMPARED = 20
Compared = Annotated[str, Field(max_length=64)]
"""The id of another architecture, which may be unknown."""


def _counted_for(
    precision: Precision = "fp32", inputs: Annotated[int, Query(ge=1, le=MOST_BATCH)] = 1
) -> tuple[str, int]:
    return precision, inputs


CountedFor = Annotated[tuple[str, int], Depends(_counted_for)]
"""The precision at which bytes are counted, and the inputs whose activations are."""


@router.get("/architectures")
def chosen(
    request: Request,
    arch_id: Annotated[list[str] | None, Query(max_length=MOST_COMPARED)] = None,
    precision: Precision = "fp32",
) -> Response:
    """Redirect to the architecture selected in a ranking, or to the comparison of the first with the others."""
    if not arch_id:
        raise Invalid("select one architecture to open, or several to compare")
    first, *others = arch_id
    query = urlencode([("precision", precision), *(("against", other) for other in others)])
    return go_to(request, f"/architectures/{quote(first)}?{query}")


@router.get("/architectures/{arch_id}")
def show(
    request: Request,
    session: ReadSession,
    owner: Owner,
    arch_id: ArchId,
    counted: CountedFor,
    against: Annotated[list[Compared] | None, Query(max_length=MOST_COMPARED - 1)] = None,
    seed: Annotated[int, Query(ge=0, le=LARGEST_SEED)] = 0,
    batch: Batch = None,
    opset: Opset = None,
    fold_batchnorm: FoldBatchNorm = None,
) -> Response:
    """Show an architecture, or compare it with others."""
    options = file_options("onnx", batch=batch, opset=opset, fold_batchnorm=fold_batchnorm)
    architecture = catalog.architecture(session, owner, arch_id)
    others = [catalog.architecture(session, owner, other) for other in against or []]
    precision, inputs = counted
    check_batch(inputs, precision, [one.evaluation for one in (architecture, *others)])
    about: Mapping[str, Any] = service.about(session, owner, arch_id)
    context = {
        "about": about,
        "figures": architecture.evaluation.report(precision, inputs),
        "mass_per_width": float(architecture.evaluation.mass_per_width),
        "parts": [part.report() for part in architecture.evaluation.parts],
        "costs": charted().values(),
        "precision": precision,
        "inputs": inputs,
        "most_inputs": MOST_BATCH,
        "precisions": list(BYTES_PER_ELEMENT),
        "timeline": _timeline(architecture, precision, inputs),
        "task": (architecture.input_shape, architecture.num_classes),
        "against": against or [],
        "has_torch": has_torch(request, session),
        "deletable": _deletable(session, owner, about),
        "differences": list(_differences([architecture, *others], precision, inputs)) if others else [],
        "training": choices(architecture),
        "seed": seed,
        "largest_seed": LARGEST_SEED,
        "seeded": depends_on_seed(architecture),
        "options": options,
        "opsets": OPSETS,
        "largest_batch": LARGEST_BATCH,
        "file_query": {form: file_query(form, seed, options) for form in FORMATS},
        "stored": [(one, stored_query(ExportedAs(**one))) for one in about["exports"]],
    }
    return render(request, "architecture.html", **context)


def _deletable(session: Session, owner: str, about: Mapping[str, Any]) -> bool:
    """Return whether an architecture was registered and nothing uses it, or refers to it."""
    used = any(about[uses] for uses in ("searches", "verifications", "measurements", "exports"))
    return about["registered"] and not used and not catalog.searches_with_reference(session, owner, about["arch_id"], 1)


def _timeline(architecture: Architecture, precision: str, inputs: int) -> list[tuple[str, int, float]]:
    """Return for each step, in order, its name, the bytes of activations alive, and their share of the peak."""
    size, evaluation = inputs * BYTES_PER_ELEMENT[precision], architecture.evaluation
    most = max(evaluation.peak_elements, 1)
    return [(step.name, step.peak_elements * size, step.peak_elements / most) for step in evaluation.steps]


def _differences(compared: Sequence[Architecture], precision: str, inputs: int) -> Iterator[tuple[str, list[Any]]]:
    """Yield (name, values) for every figure, and for every integer of the definitions that differs."""
    reports = [one.evaluation.report(precision, inputs) for one in compared]
    at = precision if inputs == 1 else f"{precision}, {inputs:,} inputs"
    for name in ("nn_mass", *charted()):
        in_bytes = name in charted() and charted()[name].unit == "bytes"
        yield f"{name}, {at}" if in_bytes else name, [report[name] for report in reports]
    definitions = [dict(_leaves("", one.definition())) for one in compared]
    for name in dict.fromkeys(name for definition in definitions for name in definition):
        values = [definition.get(name) for definition in definitions]
        if any(value != values[0] for value in values):
            yield name, values


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value, 1) if isinstance(value, list) else None
    if parts is None:
        yield path, value
        return
    for name, part in parts:
        yield from _leaves(f"{path}.{name}" if path else str(name), part)


@router.get("/architectures/{arch_id}/export/{form}")
async def export(
    request: Request,
    threads: ThreadsDep,
    caller: CallerDep,
    arch_id: ArchId,
    form: Literal["pytorch", "onnx", "torchscript", "json", "metadata"],
    seed: Annotated[int, Query(ge=0, le=LARGEST_SEED)] = 0,
    batch: Batch = None,
    opset: Opset = None,
    fold_batchnorm: FoldBatchNorm = None,
) -> Response:
    """Return the file; while it does not exist, a page that says why and reloads itself."""
    options = file_options(form, batch=batch, opset=opset, fold_batchnorm=fold_batchnorm)
    found = await get_or_enqueue(threads, caller, request.headers, arch_id, form, seed, options)
    if isinstance(found, Pending):
        what = f"the {form} file of the untrained network"
        return waiting_page(request, what, (f"/architectures/{arch_id}", "the architecture"), found)
    return await sent(found.content, found.name, found.media_type, threads, caller.owner)
