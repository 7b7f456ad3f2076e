"""Sign-in: the browser stores the API key in a cookie that no script can read and no other site can send."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Query, Request, Response

from app.auth.callers import Callers
from app.errors import Unauthenticated
from app.http.dependencies import KEY_COOKIE, ThreadsDep
from app.ui.forms import value
from app.ui.page import FormDep, PageRoute, go_to, render, root_of

router = APIRouter(include_in_schema=False, route_class=PageRoute)

KEPT_SECONDS = 14 * 24 * 3600


@router.get("/sign-in")
def sign_in_page(request: Request, next_page: Annotated[str, Query(alias="next", max_length=2000)] = "/") -> Response:
    """Show the sign-in form."""
    return render(request, "sign_in.html", next=next_page, problem="")


@router.post("/sign-in")
async def sign_in(request: Request, threads: ThreadsDep, form: FormDep) -> Response:
    """Store the key in the cookie, if it is valid."""
    key, following = value(form, "key"), value(form, "next")
    callers = cast("Callers", request.app.state.callers)
    try:
        await threads.look_up(callers.known, key)
    except Unauthenticated as refusal:
        return render(request, "sign_in.html", 401, next=following, problem=refusal.detail)
    answer = go_to(request, following if _is_ours(following) else "/")
    secure = request.url.scheme == "https"
    answer.set_cookie(
        KEY_COOKIE,
        key,
        max_age=KEPT_SECONDS,
        path=root_of(request) or "/",
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    return answer


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Delete the cookie."""
    answer = go_to(request, "/sign-in")
    answer.delete_cookie(KEY_COOKIE, path=root_of(request) or "/", httponly=True, samesite="strict")
    return answer


def _is_ours(path: str) -> bool:
    """Return whether a path leads to a page of this service: two slashes of either kind would lead to another host."""
    return path.startswith("/") and not path.startswith(("//", "/\\"))
