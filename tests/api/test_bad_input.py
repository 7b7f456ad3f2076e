"""Input that is wrong, hostile or huge: a 4xx that names the field, and the service goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.body_guard import find_fault
from app.config import Settings
from app.main import create_app
from tests.clients import client_of

SPACE: dict[str, Any] = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "cells": 2,
    "width": {"min": 16, "max": 64, "step": 16},
    "depth": {"min": 4, "max": 8},
    "skip_channels": 32,
}
ROUTES = ["/v1/searches", "/v1/searches/preview", "/v1/architectures/evaluate"]

UNPARSABLE = [
    (b'{"budget": {"max_params": NaN}}', "not_finite", 26, "budget.max_params"),
    (b'{"budget": {"max_params": -Infinity}}', "not_finite", 26, "budget.max_params"),
    (b'{"budget": {"max_params": 1e400}}', "not_finite", 26, "budget.max_params"),
    (b'{"budget": {"max_params": 1' + b"0" * 400 + b"}}", "number_too_long", 26, "budget.max_params"),
    (b'{"tags": ["a", "b\\u0000"]}', "null_character", 15, "tags.1"),
    (b'{"name": "\\ud800"}', "lone_surrogate", 9, "name"),
    (b'{"name": "a", "name": "b"}', "duplicate_key", 14, "name"),
    (b'{"space": "caf\xc3\xa9", "budget": {"max_macs": NaN}}', "not_finite", 42, "budget.max_macs"),
    (b'{"name": "\xff"}', "not_utf8", 10, ""),
    (b"\xef\xbb\xbf{}", "malformed_json", 0, ""),
    (b'{"a" 1}', "malformed_json", 5, ""),
    (b"{'a': 1}", "malformed_json", 1, ""),
    (b'{"a": 01}', "malformed_json", 7, ""),
    (b'{"a": "b\x00"}', "malformed_json", 8, ""),
    (b'{"a": tru}', "malformed_json", 6, ""),
    (b'{"a": 1} {}', "malformed_json", 9, ""),
    (b"[" * 100_000, "too_deep", 32, ""),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "too_deep", 160, ""),
]
PARSABLE = [
    b"{}",
    b'{"a": [1, -2.5e-3, true, null, "\\u00e9\\ud83d\\ude00"]}',
    b" [ ] ",
    b'"x"',
    b"1" * 400,
    b"[{}, {}]",
]

FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"budget": {"max_params": -1}}, "budget.max_params", "too_small"),
    ({"budget": {"max_params": 2**53}}, "budget.max_params", "too_large"),
    ({"budget": {"max_macs": 1.5}}, "budget.max_macs", "not_an_integer"),
    ({"budget": {"max_macs": "5"}}, "budget.max_macs", "not_an_integer"),
    ({"budget": {"max_macs": True}}, "budget.max_macs", "not_an_integer"),
    ({"budget": {"precision": "fp8"}}, "budget.precision", "unknown_choice"),
    ({"budget": {"max_flops": 1}}, "budget.max_flops", "unknown_field"),
    ({"budget": []}, "budget", "not_an_object"),
    ({"bugdet": {}}, "bugdet", "unknown_field"),
    ({"objective": {"maximize": "accuracy"}}, "objective.maximize", "unknown_choice"),
    ({"top_k": 0}, "top_k", "too_small"),
    ({"top_k": 1001}, "top_k", "too_large"),
    ({"diversity": "some"}, "diversity", "unknown_choice"),
    ({"time_limit_seconds": 0}, "time_limit_seconds", "too_small"),
    ({"time_limit_seconds": 1e9}, "time_limit_seconds", "too_large"),
    ({"space": None}, "space", "not_an_object"),
    ({"space": "nonsense"}, "space", "unknown_preset"),
    ({"space": SPACE | {"family": "vgg"}}, "space.family", "unknown_choice"),
    ({"space": SPACE | {"width": {"min": 64, "max": 16}}}, "space.width.min", "min_above_max"),
    ({"space": SPACE | {"width": {"min": 1, "max": 8, "step": 0}}}, "space.width.step", "too_small"),
    ({"space": SPACE | {"skip_channels": {"min": 0, "max": 10**9}}}, "space.skip_channels.max", "too_large"),
    ({"space": SPACE | {"skip_channels": {"min": 0, "max": 4_000_000}}}, "space.skip_channels", "too_many_values"),
    ({"space": SPACE | {"depth": 10**300}}, "space.depth", "too_large"),
    ({"space": SPACE | {"depth": [{"min": 1, "max": 2}]}}, "space.depth", "bad_length"),
    ({"space": SPACE | {"depth": [4, "x"]}}, "space.depth.1", "not_an_integer"),
    ({"space": SPACE | {"cells": 7}}, "space.input", "too_small"),
    ({"space": SPACE | {"cells": 0}}, "space.cells", "too_small"),
    ({"space": SPACE | {"colour": 1}}, "space.colour", "unknown_field"),
    ({"space": {k: v for k, v in SPACE.items() if k != "num_classes"}}, "space.num_classes", "required"),
    ({"space": SPACE | {"width_rule": "doubling", "width": [8, 8000]}}, "space.width.max", "too_large"),
    (
        {"space": SPACE | {"width": {"min": 1, "max": 4000}, "depth": {"min": 1, "max": 500}, "skip_channels": [0, 1]}},
        "space",
        "too_large",
    ),
]


@pytest.fixture(scope="module")
def quiet(sqlite_file: Path) -> Iterator[TestClient]:
    """The application without its threads: nothing here reaches a worker."""
    app = create_app(Settings(data_dir=sqlite_file.parent))
    with closing(client_of(app)) as client:
        yield client
    app.state.database.dispose()


@pytest.mark.parametrize(("body", "code", "offset", "field"), UNPARSABLE)
def test_the_guard_finds_the_fault_at_its_byte(body: bytes, code: str, offset: int, field: str) -> None:
    fault = find_fault(body)
    assert fault is not None
    assert (fault.code, fault.offset, fault.field) == (code, offset, field)


@pytest.mark.parametrize("body", PARSABLE)
def test_the_guard_lets_plain_json_through(body: bytes) -> None:
    assert find_fault(body) is None


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("body", "code", "offset", "field"), UNPARSABLE)
def test_what_cannot_be_parsed_is_400_with_its_offset(
    quiet: TestClient, route: str, body: bytes, code: str, offset: int, field: str
) -> None:
    answer = quiet.post(route, content=body, headers={"Content-Type": "application/json"})
    problem = answer.json()
    assert answer.status_code == problem["status"] == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (problem["code"], problem["offset"], problem["errors"][0]["field"]) == (code, offset, field)
    assert quiet.get("/healthz").status_code == 200


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("body", PARSABLE)
def test_plain_json_of_the_wrong_shape_is_422(quiet: TestClient, route: str, body: bytes) -> None:
    answer = quiet.post(route, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"]


@pytest.mark.parametrize(("change", "field", "code"), FIELDS)
@pytest.mark.parametrize("route", ROUTES[:2])
def test_a_wrong_value_is_422_and_names_its_field(
    quiet: TestClient, route: str, change: dict[str, Any], field: str, code: str
) -> None:
    answer = quiet.post(route, json={"space": SPACE} | change)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]


@pytest.mark.parametrize("route", ROUTES)
def test_a_huge_body_is_413_with_the_limit(quiet: TestClient, route: str) -> None:
    huge = b'{"name": "' + b"x" * 50_000_000 + b'"}'
    for content in (huge, iter([huge[:1_000_000]] * 50)):
        answer = quiet.post(route, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.json()["limit_bytes"] == 2 * 1024 * 1024
    assert quiet.get("/healthz").status_code == 200


def test_another_media_type_is_415(quiet: TestClient) -> None:
    answer = quiet.post("/v1/searches", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_an_input_is_never_echoed(quiet: TestClient) -> None:
    secret = "correct-horse-battery"
    bodies: list[dict[str, Any]] = [
        {"space": secret},
        {"space": SPACE | {"family": secret}},
        {"space": SPACE, "top_k": secret},
        {"space": SPACE, "budget": {"precision": secret}},
    ]
    for body in bodies:
        answer = quiet.post("/v1/searches", json=body)
        assert answer.status_code == 422
        assert secret not in answer.text


def test_every_problem_is_named_at_once(quiet: TestClient) -> None:
    body = {"space": SPACE | {"num_classes": 0, "cells": "x", "colour": 1}, "budget": {"max_params": 1}}
    fields = [e["field"] for e in quiet.post("/v1/searches", json=body).json()["errors"]]
    assert sorted(fields) == ["space.cells", "space.colour", "space.num_classes"]


def test_evaluate_names_index_and_field(quiet: TestClient) -> None:
    good = {"family": "densenet_cnn", "input": SPACE["input"], "num_classes": 10}
    cell = {"width": 8, "depth": 3, "skip_channels": 4}
    bad = [
        good | {"cells": [cell]},
        good | {"cells": [cell, cell | {"width": 0}]},
        good | {"cells": [cell], "version": 2},
        5,
    ]
    answer = quiet.post("/v1/architectures/evaluate", json={"architectures": bad})
    assert answer.status_code == 422
    fields = [e["field"] for e in answer.json()["errors"]]
    assert fields == ["architectures.1.cells.1.width", "architectures.2.version", "architectures.3"]


def test_evaluate_takes_a_thousand_and_no_more(quiet: TestClient) -> None:
    one = {
        "family": "densenet_cnn",
        "input": SPACE["input"],
        "num_classes": 10,
        "cells": [{"width": 8, "depth": 3, "skip_channels": 4}],
    }
    assert len(quiet.post("/v1/architectures/evaluate", json={"architectures": [one] * 1000}).json()["results"]) == 1000
    for count in (0, 1001):
        answer = quiet.post("/v1/architectures/evaluate", json={"architectures": [one] * count})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "architectures")


def test_unknown_routes_and_methods_are_problems(quiet: TestClient) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("PUT", "/v1/searches", 405)):
        answer = quiet.request(method, path)
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
