"""Errors of the service, free of HTTP: each carries the status and the stable code it is rendered with.

ServiceError
├── NotFound       404   no such thing, or not this owner's
├── WrongState     409   the thing is in a state that forbids this
├── Invalid        422   problems with fields
└── Unavailable    503   a part the service needs is away
"""

from __future__ import annotations

from collections.abc import Iterable

from nnmass_core.errors import DefinitionError, Problem


class ServiceError(Exception):
    """An error with a meaning for the caller."""

    status = 500
    code = "internal_error"
    title = "Internal error"

    def __init__(self, detail: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = tuple(problems)


class NotFound(ServiceError):
    """There is no such thing for this owner."""

    status = 404
    code = "not_found"
    title = "Not found"


class WrongState(ServiceError):
    """The thing is in a state that forbids this."""

    status = 409
    code = "wrong_state"
    title = "Wrong state"


class Invalid(ServiceError):
    """The request was read but cannot be carried out; `problems` names the fields."""

    status = 422
    code = "invalid_request"
    title = "Invalid request"

    @classmethod
    def at(cls, field: str, code: str, message: str) -> Invalid:
        """Return an error about one field."""
        return cls("one field is not valid", [Problem(field, code, message)])

    @classmethod
    def of(cls, error: DefinitionError) -> Invalid:
        """Return the core's error as the service's."""
        count = len(error.problems)
        return cls("one field is not valid" if count == 1 else f"{count} fields are not valid", error.problems)


class Unavailable(ServiceError):
    """A part that the service needs is away; the request can be repeated."""

    status = 503
    code = "unavailable"
    title = "Temporarily unavailable"
