"""Routes of exports."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from app.exports import service, trained_files
from app.exports.delivery import get_or_enqueue, get_or_enqueue_trained
from app.exports.schemas import ExportState
from app.exports.service import File, Pending
from app.http.concurrency import Threads
from app.http.dependencies import CallerDep, Owner, ThreadsDep, WriteSession
from app.http.fields import BODY_ERRORS, LARGEST_SEED, UUID_EXAMPLE, ArchId, problems
from app.http.file_responses import sent
from app.storage.ids import id_of
from nnmass_core.export.deployment import DYNAMIC, LARGEST_BATCH, OPSETS, USUAL_OPSET, file_options

router = APIRouter(prefix="/v1/architectures", tags=["architectures"])
of_trainings = APIRouter(prefix="/v1/verifications", tags=["verifications"])

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
TrainedFormat = Annotated[
    Literal["onnx", "metadata"],
    Query(
        description="Format of the file. `metadata` is what the ONNX file says about itself, as JSON.",
        examples=["onnx"],
    ),
]
TrainedSeed = Annotated[
    int | None,
    Query(
        ge=0,
        le=LARGEST_SEED,
        description="Seed of the verification whose weights the file has; may be omitted if there is only one.",
        examples=[0],
    ),
]
VerificationId = Annotated[
    UUID, id_of("verification"), Field(description="Id of the verification.", examples=[UUID_EXAMPLE])
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
    return await _answer(found, threads, caller.owner)


async def _answer(found: File | Pending, threads: Threads, owner: str) -> Response:
    if isinstance(found, Pending):
        body = ExportState.model_validate(vars(found)).model_dump(mode="json")
        return JSONResponse(body, 202, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    return await sent(found.content, found.name, found.media_type, threads, owner)


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


@of_trainings.get(
    "/{verification_id}/export",
    response_class=Response,
    responses={
        200: {
            "content": {service.FORMATS[form].media_type: {} for form in ("onnx", "metadata")},
            "description": "The file.",
        },
        202: {"model": ExportState, "description": "No file yet; try again after `Retry-After` seconds."},
        **problems(404, 409, 422, 503),
    },
)
async def export_verification(
    request: Request,
    verification_id: VerificationId,
    threads: ThreadsDep,
    caller: CallerDep,
    format: TrainedFormat,  # noqa: A002 - the contract's word
    seed: TrainedSeed = None,
    batch: Batch = None,
    opset: Opset = None,
    fold_batchnorm: FoldBatchNorm = None,
) -> Response:
    """Return a trained network as an ONNX file with options of your choice, or what that file says about itself.

    The file that the training stored is returned where the options are the usual ones. A worker with torch writes
    others from the stored weights and metadata, for a key with the scope `train`; until then, the response is 202.

    Returns 409 while the verification has not ended, or if it has not stored its weights and metadata.
    """
    options = file_options(format, batch=batch, opset=opset, fold_batchnorm=fold_batchnorm)
    found = await get_or_enqueue_trained(threads, caller, request.headers, verification_id, format, seed, options)
    return await _answer(found, threads, caller.owner)


@of_trainings.post(
    "/{verification_id}/export/cancel", response_model=ExportState, responses=problems(404, *BODY_ERRORS)
)
def cancel_verification_export(
    verification_id: VerificationId,
    session: WriteSession,
    owner: Owner,
    format: TrainedFormat,  # noqa: A002 - the contract's word
    seed: TrainedSeed = None,
) -> ExportState:
    """Cancel the creation of a file of a training, with whatever options. A file that exists remains."""
    number = trained_files.seed_of(session, owner, verification_id, seed)
    return ExportState.model_validate(vars(service.cancel(session, owner, verification_id, format, number)))


@of_trainings.delete("/{verification_id}/export", status_code=204, responses=problems(404, 409, *BODY_ERRORS))
def delete_verification_export(
    verification_id: VerificationId,
    session: WriteSession,
    owner: Owner,
    format: TrainedFormat,  # noqa: A002 - the contract's word
    seed: TrainedSeed = None,
) -> None:
    """Delete the ONNX files that a worker wrote from the weights of a training, with whatever options.

    While a worker writes one, returns 409. Those that the training stored go with the verification alone, and the
    metadata are not stored.
    """
    number = trained_files.seed_of(session, owner, verification_id, seed)
    service.delete(session, owner, verification_id, format, number)
