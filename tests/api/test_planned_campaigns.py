"""Campaigns that plan their trainings, through the API; trainings end as a worker would have ended them."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from app.campaigns import planning, steps
from app.storage.models import Verification
from nnmass_core.engine.control import Control
from tests.api import trainings
from tests.api.test_campaigns import PLANNED, on_sqlite, show, step
from tests.api.test_verifications import SEARCH, get, problems
from worker import search_tasks
from worker.process import Context

pytestmark = on_sqlite

CONTROLS = {"most_macs", "spend", "most_params", "most_nn_mass"}


def submit(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/campaigns", json=PLANNED | changes)
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


def validated(params: int) -> float:
    """Return an accuracy on validation images that is best at 2,450 params."""
    return 0.95 - abs(math.log(params / 2450))


def train(worker: Context, number: int) -> None:
    """End the queued trainings; their test accuracies say the opposite of their accuracies on validation images."""
    for _ in range(number):
        held = trainings.claim(worker.database)
        with worker.database.read() as session:
            row = session.get_one(Verification, held.job_id)
            seeds, accuracy = row.seeds, validated(row.params)
        trainings.finish(worker.database, held, dict.fromkeys(seeds, 9 if accuracy < 0.9 else 8), accuracy)


def run(client: TestClient, worker: Context, sizes: list[int], **changes: Any) -> dict[str, Any]:
    """Run a campaign whose rounds train so many networks, and return it."""
    campaign_id = submit(client, **changes)["id"]
    for number in sizes:
        step(worker)
        train(worker, number)
    step(worker)
    return show(client, campaign_id)


def test_what_is_not_said_has_its_defaults(client: TestClient) -> None:
    made = submit(client, trainings=16)
    assert (made["strategy"], made["rounds"], made["validation"]) == ("spread-fit-confirm", 2, 0.1)
    body = {name: value for name, value in PLANNED.items() if name != "rounds"}
    made = client.post("/v1/campaigns", json=body).json()
    assert (made["rounds"], made["recipe_name"], made["recipe"]["validation"]) == (5, "mlp-paper", 0.1)
    assert made["choices"] == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"validation": 0.2}, 0.2),
        ({"validation": 0}, 0),
        ({"recipe": {"validation": 0.3}}, 0.3),
        ({"recipe": {"validation": 0}}, 0),
        ({"recipe": {"validation": 0.3}, "validation": 0.2}, 0.2),
        ({"recipe": {}}, 0.1),
    ],
)
def test_the_share_that_is_held_out_is_that_of_the_request_or_of_the_recipe(
    client: TestClient, changes: dict[str, Any], expected: float
) -> None:
    own = {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 64, "epochs": 3}
    body = changes | ({"recipe": own | changes["recipe"]} if "recipe" in changes else {})
    assert submit(client, **body)["validation"] == expected


def test_too_small_a_share_names_its_field(client: TestClient) -> None:
    answer = client.post("/v1/campaigns", json=PLANNED | {"validation": 0.001})
    assert problems(answer) == [("validation", "too_small")]


def test_a_planned_campaign_spreads_fits_and_confirms_what_validation_chose(
    client: TestClient, worker: Context
) -> None:
    ended = run(client, worker, [8, 4, 4, 2], trainings=16, rounds=3, confirm=2)
    networks, confirming = ended["items"][:16], ended["items"][16:]
    first, later = networks[:8], networks[8:]
    choices, result = ended["choices"], ended["result"]
    assert [item["round"] for item in networks] == [1] * 8 + [2] * 4 + [3] * 4
    assert {choices[0]["controls"][item["role"]] for item in first if item["role"] in CONTROLS} == {
        item["arch_id"] for item in first if item["role"] in CONTROLS
    }
    assert {*choices[0]["controls"]} == CONTROLS
    assert {*choices[0]["controls"].values()} <= {item["arch_id"] for item in first}
    assert {item["role"] for item in first} - CONTROLS == {"random", "spread"}
    assert [item["predicted"] for item in first] == [None] * 8
    assert {item["role"] for item in later} <= {"best_predicted", "most_uncertain"}
    for item in later:
        predicted = item["predicted"]
        assert predicted["low"] < predicted["accuracy"] < predicted["high"]
        assert 0 < predicted["error"] < 1
    assert [(one["round"], one["proved"], one["fit"] is None) for one in choices] == [
        (1, True, True),
        (2, True, False),
        (3, True, False),
    ]
    assert [one["fit"]["networks"] for one in choices[1:]] == [8, 12]
    assert all(one["fit"]["best"] <= one["fit"]["bound"] for one in choices[1:])
    best = result["best"]
    leader = max(networks, key=lambda item: (item["validation_accuracy"], -item["params"]))
    assert leader["validation_accuracy"] == validated(leader["params"])
    assert (best["arch_id"], result["chosen_by"]) == (leader["arch_id"], "validation")
    assert (best["accuracy"]["mean"], best["validation"]["mean"]) == (0.8, leader["validation_accuracy"])
    assert max(item["accuracy"] for item in networks) == 0.9  # the test accuracy would have chosen another
    assert best["predicted"] == leader["predicted"]
    assert {item["arch_id"] for item in confirming} == {leader["arch_id"]}
    assert best["confirmed"]["n"] == 2
    random = next(item for item in first if item["role"] == "random")
    assert result["against_random"] == {
        "n": 1,
        "value": pytest.approx(best["confirmed"]["mean"] - random["accuracy"]),
        "low": None,
        "high": None,
    }
    assert [one["role"] for one in result["against_controls"]] == ["spend", "most_nn_mass", "most_macs", "most_params"]
    by_id = {item["arch_id"]: item for item in networks}
    for one in result["against_controls"]:
        assert one["arch_id"] == choices[0]["controls"][one["role"]]
        assert one["accuracy"] == by_id[one["arch_id"]]["accuracy"]
        itself = one["arch_id"] == best["arch_id"]
        assert one["value"] == pytest.approx(0 if itself else best["confirmed"]["mean"] - one["accuracy"])
    said = result["statement"]
    assert f"chosen by {100 * leader['validation_accuracy']:.1f} % on the validation images" in said
    assert said.index("than one random network near the budget") < said.index("most NN-Mass")


def test_a_step_that_is_repeated_chooses_the_same(client: TestClient, worker: Context) -> None:
    campaign_id = submit(client, trainings=8, rounds=2)["id"]
    for _ in range(2):
        with worker.database.read() as session:
            standing = steps.standing_of(session, UUID(campaign_id))
        again = [planning.next_trainings(standing, Control()) for _ in range(2)]
        step(worker)
        stored = show(client, campaign_id)["items"][len(standing.chosen) :]
        train(worker, 4)
        assert again[0] == again[1]
        assert [one.architecture.arch_id for one in again[0].chosen] == [item["arch_id"] for item in stored]
        assert [one.predicted for one in again[0].chosen] == [item["predicted"] for item in stored]


def test_too_few_results_are_said_and_spend_the_budget(client: TestClient, worker: Context) -> None:
    ended = run(client, worker, [2, 1, 1], trainings=4, rounds=3, confirm=0)
    assert [item["role"] for item in ended["items"][2:]] == ["spend", "spend"]
    assert [one["fit"] for one in ended["choices"]] == [None] * 3
    assert {item["predicted"] is None for item in ended["items"]} == {True}
    said = ended["result"]["statement"]
    assert "Rounds 2, 3 trained networks that spend the budget: too few results to predict." in said


def test_known_networks_are_evidence_at_no_cost(client: TestClient, worker: Context) -> None:
    first = run(client, worker, [4, 4], trainings=8, rounds=2, confirm=0)
    inside = {item["arch_id"]: item for item in first["items"]}
    narrow = PLANNED["search"] | {"budget": {"max_params": 2000}}
    ended = run(client, worker, [2, 2], trainings=4, rounds=2, confirm=0)
    known = {item["arch_id"]: item for item in ended["items"] if item["known"]}
    assert {*known} == {*inside}
    assert {item["role"] for item in known.values()} - CONTROLS == {"known"}
    assert {item["role"] for item in known.values()} & CONTROLS
    for arch_id, item in known.items():
        assert (item["verification"], item["round"]) == (inside[arch_id]["verification"], 1)
        if item["role"] != "known":
            assert ended["choices"][0]["controls"][item["role"]] == arch_id
    assert (ended["result"]["trained"], ended["result"]["known"]) == (4, 8)
    assert ended["choices"][1]["fit"]["networks"] == 10
    below = run(client, worker, [2, 2], search=narrow, trainings=4, rounds=2, confirm=0)
    smaller = {item["arch_id"] for item in ended["items"] if item["params"] <= 2000}
    assert {item["arch_id"] for item in below["items"] if item["known"]} == smaller
    assert max(item["params"] for item in below["items"]) <= 2000


def test_trainings_that_ended_after_a_campaign_was_submitted_have_no_part_in_its_choices(
    client: TestClient, worker: Context
) -> None:
    waiting = submit(client, trainings=4, rounds=2, confirm=0)["id"]
    assert search_tasks.run_next(worker)
    calm = show(client, waiting)["items"]
    later = client.post("/v1/verifications", json=_own(client, worker, calm[0]["arch_id"])).json()
    assert later["status"] == "queued"
    train(worker, 3)
    step(worker)
    assert {item["known"] for item in show(client, waiting)["items"]} == {False}


def _own(client: TestClient, worker: Context, but: str) -> dict[str, Any]:
    """Return a training of another network by the recipe of the campaigns."""
    search_id = client.post("/v1/searches", json=SEARCH | {"top_k": 40}).json()["id"]
    assert search_tasks.run_next(worker)
    ranked = get(client, f"/v1/searches/{search_id}/architectures", limit=40)["items"]
    network = next(item for item in ranked if item["arch_id"] != but)
    recipe = {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 64, "epochs": 20, "validation": 0.1}
    return {"architecture": network["architecture"], "dataset": "digits", "recipe": recipe, "seeds": [0]}


def test_an_excluded_network_is_not_chosen(client: TestClient, worker: Context) -> None:
    first = run(client, worker, [4], trainings=4, rounds=1, confirm=0)
    excluded = first["choices"][0]["controls"]["most_macs"]
    network = get(client, f"/v1/architectures/{excluded}")["architecture"]
    search = PLANNED["search"] | {"exclude": [network]}
    ended = run(client, worker, [4, 4], search=search, trainings=8, rounds=2, confirm=0)
    assert excluded not in {item["arch_id"] for item in ended["items"]}
    assert excluded not in ended["choices"][0]["controls"].values()
