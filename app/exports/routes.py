"""Routes of exports."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from app.exports import service
from app.exports.delivery import get_or_enqueue
from app.exports.schemas import ExportState
from app.exports.service import Pending
from app.http.dependencies import CallerDep, Owner, ThreadsDep, WriteSession
from app.http.fields import BODY_ERRORS, LARGEST_SEED, ArchId, problems
from app.http.file_responses import sent
from nnmass_core.export.deployment import DYNAMIC, LARGEST_BATCH, OPSETS, USUAL_OPSET, file_options

router = APIRouter(prefix="/v1/architectures", tags=["architectures"])

RETRY_AFTER_SECONDS = 2
Format = Annotated[
    Literal["pytorch", "onnx", "torchscript", "json", "metadata"],
    Query(
        description="Format of the file. `metadata` is what the ONNX file says about itself, as JSON.",
        examples=["onnx"],
    ),
]
Batch = Annotated[
    str | None,
    Query(
        max_length=20,
        description=f"Number of inputs that an ONNX file takes at once, 1 to {LARGEST_BATCH}, or `{DYNAMIC}` for any "
        f"number; by default `{DYNAMIC}`.",
        examples=["1"],
    ),
]
Opset = Annotated[
    int | None,
    Query(
        ge=OPSETS[0],
        le=OPSETS[-1],
        description=f"Version of the operators of an ONNX file, {OPSETS[0]} to {OPSETS[-1]}; by default {USUAL_OPSET}.",
        examples=[USUAL_OPSET],
    ),
]
FoldBatchNorm = Annotated[
    bool | None,
    Query(
        description="Whether each BatchNorm that follows a convolution becomes a part of it, in ONNX and TorchScript "
        "files; by default true.",
        examples=[True],
    ),
]
ExportSeed = Annotated[
    int, Query(ge=0, le=LARGEST_SEED, description="Seed of the wiring and the initial weights.", examples=[0])
]


@router.get(
    "/{arch_id}/export",
    response_class=Response,
    responses={
        200: {"content": {form.media_type: {} for form in service.FORMATS.values()}, "description": "The file."},
        202: {"model": ExportState, "description": "No file yet; try again after `Retry-After` seconds."},
        **problems(404, 422, 503),
    },
)
async def export_architecture(
    request: Request,
    arch_id: ArchId,
    threads: ThreadsDep,
    caller: CallerDep,
    format: Format,  # noqa: A002 - the contract's word
    seed: ExportSeed = 0,
    batch: Batch = None,
    opset: Opset = None,
    fold_batchnorm: FoldBatchNorm = None,
) -> Response:
    """Return an untrained architecture as a file: its definition, PyTorch source, ONNX, or TorchScript.

    The PyTorch source has the wiring of `seed`; weights of a training with another seed do not load into it. ONNX and
    TorchScript have the initial weights of `seed`. The trained files are the `artifacts` of a verification.

    The first two are returned immediately. A worker with torch creates ONNX and TorchScript files, and the metadata of
    ONNX, for a key with the scope `search`; until then, the response is 202.
    """
    options = file_options(format, batch=batch, opset=opset, fold_batchnorm=fold_batchnorm)
    found = await get_or_enqueue(threads, caller, request.headers, arch_id, format, seed, options)
    if isinstance(found, Pending):
        body = ExportState.model_validate(vars(found)).model_dump(mode="json")
        return JSONResponse(body, 202, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    return await sent(found.content, found.name, found.media_type, threads, caller.owner)


@router.post("/{arch_id}/export/cancel", response_model=ExportState, responses=problems(404, *BODY_ERRORS))
def cancel_export(
    arch_id: ArchId,
    session: WriteSession,
    owner: Owner,
    format: Format,  # noqa: A002 - the contract's word
    seed: ExportSeed = 0,
) -> ExportState:
    """Cancel the creation of a file, with whatever options. A file that exists remains."""
    return ExportState.model_validate(vars(service.cancel(session, owner, arch_id, format, seed)))


@router.delete("/{arch_id}/export", status_code=204, responses=problems(404, 409, *BODY_ERRORS))
def delete_export(
    arch_id: ArchId,
    session: WriteSession,
    owner: Owner,
    format: Format,  # noqa: A002 - the contract's word
    seed: ExportSeed = 0,
) -> None:
    """Delete a file that a worker created, or that waits to be created. While a worker creates it, returns 409.

    The file is deleted with all options with which it was created.

    The definition and PyTorch source are not stored: nothing of them can be deleted.
    """
    service.delete(session, owner, arch_id, format, seed)
