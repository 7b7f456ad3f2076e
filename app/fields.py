"""Types of request fields, strict and bounded, shared by every feature's schemas."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from nnmass_core.codec import LARGEST_INTEGER, as_integer

PAGE_LIMIT = 100


class Strict(BaseModel):
    """A request object: unknown fields are refused, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Natural = Annotated[int, BeforeValidator(as_integer), Field(ge=0, le=LARGEST_INTEGER)]
"""A non-negative integer that every JSON reader can hold; 1e6 is read as the integer it is."""

Tag = Annotated[str, Field(min_length=1, max_length=64)]


class ProblemItem(BaseModel):
    """One thing wrong with one field."""

    field: str = Field(description="Dotted path of the field, empty for the request as a whole.")
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


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the errors that a route may answer with."""
    content = {
        "application/problem+json": {
            "schema": ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
        }
    }
    return {status: {"description": REASONS[status], "content": content} for status in statuses}


REASONS = {
    400: "The body cannot be parsed; the byte offset says where.",
    404: "There is no such thing.",
    408: "The body took too long to arrive.",
    409: "Its state forbids this.",
    413: "The body is larger than the limit.",
    415: "The body is not sent as application/json.",
    422: "Fields are not valid; `errors` names each.",
    503: "The database is away; nothing was changed.",
}
BODY_ERRORS = (400, 408, 413, 415, 422, 503)
