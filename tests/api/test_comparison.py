"""Searches are compared side by side, on both backends."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.curated import (
    MLP,
    UNKNOWN,
    finished,
    get,
    post,
    problems,
    run,
    search_of_another_owner,
)
from tests.conftest import Backend
from worker.process import Context


def compare(client: TestClient, *ids: str) -> Any:
    return get(client, "/v1/searches/compare", ids=",".join(ids))


def test_compare_shows_the_differences_and_shared_networks_of_searches(client: TestClient, worker: Context) -> None:
    made = [
        finished(client, worker, top_k=5, name="small"),
        finished(client, worker, top_k=8, budget={"max_params": 100_000, "max_macs": 30_000_000}),
        finished(client, worker, top_k=2),
    ]
    rankings = [get(client, f"/v1/searches/{one['id']}/architectures")["items"] for one in made]
    answer = compare(client, *(one["id"] for one in made))
    assert [{k: v for k, v in item.items() if k != "best"} for item in answer["items"]] == made
    assert [item["best"] for item in answer["items"]] == [ranking[0] for ranking in rankings]

    differences = {item["field"]: item["values"] for item in answer["differences"]}
    assert differences["request.top_k"] == [5, 8, 2]
    assert differences["request.budget.max_macs"] == [None, 30_000_000, None]
    assert differences["result.objective_value"] == [one["result"]["objective_value"] for one in made]
    assert differences["result.binding"] == [["max_params"], ["max_params", "max_macs"], ["max_params"]]
    assert differences["best.params"] == [ranking[0]["params"] for ranking in rankings]
    widths = [ranking[0]["cells"][0]["width"] for ranking in rankings]
    assert differences.get("best.architecture.cells.0.width", widths[:1] * 3) == widths
    assert not {field for field in differences if "elapsed" in field or "explored" in field}
    assert not {field for field in differences if field.startswith(("request.space", "best.latency", "best.cells"))}
    assert all(len(set(map(str, values))) > 1 for values in differences.values())

    ranks = [{item["arch_id"]: item["rank"] for item in ranking} for ranking in rankings]
    shared = [one for one in {*ranks[0], *ranks[1]} if sum(one in places for places in ranks) > 1]
    assert answer["shared"]["count"] == len(shared) >= 2
    assert answer["shared"]["in_all"] == sum(all(one in places for places in ranks) for one in shared)
    for item in answer["shared"]["items"]:
        assert item["ranks"] == [places.get(item["arch_id"]) for places in ranks]
        place = next(one for ranking in rankings for one in ranking if one["arch_id"] == item["arch_id"])
        assert {k: item[k] for k in ("nn_mass", "params", "macs", "depth")} == {
            k: place[k] for k in ("nn_mass", "params", "macs", "depth")
        }
    counts = [sum(rank is not None for rank in item["ranks"]) for item in answer["shared"]["items"]]
    assert counts == sorted(counts, reverse=True)
    assert answer["shared"]["items"][0]["ranks"][0] == answer["shared"]["items"][0]["ranks"][2] == 1


def test_compare_answers_in_the_order_of_the_request(client: TestClient, worker: Context) -> None:
    first, second = finished(client, worker), finished(client, worker, top_k=2)
    forth, back = compare(client, first["id"], second["id"]), compare(client, second["id"], first["id"])
    assert [item["id"] for item in back["items"]] == [second["id"], first["id"]]
    assert back["items"] == forth["items"][::-1]
    assert back["differences"] == [one | {"values": one["values"][::-1]} for one in forth["differences"]]
    assert [one["ranks"] for one in back["shared"]["items"]] == [[1, 1], [2, 2]]


def test_compare_finds_no_difference_between_equal_searches(client: TestClient, worker: Context) -> None:
    first, second = finished(client, worker), finished(client, worker, fresh=True, name="again", tags=["x"])
    answer = compare(client, first["id"], second["id"])
    assert answer["differences"] == []
    assert (answer["shared"]["count"], answer["shared"]["in_all"]) == (3, 3)


def test_an_unfinished_search_shares_no_architectures_in_a_comparison(client: TestClient, worker: Context) -> None:
    done = finished(client, worker)
    waiting = post(client, top_k=4)
    answer = compare(client, waiting["id"], done["id"])
    assert [item["best"] is None for item in answer["items"]] == [True, False]
    assert answer["items"][0]["result"] is None
    assert answer["differences"] == [
        {"field": "status", "values": ["queued", "succeeded"]},
        {"field": "request.top_k", "values": [4, 3]},
    ]
    assert answer["shared"] == {"count": 0, "in_all": 0, "items": []}
    other = run(client, worker, waiting)
    three = compare(client, done["id"], post(client, top_k=9)["id"], other["id"])
    assert {"field": "result.count", "values": [3, None, 4]} in three["differences"]
    assert (three["shared"]["count"], three["shared"]["in_all"]) == (3, 0)


def test_different_kinds_of_searches_are_compared(client: TestClient, worker: Context) -> None:
    specified = {"space": MLP, "objective": {"pareto": ["nn_mass", "params"]}}
    front = run(client, worker, client.post("/v1/searches", json=specified).json())
    residual = finished(client, worker, space="resnet-tiny-free")
    empty = finished(client, worker, space=MLP, budget={"max_params": 1})
    answer = compare(client, front["id"], residual["id"], empty["id"])
    assert [item["best"] and item["best"]["rank"] for item in answer["items"]] == [None, 1, None]
    differences = {item["field"]: item["values"] for item in answer["differences"]}
    assert differences["request.space.family"] == ["densenet_mlp", "resnet", "densenet_mlp"]
    assert differences["request.space.width"] == [8, None, 8]
    assert differences["request.objective.pareto"] == [["nn_mass", "params"], None, None]
    assert differences["result.feasible"] == [True, True, False]
    assert not [field for field in differences if field.startswith("best.")]
    assert answer["shared"]["count"] == 0


def test_compare_shows_at_most_a_hundred_shared_architectures(client: TestClient, worker: Context) -> None:
    first, second = finished(client, worker, top_k=130), finished(client, worker, top_k=120)
    shared = compare(client, first["id"], second["id"])["shared"]
    assert (shared["count"], shared["in_all"], len(shared["items"])) == (120, 120, 100)
    assert [item["ranks"] for item in shared["items"]] == [[rank, rank] for rank in range(1, 101)]


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("", "too_short"),
        ("0", "too_short"),
        ("0,1,2,3,4", "too_long"),
        ("0,0", "duplicate"),
        ("0,1,0", "duplicate"),
        (",".join("0123456789" * 5), "too_long"),
    ],
)
def test_a_comparison_that_is_not_possible_names_its_field(client: TestClient, pattern: str, code: str) -> None:
    ids = {str(i): post(client, top_k=i + 1)["id"] for i in range(5)}
    specified = ",".join(ids.get(one, one) for one in pattern.split(","))
    assert problems(client.get("/v1/searches/compare", params={"ids": specified})) == [("ids", code)]
    upper = f"{ids['0']},{ids['0'].upper()}"
    assert problems(client.get("/v1/searches/compare", params={"ids": upper})) == [("ids", "duplicate")]
    assert problems(client.get("/v1/searches/compare")) == [("ids", "required")]


def test_compare_names_the_position_of_an_unknown_search(client: TestClient, backend: Backend) -> None:
    known = post(client)["id"]
    theirs = search_of_another_owner(backend)
    for specified, places in (
        ([known, UNKNOWN], [2]),
        ([theirs, known], [1]),
        (["nonsense", known, theirs], [1, 3]),
        ([known, ""], [2]),
        ([UNKNOWN, theirs], [1, 2]),
    ):
        answer = client.get("/v1/searches/compare", params={"ids": ",".join(specified)})
        assert problems(answer, 404) == [("ids", "unknown_search")] * len(places)
        assert [
            f"number {place} " in one["message"] for place, one in zip(places, answer.json()["errors"], strict=True)
        ]
        assert answer.json()["code"] == "not_found"
        assert all(name not in answer.text for name in specified if name)
