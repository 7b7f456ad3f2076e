"""Pages of architectures: diagram, costs, memory over time, reasons for its rank, differences, files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from app import catalog
from app.architectures import service
from app.errors import Invalid
from app.exports.delivery import get_or_enqueue
from app.exports.service import Pending
from app.http.dependencies import CallerDep, Owner, ReadSession, ThreadsDep
from app.http.fields import LARGEST_SEED, ArchId
from app.http.file_responses import sent
from app.ui.budgets import charted
from app.ui.page import PageRoute, go_to, render
from app.ui.trainings import choices
from nnmass_core.architecture import BYTES_PER_ELEMENT, Architecture
from nnmass_core.wiring import depends_on_seed

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/architectures")
def chosen(request: Request, arch_id: Annotated[list[str] | None, Query(max_length=20)] = None) -> Response:
    """Redirect to the architecture selected in a ranking, or to the comparison of the first two."""
    ids = arch_id or []
    if not ids:
        raise Invalid("select one architecture to open, or two to compare")
    against = f"?against={ids[1]}" if len(ids) > 1 else ""
    return go_to(request, f"/architectures/{ids[0]}{against}")


@router.get("/architectures/{arch_id}")
def show(
    request: Request,
    session: ReadSession,
    owner: Owner,
    arch_id: ArchId,
    against: Annotated[str, Query(max_length=64)] = "",
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    seed: Annotated[int, Query(ge=0, le=LARGEST_SEED)] = 0,
) -> Response:
    """Show an architecture, or compare it with another."""
    architecture = catalog.architecture(session, owner, arch_id)
    context = {
        "about": service.about(session, owner, arch_id),
        "figures": architecture.evaluation.report(precision),
        "parts": [part.report() for part in architecture.evaluation.parts],
        "costs": charted().values(),
        "precision": precision,
        "precisions": list(BYTES_PER_ELEMENT),
        "timeline": _timeline(architecture, precision),
        "task": (architecture.input_shape, architecture.num_classes),
        "against": against,
        "differences": list(_differences(session, owner, architecture, against, precision)) if against else [],
        "training": choices(architecture),
        "seed": seed,
        "largest_seed": LARGEST_SEED,
        "seeded": depends_on_seed(architecture),
    }
    return render(request, "architecture.html", **context)


def _timeline(architecture: Architecture, precision: str) -> list[tuple[str, int, float]]:
    """Return for each step, in order, its name, the bytes of activations alive, and their share of the peak."""
    size, evaluation = BYTES_PER_ELEMENT[precision], architecture.evaluation
    most = max(evaluation.peak_elements, 1)
    return [(step.name, step.peak_elements * size, step.peak_elements / most) for step in evaluation.steps]


def _differences(
    session: Session, owner: str, one: Architecture, against: str, precision: str
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, here, there) for every figure, and for every integer of the definitions that differs."""
    other = catalog.architecture(session, owner, against)
    here, there = one.evaluation.report(precision), other.evaluation.report(precision)
    yield from ((name, here[name], there[name]) for name in ("nn_mass", *charted(), "depth"))
    first, second = dict(_leaves("", one.definition())), dict(_leaves("", other.definition()))
    for name in dict.fromkeys([*first, *second]):
        if first.get(name) != second.get(name):
            yield name, first.get(name), second.get(name)


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
    form: Literal["pytorch", "onnx", "torchscript", "json"],
    seed: Annotated[int, Query(ge=0, le=LARGEST_SEED)] = 0,
) -> Response:
    """Return the file; while it does not exist, a page that says why and reloads itself."""
    found = await get_or_enqueue(threads, caller, request.headers, arch_id, form, seed)
    if isinstance(found, Pending):
        waiting = render(request, "export.html", arch_id=arch_id, form=form, pending=found)
        waiting.headers["Refresh"] = "1"
        return waiting
    return await sent(found.content, found.name, found.media_type, threads, caller.owner)
