"""What the cost of the guide can do once it is installed; run by test_adding_a_cost.py in a process that has it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import nnmass
from app.config import Settings
from app.storage.db import Database
from nnmass.cli import app
from nnmass_core.budget import Budget
from nnmass_core.costs import COSTS
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.networks import named_network
from nnmass_core.request import Minimize, Pareto, SearchRequest
from nnmass_core.search import search
from nnmass_core.verification.controls import random_control
from tests.client.service import serving
from tests.core.brute import BYTES, Row, ranked, within
from worker import search_tasks
from worker.process import Context

SPACE = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 16, "width": 16},
    "num_classes": 4,
    "cells": 2,
    "width": {"min": 4, "max": 12, "step": 4},
    "depth": {"min": 3, "max": 5},
    "skip_channels": {"min": 0, "max": 24, "step": 6},
}
ROWS = ranked(SPACE)
ASKED: dict[str, Any] = {"space": SPACE, "budget": {"max_energy_pj": 4_000_000}, "top_k": 3}


def energy(row: Row, precision: str = "fp32") -> int:
    return 3 * row.macs + 640 * row.weight_bytes(precision)


def request(objective: Any = None, top_k: int = 5, **budget: Any) -> SearchRequest:
    more = {} if objective is None else {"objective": objective}
    return SearchRequest(space=decode_space(SPACE), budget=Budget(**budget), top_k=top_k, **more)


def figures(found: Any) -> list[tuple[Any, ...]]:
    return [(one.evaluation.mass, one.evaluation.macs, one.evaluation.params) for one in found.ranking]


def rows(found: list[Row]) -> list[tuple[Any, ...]]:
    return [(row.mass, row.macs, row.params) for row in found]


@pytest.mark.parametrize("seed", range(12))
def test_a_search_with_the_cost_as_a_limit_equals_brute_force(seed: int) -> None:
    rng = Random(seed)
    precision = rng.choice(list(BYTES))
    bound, params = energy(rng.choice(ROWS), precision), rng.choice(ROWS).params
    fitting = [row for row in within(ROWS, {"max_params": params}, precision) if energy(row, precision) <= bound]
    found = search(request(precision=precision, max_energy_pj=bound, max_params=params))
    assert figures(found) == rows(fitting[:5])
    assert found.certificate.optimal
    assert [one.slack["max_energy_pj"] for one in found.ranking] == [bound - energy(r, precision) for r in fitting[:5]]
    without = [row for row in ROWS if row.params <= params]
    assert ("max_energy_pj" in (found.certificate.binding or ())) == (without[0].mass > fitting[0].mass)


def test_the_least_sufficient_limit_is_reported_when_nothing_fits() -> None:
    found = search(request(max_energy_pj=10)).certificate
    assert (found.feasible, found.relaxation) == (False, {"max_energy_pj": min(map(energy, ROWS))})


@pytest.mark.parametrize("seed", range(6))
def test_a_search_with_the_cost_as_an_objective_equals_brute_force(seed: int) -> None:
    rng = Random(seed)
    precision, mass = rng.choice(list(BYTES)), rng.choice(ROWS).mass
    able = [row for row in ROWS if row.mass >= mass]
    found = search(request(Minimize("energy_pj", float(mass)), precision=precision)).certificate
    assert (found.objective_value, found.optimal) == (min(energy(row, precision) for row in able), True)


@pytest.mark.parametrize("precision", BYTES)
def test_a_front_in_the_cost_equals_brute_force(precision: str) -> None:
    found = search(request(Pareto(("energy_pj",)), precision=precision))
    expected: list[tuple[int, Any]] = []
    for row in sorted(ROWS, key=lambda row: (energy(row, precision), -row.mass)):
        if not expected or row.mass > expected[-1][1]:
            expected.append((energy(row, precision), row.mass))
    points = [(one.evaluation.report(precision)["energy_pj"], one.evaluation.mass) for one in found.ranking]
    assert points == expected
    assert found.certificate.resolution is None


def test_a_random_control_respects_the_limit() -> None:
    asked = request(max_energy_pj=energy(ROWS[len(ROWS) // 2]))
    candidate = search(asked).ranking[0].architecture
    control = random_control(asked, candidate, frozenset(), seed=1)
    assert control is None or control.evaluation.report("fp32")["energy_pj"] <= energy(ROWS[len(ROWS) // 2])


def test_a_ratio_makes_the_cost_of_a_reference_a_limit() -> None:
    energy_of = named_network("resnet20").evaluation.report("fp32")["energy_pj"]
    for ratio, limits in (({}, {}), ({"energy_pj": 0.25}, {"max_energy_pj": energy_of // 4})):
        budget = {"within": "resnet20", "ratio": ratio}
        bounds = SearchRequest.from_json({"space": SPACE, "budget": budget}).budget.bounds
        assert {name: bound for name, bound in bounds if "energy" in name} == limits


def test_a_space_that_is_too_large_for_exact_sums_is_refused() -> None:
    wide = {**SPACE, "input": {"channels": 3, "height": 4096, "width": 4096}, "width": [2048], "skip_channels": 0}
    with pytest.raises(DefinitionError, match=r"budget\.max_energy_pj: is more than 2\*\*53 - 1 elements"):
        SearchRequest(space=decode_space(wide), budget=Budget(max_energy_pj=5))


def test_the_service_accepts_stores_and_shows_the_cost(client: TestClient, worker: Context) -> None:
    preview = client.post("/v1/searches/preview", json=ASKED).json()
    made = client.post("/v1/searches", json=ASKED).json()
    assert made["request"]["budget"] == {"max_energy_pj": 4_000_000, "precision": "fp32"}
    assert search_tasks.run_next(worker)
    items = client.get(f"/v1/searches/{made['id']}/architectures").json()["items"]
    fitting = [row for row in ROWS if energy(row) <= 4_000_000][:3]
    for found in (items, preview["items"]):
        assert [item["energy_pj"] for item in found] == [*map(energy, fitting)]
    assert [item["slack"] for item in items] == [{"max_energy_pj": 4_000_000 - energy(row)} for row in fitting]
    table = list(csv.DictReader(io.StringIO(client.get(f"/v1/searches/{made['id']}/export?format=csv").text)))
    assert [int(line["energy_pj"]) for line in table] == [*map(energy, fitting)]
    assert [int(line["slack_max_energy_pj"]) for line in table] == [4_000_000 - energy(row) for row in fitting]
    networks = {"architectures": [items[0]["architecture"]]}
    evaluated = client.post("/v1/architectures/evaluate", json=networks).json()["results"]
    assert evaluated[0]["energy_pj"] == energy(fitting[0])
    for page in (f"/searches/{made['id']}", f"/architectures/{items[0]['arch_id']}"):
        shown = client.get(page).text
        assert "energy" in shown
        assert f"{energy(fitting[0]):,} pJ" in shown
    assert client.get(f"/searches/{made['id']}/front?cost=energy_pj").json()
    assert "energy" in client.get(f"/searches/{made['id']}/more").text
    refused = client.post("/v1/searches", json=ASKED | {"budget": {"max_energy_pj": 1.5}}).json()["errors"][0]
    assert (refused["field"], refused["code"]) == ("budget.max_energy_pj", "not_an_integer")


def test_the_cost_is_in_the_form_and_in_the_openapi_document(client: TestClient) -> None:
    form = client.get("/").text
    assert '<input type="text" id="max_energy_pj" name="max_energy_pj"' in form
    assert 'data-slides="max_energy_pj"' in form
    assert '<option value="energy_pj"' in form
    goal = {"goal": "least", "cost": "energy_pj", "min_nn_mass": "5"}
    sent = {"preset": "densenet-tiny-free", "max_energy_pj": "500M", **goal}
    assert "proved in" in client.post("/ui/preview", data=sent, headers={"Origin": str(client.base_url)}).text
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert "max_energy_pj" in schemas["BudgetBody"]["properties"]
    assert "energy_pj" in schemas["RankedItem"]["properties"]
    assert "energy_pj" in schemas["MinimizeObjective"]["properties"]["minimize"]["enum"]


def command(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments, "--preset", "densenet-tiny-free"])


def test_the_cost_is_an_option_of_the_command_line() -> None:
    done = command("search", "--max-energy-pj", "500M", "--top-k", "2")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "pJ" in done.stdout
    assert "energy" in done.stdout.splitlines()[1]
    wrong = command("search", "--max-energy-pj", "much")
    assert (wrong.exit_code, "--max-energy-pj must be a whole number" in wrong.stderr) == (2, True)
    least = command("search", "--minimize", "energy_pj", "--min-nn-mass", "20", "--json")
    assert json.loads(least.stdout)["request"]["objective"]["minimize"] == "energy_pj"
    assert command("search", "--pareto", "energy_pj").exit_code == 0
    assert "--max-energy-pj PJ" in CliRunner().invoke(app, ["search", "--help"]).stdout


@pytest.fixture
def remote(sqlite_file: Path, tmp_path: Path) -> Iterator[nnmass.Client]:
    shutil.copy(sqlite_file, tmp_path / "nnmass.db")
    settings = Settings(data_dir=tmp_path, heartbeat_seconds=0.2)
    database = Database(settings.sqlalchemy_url)
    with serving(settings, database) as service, nnmass.Client(service.address) as client:
        service.work()
        yield client
    database.dispose()


def test_python_accepts_the_cost_with_and_without_a_service(remote: nnmass.Client) -> None:
    options: dict[str, Any] = {"max_energy_pj": "4M", "top_k": 3}
    here, there = nnmass.search(SPACE, **options), remote.search(SPACE, **options)
    assert [item.costs["energy_pj"] for item in here] == [item.costs["energy_pj"] for item in there]
    assert list(here.items[0].costs) == list(COSTS)
    assert here.items == there.items
    assert here.to_pandas()["energy_pj"].max() <= 4_000_000
    assert "energy" in here._repr_html_()
    assert "energy" in nnmass.formatting.slack(here.items[0].raw)
    with pytest.raises(TypeError, match="max_nothing"):
        nnmass.search(SPACE, max_nothing=5)  # type: ignore[call-arg]


def test_the_table_has_the_cost_after_the_built_in_ones() -> None:
    assert list(COSTS)[-1] == "energy_pj"
