"""Strict, bounded types of request fields, shared by the schemas of every feature."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue, SkipJsonSchema
from pydantic_core import CoreSchema, PydanticKnownError

from app.jobs.lifecycle import State
from nnmass_core.architecture import ARCH_ID
from nnmass_core.codec import LARGEST_INTEGER, JsonObject, as_integer, json_schema
from nnmass_core.families import architecture_schema
from nnmass_core.named.datasets import Dataset

# untyped: pydantic has no other type that OpenAPI shows as a plain object

PAGE_LIMIT = 100
CURSOR_EXAMPLE = "WyI5ZjhlIiw0Ml0.kX2x"
ARCH_ID_EXAMPLE = "arch_0a1b2c3d4e5f60718293a4b5c6d7e8f9"
UUID_EXAMPLE = "01997e2a-7c1b-7d20-8f3e-5a6b7c8d9e0f"
HASH_EXAMPLE = "0123456789abcdef" * 4
DIGEST_EXAMPLE = f"sha256:{HASH_EXAMPLE}"
LARGEST_SEED = 2**32 - 1
DATE_AND_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*", re.ASCII)


class Strict(BaseModel):
    """A request object: unknown fields are refused, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class DescribedBy:
    """Describes a field by a model in the OpenAPI document, whose value is still answered as it was stored.

    Rows of other releases may lack a field, or have one more: nothing reads, checks or completes them on the way.

    Args:
        model: The model, for the document alone.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the model's schema in place of the field's."""
        return handler(self._model.__pydantic_core_schema__)


WHOLE = BeforeValidator(as_integer)
"""Reads 1e6 as an integer. Must follow a type's bounds: OpenAPI omits bounds that follow it."""

Natural = Annotated[int, Field(ge=0, le=LARGEST_INTEGER), WHOLE]
"""A non-negative integer that every JSON reader can hold."""

Precision = Literal["fp32", "fp16", "int8"]
"""The precision at which bytes are counted."""

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED), WHOLE]
"""The seed of a random number generator."""


def _written_out(moment: object) -> object:
    """Refuse a number, which Pydantic would read as seconds since 1970."""
    if isinstance(moment, str) and not DATE_AND_TIME.fullmatch(moment):
        raise PydanticKnownError("datetime_type")
    return moment


def _in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC. Raises ValueError at the ends of the calendar, where UTC has no such date."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie within the years 1 to 9999 in UTC") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]
"""A date and time with its time zone, which must be convertible to UTC."""

ArchId = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": f"^{ARCH_ID}$", "examples": [ARCH_ID_EXAMPLE]}),
    Field(description="Id of the network."),
]
"""An architecture's id in a path; any other form is answered with NotFound."""

PathName = Annotated[str, Field(max_length=100)]
"""The name of a space or file in a path."""

CreatedAfter = Annotated[
    Moment | None,
    Field(description="Only those submitted after this moment.", examples=["2026-01-31T12:00:00Z"]),
]
StatusFilter = Annotated[State | None, Field(description="Only those with this status.", examples=[State.SUCCEEDED])]
FamilyFilter = Annotated[
    str | None, Field(max_length=64, description="Only networks of this family.", examples=["densenet_cnn"])
]

Tag = Annotated[str, Field(min_length=1, max_length=64)]

NetworkName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ,._+-]{0,63}$")]
"""A name that a user gives a network. No spreadsheet reads such a name as a formula."""

# Fields that several answers have. Every field of the document has a description, with its unit, and an example.

Network = Annotated[
    dict[str, Any], WithJsonSchema(architecture_schema()), Field(description="Full definition of the network.")
]
DatasetWithOptions = Annotated[
    dict[str, Any],
    WithJsonSchema(json_schema(Dataset)),
    Field(description="The dataset, with the options that apply to it."),
]
RecipeDigest = Annotated[
    str, Field(description="Digest of the recipe; equal for equal recipes.", examples=[DIGEST_EXAMPLE])
]
NetworkId = Annotated[
    str, Field(description="Id of the network: a hash of its definition.", examples=[ARCH_ID_EXAMPLE])
]
NnMass = Annotated[float, Field(description="NN-Mass of the network, without a unit.", examples=[784.13])]
Params = Annotated[int, Field(description="Trainable parameters of the network.", examples=[999706])]
Macs = Annotated[int, Field(description="Multiply-accumulates of the network for one input.", examples=[149759488])]
Depth = Annotated[
    int, Field(description="Layers on the longest path, without the head, as the family counts them.", examples=[40])
]
FamilyName = Annotated[str, Field(description="Family of the networks.", examples=["densenet_cnn"])]

CreatedAt = Annotated[datetime, Field(description="When it was submitted, in UTC.", examples=["2026-01-31T12:00:00Z"])]
StartedAt = Annotated[
    datetime | None,
    Field(description="When a worker first began it, in UTC; null before.", examples=["2026-01-31T12:00:01Z"]),
]
FinishedAt = Annotated[
    datetime | None, Field(description="When it ended, in UTC; null before.", examples=["2026-01-31T12:00:03Z"])
]
HeartbeatAt = Annotated[
    datetime | None,
    Field(description="When its worker last reported, in UTC; null before.", examples=["2026-01-31T12:00:02Z"]),
]
Attempts = Annotated[int, Field(description="How many times a worker has begun it.", examples=[1])]
Status = Annotated[State, Field(description="Where it is between submission and end.")]
DoneFraction = Annotated[float, Field(description="Share of the work that is done, 0 to 1.", examples=[0.4])]
ProgressMessage = Annotated[
    str, Field(description="What happens now, for people; empty before the start.", examples=["started"])
]
FailureCode = Annotated[str, Field(description="Code of the failure, for programs.", examples=["worker_lost"])]
FailureMessage = Annotated[
    str, Field(description="What went wrong, for people.", examples=["the worker stopped responding"])
]
CoreVersion = Annotated[str, Field(description="Version of nnmass that made the result.", examples=["0.1.0"])]
NextCursor = Annotated[
    str | None,
    Field(
        description="Send it as `cursor` for the next page; null on the last page.", examples=["WyI5ZjhlIiw0Ml0.kX2x"]
    ),
]


class ProblemItem(BaseModel):
    """One thing wrong with one field."""

    field: str = Field(
        description="Dotted path of the field; empty for the whole request.", examples=["budget.max_params"]
    )
    code: str = Field(description="Code of the problem, for programs.", examples=["too_small"])
    message: str = Field(description="What is wrong, for people.", examples=["must be at least 0"])


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="URN of the kind of error.", examples=["urn:nnmass:problem:invalid_request"])
    title: str = Field(description="Kind of error, for people.", examples=["Invalid request"])
    status: int = Field(description="HTTP status of the response.", examples=[422])
    code: str = Field(description="Code of the error, for programs.", examples=["invalid_request"])
    detail: str = Field(description="What went wrong, for people.", examples=["one field is not valid"])
    errors: list[ProblemItem] = Field(description="The first 50 problems with fields.")
    offset: int | SkipJsonSchema[None] = Field(
        None, description="Of a body that cannot be parsed: where, in bytes from its start.", examples=[17]
    )


def problems(*statuses: int) -> dict[int | str, JsonObject]:
    """Return the OpenAPI description of the errors that a route may answer with."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    return {
        status: {"description": REASONS[status], "content": content, "headers": PROBLEM_HEADERS.get(status, {})}
        for status in statuses
    }


REASONS = {
    400: "The body cannot be parsed. `offset` is the byte position.",
    401: "The API key is missing, unknown, revoked or expired.",
    403: "The API key lacks the required scope, or the request comes from a page of another origin.",
    404: "Not found, or owned by another owner.",
    408: "The body took too long to arrive.",
    409: "The current status does not allow this.",
    413: "The body is larger than the limit.",
    415: "The body is not uncompressed application/json.",
    421: "The Host header does not name this service.",
    422: "Some fields are invalid; see `errors`.",
    429: "Too many requests or queued jobs; try again after `Retry-After` seconds.",
    503: "The database is unavailable. Repeat the request, with the same Idempotency-Key.",
}
PROBLEM_HEADERS: dict[int, JsonObject] = {
    401: {
        "WWW-Authenticate": {
            "required": True,
            "schema": {"type": "string", "const": "Bearer", "examples": ["Bearer"]},
            "description": "How to authenticate.",
        }
    },
    429: {
        "Retry-After": {
            "required": True,
            "schema": {"type": "integer", "examples": [2]},
            "description": "Seconds to wait.",
        }
    },
}
BODY_ERRORS = (400, 408, 413, 415, 422, 503)
"""For every route that changes something: a body is checked even where none is expected."""


class ExportedAs(BaseModel):
    """A file of an architecture that a worker created, or is to create."""

    format: str = Field(description="Format of the file: `onnx`, `torchscript` or `metadata`.", examples=["onnx"])
    seed: int = Field(description="Seed of the wiring and the initial weights.", examples=[0])
    batch: int | None = Field(description="Number of inputs that it takes at once; null for any number.", examples=[1])
    opset: int | None = Field(
        description="Version of the operators of ONNX; null for TorchScript, and for files of older releases.",
        examples=[18],
    )
    fold_batchnorm: bool | None = Field(
        description="Whether BatchNorm is folded into convolutions; null for files of older releases.", examples=[True]
    )
    current: bool = Field(
        description="Whether this release gives the file out; those of others are created again when asked for.",
        examples=[True],
    )
    size: int | None = Field(description="Size of the file in bytes; null while it does not exist.", examples=[49954])
    status: Status
    created_at: CreatedAt
