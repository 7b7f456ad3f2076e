"""Errors of the service, free of HTTP: each carries the status and the stable code it is rendered with.

ServiceError
├── Unauthenticated   401   no key, or none that counts
├── Forbidden         403   the key does not allow this
├── NotFound          404   no such thing, or not this owner's
├── WrongState        409   the thing is in a state that forbids this
├── Invalid           422   problems with fields
├── TooMany           429   more than this owner may ask for
└── Unavailable       503   a part the service needs is away
"""

from __future__ import annotations

from collections.abc import Iterable

from nnmass_core.errors import DefinitionError, Problem


class ServiceError(Exception):
    """An error with a meaning for the caller."""

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
    """The request carries no key, or none that counts."""

    status = 401
    code = "unauthenticated"
    title = "Not authenticated"


class Forbidden(ServiceError):
    """The key does not allow this."""

    status = 403
    code = "forbidden"
    title = "Forbidden"


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


class TooMany(ServiceError):
    """The owner asks too often, or has too much waiting already."""

    status = 429
    code = "too_many"
    title = "Too many"

    def __init__(self, detail: str, *, code: str, retry_after: int) -> None:
        super().__init__(detail)
        self.code = code
        self.retry_after = retry_after


class Unavailable(ServiceError):
    """A part that the service needs is away; the request can be repeated."""

    status = 503
    code = "unavailable"
    title = "Temporarily unavailable"
