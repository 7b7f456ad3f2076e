"""The common parts of all pages: template, headers, errors in words, and the signed-in user."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.errors import Invalid, ServiceError, Unauthenticated, Unavailable
from app.http.dependencies import KEY_COOKIE
from app.http.problem_json import problems_of
from app.jobs import requirements
from app.ui.formatting import estimate, moment, percent, points
from app.ui.forms import Form
from nnmass import formatting
from nnmass_core import __version__
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.export.parts import heading_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Everything is loaded from this service, and no page has inline scripts; charts set styles while they are drawn."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # else browsers hide where a form comes from, and it is refused
}
MOST_FIELDS = 200


@cache
def environment() -> Environment:
    """Return the templates with their filters."""
    made = Environment(
        loader=PackageLoader("app.ui"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters = (
        *(
            formatting.count,
            formatting.number,
            formatting.short,
            formatting.memory,
            formatting.shape,
            formatting.resolution,
            formatting.certificate,
            formatting.binding,
        ),
        *(
            formatting.relaxation,
            formatting.taken,
            formatting.unused,
            formatting.spent,
            formatting.most_spent,
            formatting.savings,
            formatting.uniform,
            formatting.replayed,
            formatting.request_summary,
            formatting.milliseconds,
            formatting.latency,
            formatting.role,
            estimate,
            moment,
            percent,
            points,
        ),
    )
    made.policies["json.dumps_kwargs"] = {}  # in the order of the definition, not alphabetical
    made.filters |= {function.__name__: function for function in filters}
    made.globals["heading_of"] = heading_of
    made.globals |= {
        name: getattr(formatting, name)
        for name in (
            *("of_limit", "of_cost", "limit_label", "shown_costs", "cost_heading", "limit_heading"),
            *("varies_resolution", "sides", "state", "spaces", "CAVEATS", "OUTCOMES"),
        )
    }
    return made


def render(request: Request, template: str, http_status: int = 200, /, **context: Any) -> HTMLResponse:
    """Return a page."""
    page = environment().get_template(template)
    everywhere = {
        "root": root_of(request),
        "version": __version__,
        "path": request.scope["path"].removeprefix(root_of(request)),  # any host name: this may refuse it
        "signed_in": KEY_COOKIE in request.cookies,
    }
    return HTMLResponse(page.render(everywhere | context), http_status, HEADERS)


def has_torch(request: Request, session: Session) -> bool:
    """Return whether a page offers work that requires torch: unless the workers are known to lack it."""
    return requirements.torch_found(session, request.app.state.settings) is not False


def root_of(request: Request) -> str:
    """Return the path that a proxy serves this application under; empty without one."""
    # within the folder of static files, `root_path` is that folder
    return str(request.scope.get("app_root_path", request.scope.get("root_path", "")))


def go_to(request: Request, path: str) -> RedirectResponse:
    """Return the response to a form: a redirect to a page."""
    return RedirectResponse(root_of(request) + path, 303, HEADERS)


async def form_of(request: Request) -> Form:
    """Return the submitted form; the body guard has limited its size and time."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        form = parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Invalid("a form has too many fields") from None
    return {name: [value.replace("\x00", "") for value in values] for name, values in form.items()}


FormDep = Annotated[Form, Depends(form_of)]


class PageRoute(APIRoute):
    """A route whose errors are pages: users who are not signed in get the sign-in page, all others an error page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with errors turned into pages."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Unauthenticated:
                return go_to(request, f"/sign-in?next={quote(_here(request))}")
            except ServiceError as error:
                page = _error(request, error.status, error.title, error.detail, _problems(error.problems))
                if error.retry_after is not None:
                    page.headers["Retry-After"] = str(error.retry_after)
                return page
            except DefinitionError as error:
                return _error(request, 422, "Invalid request", "", _problems(error.problems))
            except RequestValidationError as error:
                problems = problems_of(error.errors(), None)
                return _error(request, 422, "Invalid request", "the address is not valid", _problems(problems))
            except (OperationalError, PoolTimeout):
                away = Unavailable("the database does not respond; try again")
                return _error(request, away.status, away.title, away.detail)

        return answer


def _problems(problems: Any) -> list[str]:
    return [problem.text() for problem in problems]


def _here(request: Request) -> str:
    query = f"?{request.url.query}" if request.url.query else ""
    return request.url.path.removeprefix(root_of(request)) + query if request.method == "GET" else "/"


def error_page(request: Request, problem: Mapping[str, Any]) -> Response:
    """Return the page for an error outside the pages; where a key is missing, the way to the sign-in form."""
    if problem["status"] == Unauthenticated.status:
        return go_to(request, f"/sign-in?next={quote(_here(request))}")
    said = [Problem(one["field"], one["code"], one["message"]).text() for one in problem["errors"]]
    return _error(request, problem["status"], problem["title"], problem["detail"], said)


def _error(request: Request, status: int, title: str, detail: str, problems: list[str] | None = None) -> HTMLResponse:
    context: Mapping[str, Any] = {"title": title, "detail": detail, "problems": problems or []}
    return render(request, "error.html", status, **context)
