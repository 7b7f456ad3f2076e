"""Every family through the API: searched, ranked, evaluated, compressed, described; bad fields named."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from worker import search_tasks
from worker.process import Context

MLP: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 64,
    "num_classes": 10,
    "width": [8, 16],
    "depth": {"min": 2, "max": 12},
    "skip_channels": {"min": 0, "max": 40},
    "activation": "elu",
}
DEPTHWISE: dict[str, Any] = {
    "family": "densenet_cnn_depthwise",
    "input": {"channels": 3, "height": 16, "width": 16},
    "num_classes": 10,
    "cells": 2,
    "width": [8, 16],
    "depth": {"min": 3, "max": 6},
    "skip_channels": {"min": 0, "max": 40, "step": 4},
}
DENSE: dict[str, Any] = {
    "family": "densenet_bc",
    "input": {"channels": 3, "resolution": [16, 20]},
    "num_classes": 10,
    "stem": "small",
    "stem_channels": 16,
    "growth": [4, 8],
    "stages": [{"layers": {"min": 1, "max": 4}}, {"layers": [2, 3]}],
}
CONVNEXT: dict[str, Any] = {
    "family": "convnext",
    "input": {"channels": 3, "resolution": [16, 20]},
    "num_classes": 10,
    "patch": 2,
    "stages": [{"channels": [8, 12], "repeats": {"min": 1, "max": 3}}, {"channels": [16, 24], "repeats": [1, 2]}],
}
SEARCHES = [
    ("densenet_cnn_depthwise", "densenet-cifar-depthwise", {"max_params": 300_000, "max_macs": 30_000_000}, 3),
    ("densenet_cnn_depthwise", DEPTHWISE, {"max_weight_bytes": 40_000}, 2),
    ("densenet_mlp", "densenet-mlp-mnist", {"max_params": 20_000}, 1),
    ("densenet_mlp", MLP, {"max_peak_activation_bytes": 500, "max_params": 3_000}, 1),
]


@pytest.mark.parametrize(("family", "space", "budget", "cells"), SEARCHES)
def test_a_search_is_ranked_with_its_cells(
    client: TestClient, worker: Context, family: str, space: Any, budget: dict[str, int], cells: int
) -> None:
    search = client.post("/v1/searches", json={"space": space, "budget": budget, "top_k": 5}).json()
    assert search_tasks.run_next(worker)
    done = client.get(f"/v1/searches/{search['id']}").json()
    assert (done["status"], done["family"]) == ("succeeded", family)
    assert (done["result"]["optimal"], done["result"]["count"]) == (True, 5)
    assert [s["id"] for s in client.get("/v1/searches", params={"family": family}).json()["items"]] == [search["id"]]
    items = client.get(f"/v1/searches/{search['id']}/architectures").json()["items"]
    for item in items:
        assert item["architecture"]["family"] == family
        assert len(item["cells"]) == cells
        assert {"width", "depth", "skip_channels", "density", "average_degree", "nn_mass", "params", "macs"} <= set(
            item["cells"][0]
        )
        assert set(item["slack"]) == set(budget)
        assert min(item["slack"].values()) >= 0
    evaluated = client.post("/v1/architectures/evaluate", json={"architectures": [i["architecture"] for i in items]})
    for item, figures in zip(items, evaluated.json()["results"], strict=True):
        assert {key: item[key] for key in figures} == figures


RESNET: dict[str, Any] = {
    "family": "resnet",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "block": "basic",
    "stages": [{"channels": 8, "repeats": [0, 1]}, {"channels": [8, 16], "repeats": [0, 1]}],
}


@pytest.mark.parametrize(
    ("space", "part", "numbers"),
    [(RESNET, "stages", {1, 2}), (DEPTHWISE | {"depth": 3, "skip_channels": 0, "cells": [1, 2]}, "cells", {1, 2})],
)
def test_networks_of_several_numbers_of_parts_are_ranked_and_listed(
    client: TestClient, worker: Context, space: dict[str, Any], part: str, numbers: set[int]
) -> None:
    search = client.post("/v1/searches", json={"space": space, "top_k": 50}).json()
    assert search["request"]["space"].items() >= space.items()
    assert search_tasks.run_next(worker)
    done = client.get(f"/v1/searches/{search['id']}").json()
    items = client.get(f"/v1/searches/{search['id']}/architectures").json()["items"]
    assert int(done["result"]["space_size"]) == len(items) == len({item["arch_id"] for item in items})
    assert {len(item["architecture"][part]) for item in items} == numbers
    assert all(len(item[part]) == len(item["architecture"][part]) for item in items)
    evaluated = client.post("/v1/architectures/evaluate", json={"architectures": [i["architecture"] for i in items]})
    for item, figures in zip(items, evaluated.json()["results"], strict=True):
        assert {key: item[key] for key in figures} == figures
    header, *lines = client.get(f"/v1/searches/{search['id']}/export?format=csv").text.splitlines()
    assert all(line.startswith(f"{item['rank']},") for line, item in zip(lines, items, strict=True))
    widths = [name for name in header.split(",") if name.startswith("width")]
    assert len(widths) == max(numbers)
    page = client.get(f"/searches/{search['id']}").text
    assert items[-1]["arch_id"] in page


@pytest.mark.parametrize("space", [CONVNEXT, DENSE, DEPTHWISE, MLP])
def test_a_network_of_the_family_is_compressed_and_has_a_front(client: TestClient, space: dict[str, Any]) -> None:
    best = client.post("/v1/searches/preview", json={"space": space, "top_k": 1}).json()["items"][0]
    objective = {"minimize": "params", "reference": best["architecture"]}
    answer = client.post("/v1/searches/preview", json={"space": space, "objective": objective}).json()
    assert answer["items"][0]["nn_mass"] == best["nn_mass"]
    assert answer["items"][0]["params"] <= best["params"]
    front = client.post("/v1/searches/preview", json={"space": space, "objective": {"pareto": ["nn_mass", "macs"]}})
    macs = [item["macs"] for item in front.json()["items"]]
    assert macs == sorted(set(macs))
    assert front.json()["items"][-1]["nn_mass"] == best["nn_mass"]


@pytest.mark.parametrize(
    ("space", "field", "code"),
    [
        (DENSE | {"compression": [50, 52]}, "space.compression", "not_a_multiple"),
        (DENSE | {"growth": [3, 8]}, "space.stages.0.layers", "too_small"),
        (MLP | {"activation": "gelu"}, "space.activation", "unknown_choice"),
        (MLP | {"depth": {"min": 1, "max": 4}}, "space.depth.min", "too_small"),
        (MLP | {"skip_channels": [0, -1]}, "space.skip_channels.1", "too_small"),
        (MLP | {"cells": 0}, "space.cells", "too_small"),
        (MLP | {"width_rule": "doubling"}, "space.width_rule", "unknown_field"),
        (DEPTHWISE | {"skip_channels": {"min": 0}}, "space.skip_channels.max", "required"),
        (DEPTHWISE | {"activation": "relu"}, "space.activation", "unknown_field"),
        (DEPTHWISE | {"cells": 5}, "space.input", "too_small"),
    ],
)
def test_an_invalid_space_names_its_field(client: TestClient, space: dict[str, Any], field: str, code: str) -> None:
    answer = client.post("/v1/searches", json={"space": space})
    assert answer.status_code == 422
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]


def test_an_invalid_definition_names_its_field(client: TestClient) -> None:
    mlp = MLP | {"width": 8, "depth": 16, "skip_channels": 4}
    depthwise = {key: DEPTHWISE[key] for key in ("family", "input", "num_classes")}
    bad = [
        mlp,
        mlp | {"activation": "tanh"},
        mlp | {"skip_channels": "4"},
        depthwise | {"cells": [{"width": 8, "depth": 3, "skip_channels": -1}]},
    ]
    answer = client.post("/v1/architectures/evaluate", json={"architectures": bad})
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == [
        "architectures.1.activation",
        "architectures.2.skip_channels",
        "architectures.3.cells.0.skip_channels",
    ]


def test_the_openapi_document_describes_every_family(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for described in (schemas["Space"], schemas["Architecture"]):
        definitions = [schemas[one["$ref"].rpartition("/")[2]] for one in described["oneOf"]]
        families = [definition["properties"]["family"]["const"] for definition in definitions]
        assert {"densenet_cnn", "densenet_cnn_depthwise", "densenet_mlp"} <= set(families)
        assert len(set(families)) == len(families)
