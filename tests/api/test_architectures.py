"""Architectures of users: registered, read, drawn, used as a reference."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from fastapi.testclient import TestClient

from nnmass import formatting
from worker import search_tasks
from worker.process import Context

CNN: dict[str, Any] = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "cells": [{"width": 32, "depth": 13, "skip_channels": 40}, {"width": 64, "depth": 13, "skip_channels": 80}],
}
SURPLUS = CNN | {"cells": [{"width": 16, "depth": 4, "skip_channels": 500}]}
SVG = "{http://www.w3.org/2000/svg}"


def test_a_registered_network_is_read_by_its_id(client: TestClient) -> None:
    first = client.post("/v1/architectures", json=CNN)
    assert first.status_code == 201
    about = first.json()
    assert first.headers["Location"] == f"/v1/architectures/{about['arch_id']}"
    assert about["architecture"] == {"version": 1, **CNN}
    assert (about["searches"], about["verifications"]) == ([], [])
    evaluated = client.post("/v1/architectures/evaluate", json={"architectures": [CNN]}).json()["results"][0]
    assert {name: about[name] for name in evaluated} == evaluated
    again = client.post("/v1/architectures", json=CNN | {"version": 1})
    assert (again.status_code, again.json()) == (200, about)
    assert client.get(first.headers["Location"]).json() == about


def test_an_evaluated_network_has_its_own_caveats(client: TestClient) -> None:
    narrow = CNN | {"cells": [{"width": 7, "depth": 4, "skip_channels": 0}]}
    results = client.post("/v1/architectures/evaluate", json={"architectures": [CNN, narrow]}).json()["results"]
    assert [item["caveats"] for item in results] == [[], ["channels_below_8"]]
    about = client.post("/v1/architectures", json=narrow).json()
    assert about["caveats"] == ["channels_below_8"]
    assert "Some layers have fewer than 8 channels." in client.get(f"/architectures/{about['arch_id']}").text


def test_the_nn_mass_per_width_is_shown_and_no_objective(client: TestClient) -> None:
    about = client.post("/v1/architectures", json=CNN).json()
    per_width = sum(cell["nn_mass"] / cell["width"] for cell in about["cells"])
    assert about["nn_mass_per_width"] == pytest.approx(per_width)
    page = client.get(f"/architectures/{about['arch_id']}").text
    assert f"Each divided by its width, they add up to {formatting.number(about['nn_mass_per_width'])}" in page
    body = {"space": "densenet-tiny", "objective": {"maximize": "nn_mass_per_width"}}
    refused = client.post("/v1/searches", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "objective.maximize")


def test_a_network_is_evaluated_for_a_batch(client: TestClient) -> None:
    body = {"architectures": [CNN], "precision": "int8"}
    (one,) = client.post("/v1/architectures/evaluate", json=body).json()["results"]
    (eight,) = client.post("/v1/architectures/evaluate", json=body | {"batch": 8}).json()["results"]
    peak = one["peak_activation_bytes"]
    memory = one["weight_bytes"] + 8 * peak
    assert (one["batch"], eight["batch"]) == (1, 8)
    assert eight == one | {"batch": 8, "peak_activation_bytes": 8 * peak, "memory_bytes": memory}
    for batch in (0, 65_537, "8"):
        refused = client.post("/v1/architectures/evaluate", json=body | {"batch": batch})
        assert (refused.status_code, [error["field"] for error in refused.json()["errors"]]) == (422, ["batch"])

    client.post("/v1/architectures", json=CNN)
    page = client.get(f"/architectures/{one['arch_id']}", params={"precision": "int8", "inputs": 8}).text
    assert "at int8 for 8 inputs at a time" in page
    assert "int8, batch 8" in page
    assert client.get(f"/architectures/{one['arch_id']}", params={"inputs": 0}).status_code == 422


def test_the_same_network_has_the_same_id(client: TestClient) -> None:
    made = client.post("/v1/architectures", json=SURPLUS).json()
    exact = SURPLUS | {"cells": [{"width": 16, "depth": 4, "skip_channels": 32}]}
    assert client.post("/v1/architectures", json=exact).json()["arch_id"] == made["arch_id"]
    assert made["architecture"]["cells"][0]["skip_channels"] == 32


def test_a_network_lists_the_searches_that_ranked_it(client: TestClient, worker: Context) -> None:
    search = client.post("/v1/searches", json={"space": "densenet-tiny-free", "top_k": 3, "name": "tiny"}).json()
    assert search_tasks.run_next(worker)
    ranked = client.get(f"/v1/searches/{search['id']}/architectures").json()["items"][1]
    about = client.get(f"/v1/architectures/{ranked['arch_id']}").json()
    assert about["architecture"] == ranked["architecture"]
    (found,) = about["searches"]
    assert (found["id"], found["name"], found["rank"]) == (search["id"], "tiny", 2)


def test_a_registered_network_may_be_the_reference(client: TestClient) -> None:
    arch_id = client.post("/v1/architectures", json=CNN).json()["arch_id"]
    question = {
        "space": "densenet-cifar",
        "objective": {"minimize": "params", "reference": {"arch_id": arch_id}},
        "top_k": 1,
    }
    result = client.post("/v1/searches/preview", json=question).json()["result"]
    assert result["reference"]["arch_id"] == arch_id
    assert set(result["savings"]) == {"params", "macs"}


def test_an_unknown_network_is_404(client: TestClient) -> None:
    for path in ("arch_0", "arch_0/diagram.svg", "arch_0/export?format=json"):
        answer = client.get(f"/v1/architectures/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "family"),
        (CNN | {"family": "vgg"}, "family"),
        (CNN | {"cells": [{"width": 0, "depth": 3, "skip_channels": 0}]}, "cells.0.width"),
        (CNN | {"extra": 1}, "extra"),
    ],
)
def test_a_bad_definition_names_its_field(client: TestClient, body: Any, field: str) -> None:
    answer = client.post("/v1/architectures", json=body)
    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json()["errors"]}


def test_a_network_has_a_diagram(client: TestClient) -> None:
    about = client.post("/v1/architectures", json=CNN).json()
    answer = client.get(f"/v1/architectures/{about['arch_id']}/diagram.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    picture = ET.fromstring(answer.content)
    words = " ".join(text.text or "" for text in picture.iter(f"{SVG}text"))
    for expected in ("cell 1", "32 x 32", "width 64, depth 13", "80 skip channels", f"{about['params']:,} params"):
        assert expected in words
    layers = [shape for shape in picture.iter(f"{SVG}rect") if shape.get("class") == "layer"]
    arcs = [shape for shape in picture.iter(f"{SVG}path") if shape.get("class") == "arc"]
    assert (len(layers), len(arcs)) == (2 * 13, 2 * 11 * 12 // 2)


def test_the_definition_is_downloaded_as_a_file(client: TestClient) -> None:
    arch_id = client.post("/v1/architectures", json=CNN).json()["arch_id"]
    answer = client.get(f"/v1/architectures/{arch_id}/export", params={"format": "json"})
    assert answer.json() == {"version": 1, **CNN}
    assert answer.headers["content-disposition"].startswith('attachment; filename="densenet_cnn-')


@pytest.mark.parametrize("query", [{}, {"format": "keras"}, {"format": "json", "seed": -1}])
def test_an_invalid_export_request_names_its_field(client: TestClient, query: dict[str, Any]) -> None:
    arch_id = client.post("/v1/architectures", json=CNN).json()["arch_id"]
    answer = client.get(f"/v1/architectures/{arch_id}/export", params=query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].endswith("seed" if "seed" in query else "format")


def test_exports_of_the_largest_networks_are_refused_and_their_diagrams_are_not(client: TestClient) -> None:
    """An export that would take minutes is refused immediately and names its field."""
    cell = {"width": 8192, "depth": 300, "skip_channels": 0}
    deep = CNN | {"input": {"channels": 1, "height": 2, "width": 2}, "cells": [cell]}
    arch_id = client.post("/v1/architectures", json=deep).json()["arch_id"]
    assert client.get(f"/v1/architectures/{arch_id}/diagram.svg").status_code == 200
    assert client.get(f"/v1/architectures/{arch_id}/export?format=json").status_code == 200
    for form in ("pytorch", "onnx", "torchscript"):
        answer = client.get(f"/v1/architectures/{arch_id}/export?format={form}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "format")
