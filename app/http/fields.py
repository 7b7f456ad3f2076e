"""Strict, bounded types of request fields, shared by the schemas of every feature."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticKnownError

from nnmass_core.architecture import ARCH_ID
from nnmass_core.codec import LARGEST_INTEGER, JsonObject, as_integer

PAGE_LIMIT = 100
LARGEST_SEED = 2**32 - 1
DATE_AND_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*", re.ASCII)


class Strict(BaseModel):
    """A request object: unknown fields are refused, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


WHOLE = BeforeValidator(as_integer)
"""Reads 1e6 as an integer. Must follow a type's bounds: OpenAPI omits bounds that follow it."""

Natural = Annotated[int, Field(ge=0, le=LARGEST_INTEGER), WHOLE]
"""A non-negative integer that every JSON reader can hold."""

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

ArchId = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{ARCH_ID}$"})]
"""An architecture's id in a path; any other form is answered with NotFound."""

PathName = Annotated[str, Field(max_length=100)]
"""The name of a space or file in a path."""

Tag = Annotated[str, Field(min_length=1, max_length=64)]


class ProblemItem(BaseModel):
    """One thing wrong with one field."""

    field: str = Field(description="Dotted path of the field; empty for the whole request.")
    code: str
    message: str


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[ProblemItem]


def problems(*statuses: int) -> dict[int | str, JsonObject]:
    """Return the OpenAPI description of the errors that a route may answer with."""
    schema = ProblemBody.model_json_schema()
    schema["properties"]["errors"]["items"] = schema.pop("$defs")["ProblemItem"]  # no other schema would define it
    content = {"application/problem+json": {"schema": schema}}
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
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    429: {"Retry-After": {"required": True, "schema": {"type": "integer"}, "description": "Seconds."}},
}
BODY_ERRORS = (400, 408, 413, 415, 422, 503)
"""For every route that changes something: a body is checked even where none is expected."""
