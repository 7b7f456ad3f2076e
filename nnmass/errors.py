"""The errors of nnmass, as one tree; `except nnmass.NnmassError` catches all of them.

NnmassError
├── DefinitionError        the input is invalid; `problems` names each field
├── NotPossible            the operation cannot be done here: a package or file is missing
├── ServiceError           the service refused or failed: status, code, detail, problems
│   ├── InvalidRequest     400, 413, 415, 422: a DefinitionError that the service reports
│   ├── Unauthorized       401, 403: the API key is missing, invalid, or lacks a scope
│   ├── NotFound           404: it does not exist, or another owner has it
│   ├── WrongState         409: its state does not allow this
│   └── TooManyRequests    429: also after repeats; `retry_after` says when to try again
├── ServiceUnreachable     no response, also after repeats
├── SearchFailed           a search ended as failed or cancelled; `search` says why
└── TimedOut               not finished within the given time; the service continues
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nnmass_core.errors import DefinitionError, NnmassError, NotPossible, Problem

if TYPE_CHECKING:
    from nnmass.results import Search


class ServiceError(NnmassError):
    """The service refused a request, or failed at it.

    Args:
        status: The status code of the HTTP response.
        code: The stable name of the error, meant for programs.
        detail: What is wrong, for people.
        problems: What is wrong with which field.
    """

    def __init__(self, status: int, code: str, detail: str, problems: Iterable[Problem] = ()) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.problems = tuple(problems)
        said = "; ".join(problem.text() for problem in self.problems)
        Exception.__init__(self, said or detail)


class InvalidRequest(ServiceError, DefinitionError):
    """The request is not valid; `problems` names each field."""


class Unauthorized(ServiceError):
    """The API key is missing, invalid, or lacks the required scope."""


class NotFound(ServiceError):
    """It does not exist, or belongs to another owner."""


class WrongState(ServiceError):
    """Its state does not allow this operation."""


class TooManyRequests(ServiceError):
    """The owner sends requests too often, or has too many waiting jobs."""

    retry_after: float | None = None
    """Seconds after which the same request may succeed."""


class ServiceUnreachable(NnmassError):
    """The service does not respond."""


class SearchFailed(NnmassError):
    """A search ended without a result.

    Args:
        search: The search in the state that it has; its `error` gives the reason.
    """

    def __init__(self, search: Search) -> None:
        why = f": {search.error.message}" if search.error is not None else ""
        super().__init__(f"the search {'ended as' if search.ended else 'is still'} {search.status}{why}")
        self.search = search


class TimedOut(NnmassError):
    """The job has not finished within the given time."""


def service_error(status: int, body: Any) -> ServiceError:
    """Return the error of a response; `body` is its JSON, or None when it is not JSON."""
    kinds: dict[int, type[ServiceError]] = {
        **dict.fromkeys((400, 413, 415, 422), InvalidRequest),
        **dict.fromkeys((401, 403), Unauthorized),
        404: NotFound,
        409: WrongState,
        429: TooManyRequests,
    }
    if not isinstance(body, dict) or "code" not in body:
        return ServiceError(
            status, "unexpected_answer", f"status {status}, and the response is not from an nnmass service"
        )
    problems = [Problem(str(p["field"]), str(p["code"]), str(p["message"])) for p in body.get("errors", [])]
    detail = str(body.get("detail", body.get("title", "")))
    return kinds.get(status, ServiceError)(status, str(body["code"]), detail, problems)


__all__ = [
    "DefinitionError",
    "InvalidRequest",
    "NnmassError",
    "NotFound",
    "NotPossible",
    "Problem",
    "SearchFailed",
    "ServiceError",
    "ServiceUnreachable",
    "TimedOut",
    "TooManyRequests",
    "Unauthorized",
    "WrongState",
    "service_error",
]
