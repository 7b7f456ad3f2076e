"""Invalid, hostile or huge input: a 4xx that names the field, and the service continues."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema_rs
import pytest
from fastapi.testclient import TestClient

from app.config import Settings
from app.http.middleware.body_guard import find_fault
from app.main import create_app
from tests.api.everything import OPERATIONS, Everything, everything, examples_of, operations_of
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
    (b'{"name": "a", "name": "b"}', "duplicate_key", 25, "name"),
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
    ({"space": SPACE | {"color": 1}}, "space.color", "unknown_field"),
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
    """The application without its threads: no request here reaches a worker."""
    app = create_app(Settings(data_dir=sqlite_file.parent))
    with closing(client_of(app)) as client:
        yield client
    app.state.database.dispose()


@pytest.mark.parametrize(("body", "code", "offset", "field"), UNPARSABLE)
def test_the_json_guard_reports_the_byte_offset_of_a_fault(body: bytes, code: str, offset: int, field: str) -> None:
    fault = find_fault(body)
    assert fault is not None
    assert (fault.code, fault.offset, fault.field) == (code, offset, field)


@pytest.mark.parametrize("body", PARSABLE)
def test_the_json_guard_accepts_valid_json(body: bytes) -> None:
    assert find_fault(body) is None


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("body", "code", "offset", "field"), UNPARSABLE)
def test_invalid_json_is_400_with_its_offset(
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
def test_valid_json_of_the_wrong_shape_is_422(quiet: TestClient, route: str, body: bytes) -> None:
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spaces": 1}, 'Unknown field "spaces". Did you mean "space"?'),
        ({"zebra": 1}, 'Unknown field "zebra".'),
        ({"budget": {"max_parms": 1}}, 'Unknown field "max_parms". Did you mean "max_params"?'),
        ({"budget": {"top_k": 1}}, 'Unknown field "top_k".'),  # a field, but of the object above
        ({"space": SPACE | {"classes": 10}}, 'Unknown field "classes". Did you mean "num_classes"?'),
        ({"objective": {"minimize": "macs", "nn_mass": 5}}, 'Unknown field "nn_mass". Did you mean "min_nn_mass"?'),
    ],
)
def test_an_unknown_field_gets_the_known_one_that_is_most_similar(
    quiet: TestClient, change: dict[str, Any], message: str
) -> None:
    answer = quiet.post("/v1/searches", json={"space": SPACE} | change)
    assert message in [error["message"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("route", ROUTES)
def test_a_huge_body_is_413_with_the_limit(quiet: TestClient, route: str) -> None:
    huge = b'{"name": "' + b"x" * 50_000_000 + b'"}'
    for content in (huge, iter([huge[:1_000_000]] * 50)):
        answer = quiet.post(route, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.json()["limit_bytes"] == 2 * 1024 * 1024
    assert quiet.get("/healthz").status_code == 200


def test_an_unsupported_media_type_is_415(quiet: TestClient) -> None:
    answer = quiet.post("/v1/searches", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_error_messages_never_repeat_the_input(quiet: TestClient) -> None:
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


def test_one_answer_names_every_problem(quiet: TestClient) -> None:
    body = {"space": SPACE | {"num_classes": 0, "cells": "x", "color": 1}, "budget": {"max_params": 1}}
    fields = [e["field"] for e in quiet.post("/v1/searches", json=body).json()["errors"]]
    assert sorted(fields) == ["space.cells", "space.color", "space.num_classes"]


def test_evaluate_errors_name_index_and_field(quiet: TestClient) -> None:
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


def test_evaluate_accepts_at_most_a_thousand_architectures(quiet: TestClient) -> None:
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


def test_unknown_routes_and_methods_are_answered_with_problem_json(quiet: TestClient) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("PUT", "/v1/searches", 405)):
        answer = quiet.request(method, path)
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"


# every field of every body, and every parameter, as the document describes them


MLP: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 64,
    "num_classes": 10,
    "width": 8,
    "depth": 6,
    "skip_channels": 8,
    "activation": "relu",
}
IMAGES: dict[str, Any] = {"input": {"channels": 3, "height": 64, "width": 64}, "num_classes": 10}
SEPARABLE: dict[str, Any] = {
    "stem_channels": 8,
    "stem_stride": 2,
    "stages": [{"channels": 8, "repeats": 1, "stride": 1}],
}
NETWORKS: list[dict[str, Any]] = [
    MLP,
    {"family": "densenet_cnn_depthwise", **IMAGES, "cells": [{"width": 8, "depth": 4, "skip_channels": 4}]},
    {
        "family": "mobilenet_v2",
        **IMAGES,
        "stem_channels": 8,
        "last_channels": 64,
        "stages": [{"expansion": 1, "channels": 8, "repeats": 1, "stride": 1}],
    },
    {
        "family": "resnet",
        **IMAGES,
        "block": "bottleneck",
        "stages": [{"channels": 8, "repeats": 1}],
        "groups": 1,
        "width_per_group": 64,
    },
    {"family": "wide_resnet_cifar", **IMAGES, "stages": [{"channels": 16, "repeats": 1}] * 3},
    {"family": "convnext", **IMAGES, "patch": 4, "expansion": 4, "stages": [{"channels": 8, "repeats": 1}]},
    {
        "family": "densenet_bc",
        **IMAGES,
        "stem": "small",
        "stem_channels": 16,
        "growth": 4,
        "bottleneck": 4,
        "compression": 50,
        "stages": [{"layers": 2}] * 2,
    },
    {"family": "mobilenet_v1", **IMAGES, **SEPARABLE},
    {"family": "ds_cnn", **IMAGES, **SEPARABLE, "stem_kernel_height": 10, "stem_kernel_width": 4},
]
MLP_SPACE = MLP | {"depth": {"min": 4, "max": 6}}
OBJECTIVES: list[dict[str, Any]] = [
    {"minimize": "params", "min_nn_mass": 1.5},
    {"minimize": "macs", "reference": "resnet18"},
    {"minimize": "macs", "reference": MLP},
]
MORE: dict[str, list[Any]] = {
    "POST /v1/searches/preview": [
        *({"space": MLP_SPACE, "objective": objective} for objective in OBJECTIVES),
        {"space": MLP_SPACE, "objective": {"pareto": ["nn_mass", "params", "macs"]}},
    ],
    "POST /v1/architectures": NETWORKS,
    "POST /v1/verifications": [
        {"search": None, "top": 1, "controls": ["params"], "dataset": {"name": "digits"}, "recipe": "mlp-paper"},
        {"architecture": MLP, "dataset": "digits", "recipe": None},
    ],
    "POST /v1/measurements": [{"kind": "peak", "architecture": MLP, "seeds": [0]}],
}
"""Valid bodies in addition to the document's examples, for the fields that those omit; None: filled in below."""

NUMBERS = (-1, 1.5, 2**53, 2**63, 10**30, 10**399)
WRONG: tuple[Any, ...] = (None, True, *NUMBERS, "", "x", "x" * 20_000, [], [[]], {}, {"x": 1})
BODIES = [label for label, about in OPERATIONS.items() if "requestBody" in about]


@pytest.fixture(scope="module")
def service(sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with everything(sqlite_file, tmp_path_factory.mktemp("fields"), keyed=False) as service:
        yield service


def _good_bodies(service: Everything, label: str) -> tuple[Any, list[Any]]:
    """Return the schema of an operation's body, and bodies that it accepts."""
    document = service.app.openapi()
    method, path = label.split(" ")
    operation = document["paths"][path][method.lower()]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    spaces = [service.client.get(f"/v1/spaces/{name}").json() for name in SPACES] if label == SUBMIT else []
    recipe = service.client.get("/v1/recipes").json()["items"][0]["recipe"]
    filled = {"search": service.ids["search_id"], "recipe": recipe}
    more = [
        {key: filled[key] if value is None else value for key, value in body.items()} for body in MORE.get(label, [])
    ]
    bodies = [*examples_of(document, schema), *({"space": space} for space in spaces), *more]
    return {**schema, "components": document["components"]}, bodies


SUBMIT = "POST /v1/searches"
SPACES = (
    "densenet-cifar",
    "densenet-mlp-mnist",
    "mobilenet-v2-tiny-free",
    "resnet-tiny-free",
    "wide-resnet-cifar-free",
)


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of all values within a body; of a list the first and the last."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*path, key))
    if isinstance(value, list):
        for index in sorted({0, len(value) - 1} & set(range(len(value)))):
            yield from _places(value[index], (*path, index))


def _changed(body: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return a body with another value at a place."""
    if not path:
        return value
    copied = copy.copy(body)
    copied[path[0]] = _changed(copied[path[0]], path[1:], value)
    return copied


def _names(problem: dict[str, Any], path: tuple[str | int, ...]) -> bool:
    """Return whether a problem names a place, a part of it or an object that contains it."""
    place = ".".join(map(str, path))
    fields = [error["field"] for error in problem["errors"]]
    return any(f"{place}.".startswith(f"{field}.") or f"{field}.".startswith(f"{place}.") for field in fields if field)


@pytest.mark.parametrize("label", BODIES)
def test_every_wrong_value_of_every_field_is_named(service: Everything, label: str) -> None:
    schema, bodies = _good_bodies(service, label)
    method, path = label.split(" ")
    ids = service.ids | ({"campaign_id": service.campaign} if method == "PATCH" else {})
    where = path.format(**ids)
    allowed = jsonschema_rs.validator_for(schema)
    for body in bodies:
        assert allowed.is_valid(body), f"the document does not allow {body}"
        assert service.client.request(method, where, json=body).status_code < 300, body
        for place in _places(body):
            for wrong in WRONG:
                changed = _changed(body, place, wrong)
                answer = service.client.request(method, where, json=changed)
                assert answer.status_code < 500, (place, wrong)
                if not allowed.is_valid(changed):
                    assert answer.status_code == 422, (place, wrong, answer.status_code)
                    assert not place or _names(answer.json(), place), (place, wrong, answer.text)


@pytest.mark.parametrize("label", BODIES)
def test_every_field_too_many_or_too_few_is_named(service: Everything, label: str) -> None:
    schema, bodies = _good_bodies(service, label)
    method, path = label.split(" ")
    where = path.format(**service.ids)
    allowed = jsonschema_rs.validator_for(schema)
    for body in bodies:
        for place in _places(body):
            value = functools.reduce(operator.getitem, place, body)
            if not isinstance(value, dict) or place[-1:] == BY_NAME:
                continue
            answer = service.client.request(method, where, json=_changed(body, place, {**value, "color": 1}))
            assert answer.status_code == 422, place
            assert _names(answer.json(), (*place, "color")), (place, answer.text)
            for key in value:
                rest = _changed(body, place, {name: one for name, one in value.items() if name != key})
                if not allowed.is_valid(rest):
                    answer = service.client.request(method, where, json=rest)
                    named = _names(answer.json(), (*place, key)) or (*place, key) == ("objective", "reference")
                    assert (answer.status_code, named) == (422, True), (place, key)


BOUNDS: dict[str, list[set[str]]] = {
    "string": [{"maxLength", "pattern"}],
    "integer": [{"minimum"}, {"maximum"}],
    "number": [{"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}],
    "array": [{"maxItems"}],
    "object": [{"additionalProperties"}],
    "boolean": [],
    "null": [],
}
"""One of each set bounds a kind of value; `enum`, `const` and `format` bound any. No object allows more properties."""


def _unbounded(document: dict[str, Any], schema: dict[str, Any], where: str) -> Iterator[str]:
    """Yield what a request may hold of any size."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    inner = [(where, one) for way in ("anyOf", "oneOf", "allOf") for one in schema.get(way, [])]
    if not inner and not {"enum", "const", "format"} & set(schema):
        kind = schema.get("type", "anything")
        free = bool(schema.get("additionalProperties"))
        if free and {"propertyNames", "maxProperties"} <= set(schema):  # a limited number of names that are limited
            free = False
            inner += [(f"{where}.{name}", schema[name]) for name in ("propertyNames", "additionalProperties")]
        if not all(bound & set(schema) for bound in BOUNDS.get(kind, [set()])) or free:
            yield f"{where}: {kind}"
    inner += [(f"{where}.{name}", one) for name, one in schema.get("properties", {}).items()]
    inner += [(f"{where}.*", schema["items"])] if "items" in schema else []
    for place, one in inner:
        yield from _unbounded(document, one, place)


def test_every_value_in_a_request_has_a_limit(service: Everything) -> None:
    document = service.app.openapi()
    found: list[str] = []
    for method, path, operation in operations_of(document):
        sent = {parameter["name"]: parameter["schema"] for parameter in operation.get("parameters", [])}
        if "requestBody" in operation:
            sent["body"] = operation["requestBody"]["content"]["application/json"]["schema"]
        for name, schema in sent.items():
            found += _unbounded(document, schema, f"{method} {path} {name}")
    assert found == []


BY_NAME = ("values",)
"""The end of the place of an object whose keys are names that its sender chooses."""

GOOD_SEARCH: dict[str, Any] = {"space": MLP_SPACE}
GOOD_VERIFICATION: dict[str, Any] = {"architecture": MLP, "dataset": "digits", "recipe": "mlp-paper"}
GOOD_MEASUREMENT: dict[str, Any] = {"kind": "peak", "architecture": MLP}
GOOD_POINT: dict[str, Any] = {"architecture": MLP, "values": {"zico": 1}}
LONG_PATH = {"name": "imagefolder", "path": "x" * 5000}
ID = "01a20532-0877-7076-88e9-ddadfcb721fc"

IN_BODIES: list[tuple[str, dict[str, Any], str]] = [
    ("POST /v1/searches", GOOD_SEARCH | {"top_k": 1001}, "top_k"),
    ("POST /v1/searches", GOOD_SEARCH | {"top_k": 2**63}, "top_k"),
    ("POST /v1/searches", GOOD_SEARCH | {"time_limit_seconds": 3600.5}, "time_limit_seconds"),
    ("POST /v1/searches", GOOD_SEARCH | {"budget": {"max_macs": 2**63}}, "budget.max_macs"),
    ("POST /v1/searches", GOOD_SEARCH | {"name": "x" * 201}, "name"),
    ("POST /v1/searches", GOOD_SEARCH | {"note": "x" * 10_001}, "note"),
    ("POST /v1/searches", GOOD_SEARCH | {"tags": ["x"] * 21}, "tags"),
    ("POST /v1/searches", GOOD_SEARCH | {"tags": ["x" * 65]}, "tags.0"),
    ("POST /v1/searches", GOOD_SEARCH | {"tags": [""]}, "tags.0"),
    ("POST /v1/searches", {"space": SPACE | {"cells": 13}}, "space.cells"),
    ("POST /v1/searches", {"space": MLP_SPACE | {"depth": list(range(1, 4098))}}, "space.depth"),
    ("POST /v1/searches", {"space": MLP_SPACE | {"depth": {"min": 4, "max": 6, "step": 2**63}}}, "space.depth.step"),
    (
        "POST /v1/searches",
        GOOD_SEARCH | {"objective": {"pareto": ["nn_mass", "params", "macs", "params"]}},
        "objective.pareto",
    ),
    (
        "POST /v1/searches",
        GOOD_SEARCH | {"objective": {"minimize": "macs", "reference": {"arch_id": "x" * 100_000}}},
        "objective.reference.arch_id",
    ),
    ("PATCH /v1/searches/{search_id}", {"name": "x" * 201}, "name"),
    ("PATCH /v1/searches/{search_id}", {"note": "x" * 10_001}, "note"),
    ("PATCH /v1/searches/{search_id}", {"tags": ["x"] * 21}, "tags"),
    ("PATCH /v1/searches/{search_id}", {"tags": ["x" * 65]}, "tags.0"),
    ("POST /v1/architectures/evaluate", {"architectures": [MLP] * 1001}, "architectures"),
    ("POST /v1/architectures", MLP | {"depth": 2**63}, "depth"),
    ("POST /v1/verifications", GOOD_VERIFICATION | {"seeds": list(range(21))}, "seeds"),
    ("POST /v1/verifications", GOOD_VERIFICATION | {"seeds": [2**32]}, "seeds.0"),
    ("POST /v1/verifications", GOOD_VERIFICATION | {"seeds": [2**63]}, "seeds.0"),
    ("POST /v1/verifications", GOOD_VERIFICATION | {"artifacts": ["weights"] * 6}, "artifacts"),
    ("POST /v1/verifications", GOOD_VERIFICATION | {"dataset": LONG_PATH}, "dataset.path"),
    ("POST /v1/verifications", GOOD_VERIFICATION | {"search": ID, "top": 11}, "top"),
    ("POST /v1/verifications", GOOD_VERIFICATION | {"search": ID, "controls": ["params"] * 5}, "controls"),
    ("POST /v1/verifications", GOOD_VERIFICATION | {"arch_id": "x" * 65}, "arch_id"),
    ("POST /v1/measurements", GOOD_MEASUREMENT | {"samples": 257}, "samples"),
    ("POST /v1/measurements", GOOD_MEASUREMENT | {"seeds": list(range(21))}, "seeds"),
    ("POST /v1/measurements", GOOD_MEASUREMENT | {"seeds": [2**32]}, "seeds.0"),
    ("POST /v1/measurements", {"kind": "peak", "architecture": {"arch_id": "x" * 100_000}}, "architecture.arch_id"),
    ("POST /v1/measurements", {"kind": "peak", "architecture": {"arch_id": 5}}, "architecture.arch_id"),
    ("POST /v1/evidence/points", {"points": [GOOD_POINT] * 1001}, "points"),
    ("POST /v1/evidence/points", {"points": [GOOD_POINT | {"values": dict.fromkeys("abcdefghi", 1)}]},
     "points.0.values"),
    ("POST /v1/evidence/points", {"points": [GOOD_POINT | {"name": "x" * 65}]}, "points.0.name"),
    ("POST /v1/evidence/points", {"points": [GOOD_POINT, GOOD_POINT | {"values": {"x" * 41: 1}}]},
     f"points.1.values.{'x' * 41}"),
]  # fmt: skip
IN_ADDRESSES: list[tuple[str, str, str]] = [
    ("/v1/searches", "limit", "0"), ("/v1/searches", "limit", "101"), ("/v1/searches", "limit", str(2**63)),
    ("/v1/searches", "limit", "1.5"), ("/v1/searches", "limit", "-1"), ("/v1/searches", "cursor", "x" * 513),
    ("/v1/searches", "cursor", "x"), ("/v1/searches", "cursor", ""), ("/v1/searches", "family", "x" * 65),
    ("/v1/searches", "tag", "x" * 65), ("/v1/searches", "q", "x" * 201), ("/v1/searches", "status", "x"),
    ("/v1/searches", "created_after", "0"), ("/v1/searches", "created_after", "1e10"),
    ("/v1/searches", "created_after", "2026-01-01"), ("/v1/searches", "created_after", "2026-01-01T00:00:00"),
    ("/v1/searches", "created_after", "0001-01-01T00:00:00+14:00"),
    ("/v1/searches", "created_after", "9999-12-31T23:59:59-14:00"),
    ("/v1/searches/compare", "ids", ID), ("/v1/searches/compare", "ids", ",".join([ID] * 5)),
    ("/v1/searches/compare", "ids", f"{ID},{ID}"), ("/v1/searches/compare", "ids", "x" * 1001),
    ("/v1/searches/{search_id}/architectures", "limit", "101"),
    ("/v1/searches/{search_id}/architectures", "cursor", "x" * 513),
    ("/v1/searches/{search_id}/export", "format", "xml"),
    ("/v1/spaces/{name}", "name", "x" * 101),
    ("/v1/architectures/{arch_id}/export", "format", "xml"),
    ("/v1/architectures/{arch_id}/export?format=json", "seed", "-1"),
    ("/v1/architectures/{arch_id}/export?format=json", "seed", str(2**32)),
    ("/v1/architectures/{arch_id}/export?format=json", "seed", str(2**63)),
    ("/v1/verifications", "limit", "101"), ("/v1/verifications", "cursor", "x" * 513),
    ("/v1/verifications", "search", "x"), ("/v1/verifications", "arch_id", "x" * 65),
    ("/v1/verifications", "dataset", "x" * 501), ("/v1/verifications", "family", "x" * 65),
    ("/v1/verifications", "role", "x"), ("/v1/verifications", "created_after", "0"),
    ("/v1/verifications/{verification_id}/artifacts/{name}", "name", "x" * 101),
    ("/v1/evidence", "dataset", "x" * 501), ("/v1/evidence", "family", "x" * 65),
    ("/v1/evidence", "recipe", "x" * 101), ("/v1/evidence", "format", "xml"),
    ("/v1/evidence", "accuracy", "x" * 101), ("/v1/evidence/points", "limit", "101"),
]  # fmt: skip
IN_HEADERS: list[tuple[str, str, bytes]] = [
    ("POST /v1/searches", "Prefer", b"wait=1" + b"x" * 200),
    ("POST /v1/searches", "Idempotency-Key", b"x" * 256),
    ("POST /v1/searches", "Idempotency-Key", b""),
    ("POST /v1/searches", "Idempotency-Key", b"a b"),
    ("POST /v1/searches", "Idempotency-Key", b"\xe9"),
    ("POST /v1/verifications", "Idempotency-Key", b"x" * 256),
    ("POST /v1/measurements", "Idempotency-Key", b"x" * 256),
    ("POST /v1/verifications/{verification_id}/replay", "Idempotency-Key", b"x" * 256),
    ("GET /v1/searches/{search_id}/events", "Last-Event-ID", b"9" * 21),
    ("GET /v1/searches/{search_id}/events", "Last-Event-ID", b"-1"),
    ("GET /v1/searches/{search_id}/events", "Last-Event-ID", b"\xb2"),
    ("GET /v1/verifications/{verification_id}/events", "Last-Event-ID", b"x"),
]


@pytest.mark.parametrize(("label", "body", "field"), IN_BODIES, ids=lambda value: str(value)[:40])
def test_a_body_value_beyond_its_limit_is_422(
    service: Everything, label: str, body: dict[str, Any], field: str
) -> None:
    method, path = label.split(" ")
    answer = service.client.request(method, path.format(**service.ids), json=body)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


@pytest.mark.parametrize(("path", "name", "value"), IN_ADDRESSES, ids=lambda value: value[:30])
def test_a_path_or_query_value_beyond_its_limit_is_422(service: Everything, path: str, name: str, value: str) -> None:
    inside = f"{{{name}}}" in path
    answer = service.client.get(
        path.format(**service.ids | ({name: value} if inside else {})),
        params=None if inside else _with(path, name, value),
    )
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [name])


def _with(path: str, name: str, value: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(path).query)) | {name: value}


@pytest.mark.parametrize(("label", "name", "value"), IN_HEADERS, ids=lambda value: str(value)[:30])
def test_a_header_beyond_its_limit_is_422(service: Everything, label: str, name: str, value: bytes) -> None:
    method, path = label.split(" ")
    body = {"POST /v1/searches": GOOD_SEARCH, "POST /v1/measurements": GOOD_MEASUREMENT}.get(label, GOOD_VERIFICATION)
    headers = [(name.encode(), value)]
    answer = service.client.request(method, path.format(**service.ids), json=body, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, f"header.{name}")
