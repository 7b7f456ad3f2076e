"""The service proves the results shown on the page of published networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from nnmass_core.named.networks import named_network
from scripts.published import ROWS, Row, line

PAGE = Path(__file__).parents[2] / "docs" / "published.md"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_service_proves_an_optimum_within_each_published_budget(client: TestClient, row: Row) -> None:
    asked = {"space": row.space, "budget": row.budget, "top_k": 1, "spend": None}
    answer = client.post("/v1/searches/preview", json=asked).json()
    (best,), result = answer["items"], answer["result"]
    assert (result["optimal"], result["gap"]) == (True, 0.0)
    assert (best["params"] <= row.params, best["macs"] <= row.macs) == (True, True)
    assert f"| {best['nn_mass']:,.1f}, best of" in line(row)
    assert line(row) in PAGE.read_text().splitlines()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_nn_mass_of_mobilenet_is_reached_within_the_smaller_budget(client: TestClient) -> None:
    (row,) = (row for row in ROWS if row.name == "NN-Mass-A")
    mobilenet = named_network("mobilenet_v2").evaluation
    assert float(mobilenet.mass) == 1287.0
    assert (mobilenet.params > row.params, mobilenet.macs > row.macs) == (True, True)
    answer = client.post("/v1/searches/preview", json={"space": row.space, "budget": row.budget, "top_k": 1}).json()
    assert answer["result"]["best_nn_mass"] >= 1287
