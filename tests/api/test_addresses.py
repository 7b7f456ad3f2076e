"""Query parameters and methods of every address: nothing that is asked is ignored, and HEAD is answered as GET."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from app import ui
from tests.api.everything import OPERATIONS, Everything, everything

MINE = {"X-Request-ID": "mine"}
PAGES = sorted(
    route.path_format
    for routers in ui.ROUTERS.values()
    for router in routers
    for route in router.routes
    if isinstance(route, APIRoute) and "GET" in (route.methods or ())
)
REFUSED = re.compile("Unknown query parameter &#34;(\\w+)&#34;")


@pytest.fixture(scope="module")
def service(sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with everything(sqlite_file, tmp_path_factory.mktemp("addresses"), keyed=False) as service:
        yield service


def _queries(about: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in about.get("parameters", []) if one["in"] == "query"}


def _reported(answer: Any) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(problem["field"], problem["code"]) for problem in answer.json()["errors"]]


@pytest.mark.parametrize("label", OPERATIONS)
def test_an_unknown_query_parameter_of_any_route_is_422_with_its_name(service: Everything, label: str) -> None:
    method, path = label.split(" ", 1)
    place = path.format(**service.ids)
    unknown = service.client.request(method, place, params={"nonsense": "1"}, json={})
    assert _reported(unknown) == [("nonsense", "unknown_parameter")]
    for name in _queries(OPERATIONS[label]):
        misspelled = service.client.request(method, place, params={name + "s": "1"}, json={})
        assert _reported(misspelled) == [(name + "s", "unknown_parameter")]
        assert misspelled.json()["errors"][0]["message"].endswith(f'Did you mean "{name}"?')
        twice = service.client.request(method, place, params={name: ["1", "2"]}, json={})
        assert _reported(twice) == [(name, "repeated")]


@pytest.mark.parametrize("path", [*PAGES, "/sign-in", "/docs", "/redoc", "/ui/plotly.js"])
def test_an_unknown_query_parameter_of_a_page_is_an_error_page_with_its_name(service: Everything, path: str) -> None:
    answer = service.client.get(path.format(form="json", **service.ids), params={"utm_source": "mail"})
    assert answer.status_code == 422
    if path in PAGES:
        assert answer.headers["Content-Type"].startswith("text/html")
        assert REFUSED.findall(answer.text) == ["utm_source"]


def test_a_value_that_a_page_does_not_know_is_refused_by_name(service: Everything) -> None:
    for path, query, named in (
        ("/searches", {"status": "succeed"}, "did you mean &#34;succeeded&#34;"),
        ("/verifications", {"status": "done"}, "status must be one of"),
        ("/", {"like": "x"}, "like"),
    ):
        answer = service.client.get(path, params=query)
        assert answer.status_code == 422
        assert named in answer.text


@pytest.mark.parametrize("path", ["/v1/spaces", "/v1/devices", "/v1/datasets", "/v1/recipes"])
def test_short_lists_are_paged_as_all_lists(service: Everything, path: str) -> None:
    whole = service.client.get(path).json()
    assert whole["next_cursor"] is None
    items, query = [], {"limit": "2"}
    while query.get("cursor", "first"):
        page = service.client.get(path, params=query).json()
        assert len(page["items"]) <= 2
        items += page["items"]
        query["cursor"] = page["next_cursor"]
    assert items == whole["items"]
    foreign = service.client.get("/v1/searches", params={"limit": "1"}).json()["next_cursor"]
    assert _reported(service.client.get(path, params={"cursor": foreign})) == [("cursor", "bad_cursor")]


def _like_a_get(service: Everything, path: str, query: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Send GET and HEAD, and return what both answer."""
    got = service.client.get(path, params=query, headers=MINE, follow_redirects=False)
    head = service.client.head(path, params=query, headers=MINE, follow_redirects=False)
    assert head.content == b""
    answers = [(one.status_code, {**one.headers, "etag": "", "last-modified": ""}) for one in (got, head)]
    if got.headers.get("content-type", "").startswith(("text/html", "text/plain", "application/json")):
        for _, headers in answers:
            headers.pop("content-length", None)  # seconds in the text may have a digit more
    assert answers[0] == answers[1]
    return answers[1]


@pytest.mark.parametrize("label", [label for label in OPERATIONS if label.startswith("GET ")])
def test_head_is_answered_as_get_on_every_route(service: Everything, label: str) -> None:
    path = label.removeprefix("GET ").replace("/spaces/{name}", "/spaces/densenet-tiny-free").format(**service.ids)
    form = "onnx" if path.startswith("/v1/verifications/") else "json"
    values = {"format": form, "ids": ",".join([service.ids["search_id"], service.waiting[0]])}
    required = {name: values[name] for name, one in _queries(OPERATIONS[label]).items() if one.get("required")}
    status, headers = _like_a_get(service, path, required)
    assert (status, headers["x-request-id"]) == (200, "mine")


@pytest.mark.parametrize(
    "path", [*PAGES, "/sign-in", "/docs", "/openapi.json", "/ui/page.css", "/ui/plotly.js", "/nothing"]
)
def test_head_is_answered_as_get_by_every_page_and_file(service: Everything, path: str) -> None:
    status, _ = _like_a_get(service, path.format(form="json", **service.ids), {})
    assert status in (200, 404, 422), "404: there is no such file; 422: it needs a query"


def test_other_methods_are_refused_with_those_that_are_answered(service: Everything) -> None:
    refused = service.client.put("/v1/searches")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD, POST")
    refused = service.client.head("/v1/searches/preview")
    assert (refused.status_code, refused.content) == (404, b"")
    refused = service.client.head("/v1/architectures/evaluate")
    assert refused.content == b""
