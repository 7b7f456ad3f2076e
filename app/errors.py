"""Errors of the service, independent of HTTP libraries. Each has the status and the stable code of its response.

ServiceError ├── Unauthenticated 401 the key is missing or invalid ├── Forbidden 403 the key lacks the required scope
├── NotFound 404 it does not exist, or another owner has it ├── WrongState 409 its state does not allow this ├── Invalid
422 fields have problems ├── TooMany 429 the owner exceeds a limit ├── Unavailable 503 a required part is unavailable
└── Unserved 503 the service cannot do such work at all
"""

from __future__ import annotations

from collections.abc import Iterable

from nnmass_core.errors import DefinitionError, Problem


class ServiceError(Exception):
    """An error that the caller of the service can understand and handle."""

    status = 500
    code = "internal_error"
    title = "Internal error"
    retry_after: int | None = None
    """Seconds after which the same request may succeed; None where waiting does not help."""

    def __init__(self, detail: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = tuple(problems)


class Unauthenticated(ServiceError):
    """The request has no valid key."""

    status = 401
    code = "unauthenticated"
    title = "Not authenticated"


class Forbidden(ServiceError):
    """The key lacks the required scope."""

    status = 403
    code = "forbidden"
    title = "Forbidden"


class NotFound(ServiceError):
    """It does not exist for this owner."""

    status = 404
    code = "not_found"
    title = "Not found"


class WrongState(ServiceError):
    """Its state does not allow this operation."""

    status = 409
    code = "wrong_state"
    title = "Wrong state"


class Invalid(ServiceError):
    """The request was parsed but cannot be carried out; `problems` names the fields."""

    status = 422
    code = "invalid_request"
    title = "Invalid request"

    @classmethod
    def at(cls, field: str, code: str, message: str) -> Invalid:
        """Return an error about one field."""
        return cls("one field is not valid", [Problem(field, code, message)])

    @classmethod
    def of(cls, error: DefinitionError) -> Invalid:
        """Convert an error of the core into one of the service."""
        count = len(error.problems)
        return cls("one field is not valid" if count == 1 else f"{count} fields are not valid", error.problems)


class TooMany(ServiceError):
    """The owner sends requests too often, or has too many waiting jobs."""

    status = 429
    code = "too_many"
    title = "Too many"

    def __init__(self, detail: str, *, code: str, retry_after: int) -> None:
        super().__init__(detail)
        self.code = code
        self.retry_after = retry_after


class Unavailable(ServiceError):
    """A required part of the service is unavailable; the request can be repeated."""

    status = 503
    code = "unavailable"
    title = "Temporarily unavailable"


class Unserved(ServiceError):
    """This service cannot do such work until something is installed."""

    status = 503
    code = "torch_missing"
    title = "Not possible here"
