"""Send every error as `application/problem+json` (RFC 9457), or as a page to browsers. The input is never echoed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from app.errors import Invalid, ServiceError, Unauthenticated
from app.observability import logs
from nnmass_core.codec import printable, unknown_field_message
from nnmass_core.errors import DefinitionError, Problem

MOST_PROBLEMS = 50
MEDIA_TYPE = "application/problem+json"
CODES = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "int_type": "not_an_integer",
    "int_from_float": "not_an_integer",
    "int_parsing": "not_an_integer",
    "float_type": "not_a_number",
    "float_parsing": "not_a_number",
    "finite_number": "not_finite",
    "string_type": "not_a_string",
    "bool_type": "not_a_boolean",
    "list_type": "not_a_list",
    "literal_error": "unknown_choice",
    "enum": "unknown_choice",
    "greater_than_equal": "too_small",
    "greater_than": "too_small",
    "less_than_equal": "too_large",
    "less_than": "too_large",
    "too_long": "too_long",
    "string_too_long": "too_long",
    "too_short": "too_short",
    "string_too_short": "too_short",
    "model_type": "not_an_object",
    "model_attributes_type": "not_an_object",
    "dict_type": "not_an_object",
    "uuid_parsing": "not_an_id",
    "uuid_type": "not_an_id",
    "datetime_type": "not_a_moment",
    "datetime_parsing": "not_a_moment",
    "datetime_from_date_parsing": "not_a_moment",
    "datetime_object_invalid": "not_a_moment",
    "timezone_aware": "not_a_moment",
}
"""The code that the service uses for each of Pydantic's error types."""

MESSAGES = {
    "required": "is required",
    "not_an_id": "must be an id",
    "not_a_moment": "must be a date and time with a time zone, such as 2026-01-31T12:00:00Z",
}
"""Messages that replace Pydantic's own, which are less clear or, for ids and dates, can quote the input."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

UNDEFINED_TABLE = "42P01"
"""PostgreSQL's error code for a missing table: the schema has not been migrated yet."""

log = logging.getLogger("nnmass.http")


class ProblemResponse(JSONResponse):
    """A problem as JSON; `problem` is the object that it contains."""

    def __init__(self, problem: Mapping[str, Any], status: int, headers: Mapping[str, str] | None) -> None:
        super().__init__(problem, status, headers, MEDIA_TYPE)
        self.problem = problem


Page: TypeAlias = Callable[[Request, Mapping[str, Any]], Response]
"""Returns the page for people that says the same as a problem object."""


def problem_response(
    status: int,
    code: str,
    title: str,
    detail: str,
    problems: Iterable[Problem] = (),
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> ProblemResponse:
    """Return a problem response; `extra` are further members of the problem object."""
    errors = [{"field": p.field, "code": p.code, "message": p.message} for p in list(problems)[:MOST_PROBLEMS]]
    body = {
        "type": f"urn:nnmass:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "errors": errors,
        **extra,
    }
    return ProblemResponse(body, status, headers)


def install(app: FastAPI, page: Page) -> None:
    """Register the handlers of all errors. page: makes the answer to browsers."""
    handlers: dict[type[Exception], Callable[[Request, Exception], ProblemResponse]] = {
        ServiceError: _service_error,
        DefinitionError: _definition_error,
        RequestValidationError: _validation_error,
        HTTPException: _http_error,
        OperationalError: _database_unavailable,
        DBAPIError: _database_error,
        PoolTimeout: _database_unavailable,
        Exception: _unexpected,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, _negotiated(handler, page))


def _negotiated(
    handler: Callable[[Request, Exception], ProblemResponse], page: Page
) -> Callable[[Request, Exception], Response]:
    """Return the handler, with its problems as pages for requests that prefer HTML."""

    def answer(request: Request, error: Exception) -> Response:
        return negotiated(request, handler(request, error), page)

    return answer


def negotiated(request: Request, found: Response, page: Page) -> Response:
    """Return a response, as a page where it is a problem and the request prefers HTML."""
    if isinstance(found, ProblemResponse) and prefers_html(request.headers.get("accept", "")):
        headers = {name: value for name, value in found.headers.items() if not name.startswith("content-")}
        found = page(request, found.problem)
        found.headers.update(headers)
    found.headers["Vary"] = "Accept"
    return found


def prefers_html(accept: str) -> bool:
    """Return whether a request names HTML among what it accepts, and prefers it to JSON, as browsers do for a page.

    accept: the value of its header `Accept` (RFC 9110, section 12.5.1).
    """
    html = json = any_other = 0.0
    for part in accept.lower().split(","):
        name, *options = (word.strip() for word in part.split(";"))
        weight = _weight(options)
        if name in ("text/html", "application/xhtml+xml"):
            html = max(html, weight)
        elif name in ("application/json", MEDIA_TYPE):
            json = max(json, weight)
        elif name in ("application/*", "*/*"):
            any_other = max(any_other, weight)
    return html > max(json, any_other if json == 0 else 0)


def _weight(options: Iterable[str]) -> float:
    """Return the `q` among the options of a media type, 1 without one, and 0 if it is not a number."""
    for option in options:
        name, _, value = option.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _service_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, ServiceError)
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return problem_response(error.status, error.code, error.title, error.detail, error.problems, headers)


def _definition_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, DefinitionError)
    return _service_error(request, Invalid.of(error))


def _validation_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    return _service_error(request, Invalid.of(DefinitionError(problems_of(error.errors(), _body_of(request)))))


def _body_of(request: Request) -> Any:
    """Return the type of the body that the request's route takes; None where it takes none."""
    body = getattr(request.scope.get("route"), "body_field", None)
    return None if body is None else body.field_info.annotation


def problems_of(errors: Iterable[Mapping[str, Any]], body: Any) -> list[Problem]:
    """Convert Pydantic's errors to problems with fields, without the input. `body` is the type of the body."""
    return [_problem_of(item, body) for item in errors]


def _problem_of(item: Mapping[str, Any], body: Any) -> Problem:
    place: Sequence[Any] = item["loc"]
    if place and place[-1] == "[key]":  # of an object whose keys are checked; the key itself is before it
        place = place[:-1]
    where = place[0] if place else "body"
    path = ".".join(printable(part) for part in place[1:])
    field = path if where in ("body", "query", "path") else f"{where}.{path}"
    code = CODES.get(item["type"], "invalid")
    if code == "unknown_field":
        return Problem(field, code, unknown_field_message(printable(place[-1]), _fields_at(body, place[1:-1])))
    return Problem(field, code, MESSAGES.get(code) or _message_of(item))


def _fields_at(kind: Any, path: Sequence[Any]) -> set[str]:
    """Return the fields of the model at a path within a type; empty where there is no model."""
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return {name for part in get_args(kind) for name in _fields_at(part, path)}
    if not path:
        return set(kind.model_fields)
    field = kind.model_fields.get(path[0])
    return set() if field is None else _fields_at(field.annotation, path[1:])


def _message_of(item: Mapping[str, Any]) -> str:
    """Return Pydantic's message in the service's wording; none of the messages used here contains the input."""
    message: str = item["msg"].removeprefix("Value error, ")
    for opening in ("Input should ", "Value should ", "String should ", "List should "):
        if message.startswith(opening):
            message = "must " + message.removeprefix(opening)
    return message[:200]


def _http_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "_").replace("-", "_")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    return problem_response(status, code, status.phrase, status.description or status.phrase, headers=headers)


def _allowed(request: Request) -> list[str]:
    """Return the methods of every route with this path; Starlette reports only those of the first."""
    routes = request.app.routes
    found = [m for m in METHODS if any(r.matches({**request.scope, "method": m})[0] is Match.FULL for r in routes)]
    return ["GET", "HEAD", *found[1:]] if "GET" in found else found


def _database_unavailable(request: Request, error: Exception) -> ProblemResponse:
    log.warning("database not available: %s", type(error).__name__)
    return _unavailable()


def _database_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, DBAPIError)
    if error.connection_invalidated or getattr(error.orig, "sqlstate", None) == UNDEFINED_TABLE:
        return _database_unavailable(request, error)
    return _unexpected(request, error)


def _unavailable() -> ProblemResponse:
    detail = "the database does not respond; try again"
    return problem_response(503, "unavailable", "Temporarily unavailable", detail, headers={"Retry-After": "2"})


def _unexpected(request: Request, error: Exception) -> ProblemResponse:
    log.error("unexpected error on %s %s", request.method, request.url.path, exc_info=error)
    known = logs.request_id()  # no middleware adds it to this response
    headers = {} if known is None else {"X-Request-ID": known}
    return problem_response(
        500, "internal_error", "Internal error", "unexpected error; see the log of the service", headers=headers
    )
