"""What the family of the guide can do once it is installed; run by test_adding_a_family.py in a process that has it."""

from __future__ import annotations

import dataclasses
import itertools
import types
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from fastapi.testclient import TestClient

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.export import torch_files
from nnmass_core.export.pytorch_source import pytorch_source
from nnmass_core.families import FAMILIES, decode_architecture, decode_space
from nnmass_core.nets import build
from nnmass_core.nets.liveness import peak_elements
from nnmass_core.request import Minimize, SearchRequest
from nnmass_core.search import search
from nnmass_core.training import measure
from nnmass_core.wiring import draw_wiring
from tests.core.latencies import profile
from worker import search_tasks
from worker.process import Context

SPACE = {
    "family": "residual_mlp",
    "in_features": 20,
    "num_classes": 3,
    "width": {"min": 2, "max": 16, "step": 2},
    "depth": {"min": 1, "max": 6},
}


def network(width: int, depth: int) -> Architecture:
    return decode_architecture(
        {"family": "residual_mlp", "in_features": 20, "num_classes": 3, "width": width, "depth": depth}
    )


def every() -> list[Architecture]:
    return [network(w, d) for w, d in itertools.product(range(2, 17, 2), range(1, 7))]


def place(one: Architecture) -> tuple[Any, ...]:
    return -one.evaluation.mass, one.evaluation.macs, one.evaluation.params, one.width, one.depth  # type: ignore[attr-defined]


def test_the_family_is_found_by_name_and_reads_back() -> None:
    assert "residual_mlp" in FAMILIES
    one = network(8, 3)
    assert decode_architecture(one.definition()) == one
    assert decode_architecture(one.definition()).arch_id == one.arch_id
    assert decode_space(decode_space(SPACE).to_json()).to_json() == decode_space(SPACE).to_json()


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (8, 3), (16, 6), (3, 1)])
def test_closed_forms_equal_the_costs_of_the_module(width: int, depth: int) -> None:
    one = network(width, depth)
    figures = one.evaluation
    counted = measure.count(build(one, 0), (20,))
    assert (figures.params, figures.macs) == (counted["params"], counted["macs"])
    assert figures.peak_elements == peak_elements(one, draw_wiring(one, 0))
    assert figures.mass == Fraction(2 * width * depth)


@pytest.mark.parametrize("seed", range(20))
def test_the_engine_equals_brute_force(seed: int) -> None:
    rng, networks = Random(seed), sorted(every(), key=place)
    params = rng.choice(networks).evaluation.params
    peak = rng.choice(networks).evaluation.peak_elements * 4
    fitting = [n for n in networks if n.evaluation.params <= params and n.evaluation.peak_elements * 4 <= peak]
    budget = Budget(max_params=params, max_peak_activation_bytes=peak)
    found = search(SearchRequest(space=decode_space(SPACE), budget=budget, top_k=5))
    assert [ranked.architecture for ranked in found.ranking] == fitting[:5]
    assert found.certificate.optimal
    assert found.certificate.space_size == len(networks)
    least = search(SearchRequest(space=decode_space(SPACE), budget=Budget(), objective=Minimize("macs", 40.0)))
    able = min(n.evaluation.macs for n in networks if n.evaluation.mass >= 40)
    assert least.certificate.objective_value == able


def test_the_service_searches_stores_and_shows_the_family(client: TestClient, worker: Context) -> None:
    body = {"space": SPACE, "budget": {"max_params": 1500}, "top_k": 3}
    preview = client.post("/v1/searches/preview", json=body).json()
    made = client.post("/v1/searches", json=body).json()
    assert search_tasks.run_next(worker)
    found = client.get(f"/v1/searches/{made['id']}").json()
    assert (found["status"], found["family"], found["result"]["optimal"]) == ("succeeded", "residual_mlp", True)
    items = client.get(f"/v1/searches/{made['id']}/architectures").json()["items"]
    assert [item["arch_id"] for item in items] == [item["arch_id"] for item in preview["items"]]
    assert client.get("/v1/searches?family=residual_mlp").json()["items"][0]["id"] == made["id"]
    best = items[0]
    same = client.post("/v1/architectures/evaluate", json={"architectures": [best["architecture"]]}).json()["results"]
    assert (same[0]["arch_id"], same[0]["nn_mass"], same[0]["params"]) == (
        best["arch_id"],
        best["nn_mass"],
        best["params"],
    )
    assert client.get(f"/v1/architectures/{best['arch_id']}").json()["searches"][0]["id"] == made["id"]
    assert client.get(f"/v1/architectures/{best['arch_id']}/diagram.svg").text.startswith("<svg")
    for page in (f"/searches/{made['id']}", f"/architectures/{best['arch_id']}", "/searches?family=residual_mlp"):
        shown = client.get(page)
        assert (shown.status_code, "residual_mlp" in shown.text) == (200, True), page


def test_an_invalid_definition_names_its_field(client: TestClient) -> None:
    refused = client.post("/v1/searches", json={"space": SPACE | {"depth": {"min": 0, "max": 3}}})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "space.depth.min")
    late = {"space": SPACE, "budget": {"device": profile(), "max_latency_ms": 5}}
    problem = client.post("/v1/searches", json=late).json()["errors"][0]
    assert (problem["field"], problem["code"]) == ("budget.max_latency_ms", "no_latency")
    assert "residual_mlp" in client.get("/openapi.json").text


def test_exported_files_give_the_outputs_of_the_module(tmp_path: Path) -> None:
    one = network(8, 3)
    module, x = build(one, 0).eval(), torch.randn(4, 20)
    path = tmp_path / "network.onnx"
    torch_files.write(one, 0, "onnx", path)
    session = onnxruntime.InferenceSession(path)
    (scores,) = session.run(None, {"input": x.numpy()})
    np.testing.assert_allclose(scores, module(x).detach().numpy(), atol=1e-5)
    taken = types.ModuleType("taken")
    exec(pytorch_source(one, 0), vars(taken))
    other = taken.build().eval()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x), module(x))


def test_a_family_without_a_writer_has_no_pytorch_file(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    one = network(8, 3)
    silent = dataclasses.replace(FAMILIES["residual_mlp"], source=None)
    monkeypatch.setitem(FAMILIES._all(), "residual_mlp", silent)
    arch_id = client.post("/v1/architectures", json=one.definition()).json()["arch_id"]
    refused = client.get(f"/v1/architectures/{arch_id}/export?format=pytorch")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "no_source")
    body = {"architecture": one.definition(), "dataset": "fake", "recipe": "mlp-paper"}
    trained = client.post("/v1/verifications", json=body | {"artifacts": ["weights", "source"]})
    assert (trained.status_code, trained.json()["errors"][0]["code"]) == (422, "no_source")
    queued = client.post("/v1/verifications", json=body)
    assert queued.status_code == 202, "by default a training has the files that the family can have"
    client.post(f"/v1/verifications/{queued.json()['id']}/cancel")
