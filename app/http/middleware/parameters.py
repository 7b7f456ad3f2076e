"""Refuse query parameters that a route does not take: a misspelled filter must not list everything."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, get_args, get_origin

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute

from app.errors import Invalid
from app.http.problem_json import MOST_PROBLEMS
from nnmass_core.codec import most_similar, printable
from nnmass_core.errors import DefinitionError, Problem

# untyped: annotations of parameters


class QueryParameters:
    """The query parameters of an app's routes, worked out once for each: that takes a millisecond."""

    def __init__(self) -> None:
        self._by_route: dict[int, dict[str, bool]] = {}  # by identity: routes have no hash, and live as long as the app

    async def check(self, request: Request) -> None:
        """Check the names of a request's query parameters, for every route and page. Raises Invalid.

        A parameter that takes one value may be given only once.
        """
        if request.scope["query_string"]:
            problems = list(islice(_problems(request, self._of(request.scope["route"])), MOST_PROBLEMS))
            if problems:
                raise Invalid.of(DefinitionError(problems))

    def _of(self, route: APIRoute) -> dict[str, bool]:
        """Return the query parameters of a route, and whether each takes several values."""
        known = self._by_route.get(id(route))
        if known is None:
            fields = (field for field in get_flat_params(route.dependant) if field.field_info.in_ is ParamTypes.query)  # type: ignore[attr-defined]  # of every parameter
            known = {field.alias: _takes_several(field.field_info.annotation) for field in fields}
            self._by_route[id(route)] = known
        return known


def _problems(request: Request, known: dict[str, bool]) -> Iterator[Problem]:
    for name in request.query_params:
        if name not in known:
            yield Problem(printable(name), "unknown_parameter", _message(printable(name), known))
        elif not known[name] and len(request.query_params.getlist(name)) > 1:
            yield Problem(name, "repeated", "must be given only once")


def _takes_several(kind: Any) -> bool:
    return get_origin(kind) is list or any(map(_takes_several, get_args(kind)))


def _message(name: str, known: dict[str, bool]) -> str:
    similar = most_similar(name, known)
    if similar:
        return f'Unknown query parameter "{name}". Did you mean "{similar}"?'
    taken = f"Known: {', '.join(known)}." if known else "This address takes none."
    return f'Unknown query parameter "{name}". {taken}'
