"""Campaigns through the API; trainings end as a worker would have ended them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from app.campaigns import planning
from app.jobs import lifecycle, rounds
from app.storage.models import Campaign, CampaignTraining, Job, Verification
from tests.api import trainings
from tests.api.test_verifications import SEARCH, get, problems
from tests.conftest import SQLITE, Backend
from worker import search_tasks
from worker.process import Context

QUESTION = {name: value for name, value in SEARCH.items() if name != "top_k"}
BODY: dict[str, Any] = {
    "search": QUESTION,
    "strategy": "top",
    "trainings": 4,
    "confirm": 2,
    "rounds": 2,
    "validation": 0,
    "dataset": "digits",
    "recipe": "mlp-paper",
}
PLANNED: dict[str, Any] = {name: value for name, value in BODY.items() if name not in {"strategy", "validation"}}

on_sqlite = pytest.mark.parametrize("backend", [SQLITE], indirect=True)
"""For what does not depend on the database."""


def submit(client: TestClient, **changes: Any) -> str:
    answer = client.post("/v1/campaigns", json=BODY | changes)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/campaigns/{answer.json()['id']}"
    return str(answer.json()["id"])


def show(client: TestClient, campaign_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = get(client, f"/v1/campaigns/{campaign_id}")
    return answer


def step(worker: Context) -> None:
    """Do the next step of the campaign whose trainings have ended."""
    rounds.advance(worker.database)
    assert search_tasks.run_next(worker)


def train(worker: Context, hits: list[int], validated: list[float] | None = None) -> None:
    """End the queued trainings, oldest first, each with the given number of 10 images right at its seed.

    validated: their accuracies on validation images, if there are any.
    """
    for number, count in enumerate(hits):
        held = trainings.claim(worker.database)
        with worker.database.read() as session:
            seeds = session.get_one(Verification, held.job_id).seeds
        on_validation = None if validated is None else validated[number]
        trainings.finish(worker.database, held, dict.fromkeys(seeds, count), on_validation)


def test_a_campaign_trains_in_rounds_confirms_the_leader_and_answers(client: TestClient, worker: Context) -> None:
    campaign_id = submit(client)
    first = show(client, campaign_id)
    assert (first["status"], first["items"], first["result"]) == ("queued", [], None)
    assert first["search"]["budget"] == QUESTION["budget"] | {"precision": "fp32"}
    step(worker)
    begun = show(client, campaign_id)
    assert (begun["status"], begun["waiting"]) == ("running", None)
    assert begun["progress"]["message"] == "round 1: 0 of 2 trainings have ended"
    assert [(item["round"], item["role"], item["status"]) for item in begun["items"]] == [(1, "ranked", "queued")] * 2
    assert not search_tasks.run_next(worker)  # it holds no worker
    train(worker, [6])
    rounds.advance(worker.database)
    assert show(client, campaign_id)["progress"] == {
        "fraction": pytest.approx(1 / 6),
        "message": "round 1: 1 of 2 trainings have ended",
    }
    train(worker, [9])
    step(worker)
    train(worker, [8, 7])
    step(worker)
    confirming = show(client, campaign_id)["items"][4:]
    assert [(item["role"], item["seeds"]) for item in confirming] == [("confirm", [1]), ("confirm", [2])]
    train(worker, [8, 7])
    step(worker)
    ended = show(client, campaign_id)
    assert (ended["status"], ended["progress"]["fraction"]) == ("succeeded", 1.0)
    items, best = ended["items"], ended["result"]["best"]
    assert [item["accuracy"] for item in items] == [0.6, 0.9, 0.8, 0.7, 0.8, 0.7]
    assert {item["arch_id"] for item in items[4:]} == {items[1]["arch_id"]} == {best["arch_id"]}
    assert best["verification"] == items[1]["verification"]
    assert (best["accuracy"]["mean"], best["accuracy"]["n"], best["accuracy"]["low"]) == (0.9, 1, None)
    assert (best["confirmed"]["mean"], best["confirmed"]["n"]) == (pytest.approx(0.75), 2)
    assert ended["result"] | {"best": None, "statement": ""} == {
        "best": None,
        "chosen_by": "test",
        "against_random": None,
        "against_controls": [],
        "trained": 4,
        "known": 0,
        "without_accuracy": 0,
        "statement": "",
    }
    ranking = client.post("/v1/searches", json=SEARCH | {"top_k": 4}).json()["id"]
    assert search_tasks.run_next(worker)
    ranked = get(client, f"/v1/searches/{ranking}/architectures")["items"]
    assert [item["arch_id"] for item in items[:4]] == [item["arch_id"] for item in ranked]
    roles = {item["role"] for item in get(client, "/v1/verifications")["items"]}
    assert roles == {"campaign"}


def test_networks_that_were_trained_before_are_free(client: TestClient, worker: Context) -> None:
    search_id = client.post("/v1/searches", json=SEARCH).json()["id"]
    assert search_tasks.run_next(worker)
    training = {"dataset": "digits", "recipe": "mlp-paper", "seeds": [0, 1]}
    known = client.post("/v1/verifications", json=training | {"search": search_id, "top": 2}).json()["items"]
    train(worker, [9, 5])
    other = client.post("/v1/verifications", json=training | {"search": search_id, "top": 1, "adapt": False}).json()
    train(worker, [1])
    campaign_id = submit(client, trainings=2, rounds=1, confirm=2)
    step(worker)
    items = show(client, campaign_id)["items"]
    assert [item["known"] for item in items] == [True, True, False, False]
    assert [item["verification"] for item in items[:2]] == [one["id"] for one in known]
    assert other["items"][0]["id"] not in {item["verification"] for item in items}
    train(worker, [7, 7])
    step(worker)
    confirming = show(client, campaign_id)["items"][4:]
    assert [(item["seeds"], item["known"]) for item in confirming] == [([1], True), ([2], False)]
    train(worker, [8])
    step(worker)
    result = show(client, campaign_id)["result"]
    assert (result["trained"], result["known"], result["best"]["confirmed"]["mean"]) == (2, 2, pytest.approx(0.85))


@on_sqlite
def test_a_network_that_another_owner_trained_is_trained(client: TestClient, worker: Context) -> None:
    first = submit(client, trainings=1, rounds=1, confirm=0)
    step(worker)
    train(worker, [9])
    step(worker)
    with worker.database.write() as session:
        session.execute(update(Job).values(owner="another"))
    assert client.get(f"/v1/campaigns/{first}").status_code == 404
    campaign_id = submit(client, trainings=1, rounds=1, confirm=0)
    step(worker)
    assert [item["known"] for item in show(client, campaign_id)["items"]] == [False]


@on_sqlite
def test_a_round_of_known_networks_alone_goes_on_at_once(client: TestClient, worker: Context) -> None:
    small = QUESTION | {"space": QUESTION["space"] | {"depth": 4, "skip_channels": {"min": 0, "max": 2}}}
    body = {"search": small, "trainings": 9, "rounds": 1, "confirm": 0}
    first = submit(client, **body)
    step(worker)
    train(worker, [5] * len(show(client, first)["items"]))
    step(worker)
    second = submit(client, **body)
    for _ in range(2):  # the round of known networks, then the answer: nothing has to be waited for
        assert search_tasks.run_next(worker)
    ended = show(client, second)
    assert (ended["status"], ended["result"]["trained"]) == ("succeeded", 0)
    assert ended["result"]["known"] == len(ended["items"]) == len(show(client, first)["items"]) > 2


@on_sqlite
def test_random_networks_are_near_the_budget_and_compared_with(client: TestClient, worker: Context) -> None:
    campaign_id = submit(client, strategy="random", trainings=7, rounds=2, confirm=1)
    step(worker)
    train(worker, [5, 5, 5, 5])
    step(worker)
    train(worker, [9, 6, 5])
    step(worker)
    train(worker, [8])
    step(worker)
    ended = show(client, campaign_id)
    networks = ended["items"][:7]
    assert {item["role"] for item in networks} == {"random"}
    assert len({item["arch_id"] for item in networks}) == 7
    assert all(0.9 * 2500 <= item["params"] <= 2500 for item in networks)
    against = ended["result"]["against_random"]
    assert (against["n"], against["value"]) == (6, pytest.approx(0.8 - 3.1 / 6))  # by the further seed, not the 0.9
    assert against["low"] < against["value"] < against["high"]
    assert "28.3 points more than 6 random networks near the budget" in ended["result"]["statement"]


def test_a_training_without_an_accuracy_is_shown_and_does_not_stop_the_campaign(
    client: TestClient, worker: Context
) -> None:
    campaign_id = submit(client, trainings=3, rounds=1, confirm=0)
    step(worker)
    held = trainings.claim(worker.database)
    with worker.database.write() as session:
        assert lifecycle.fail(session, held, "diverged", "the loss is not a number")
    train(worker, [6, 7])
    excluded = show(client, campaign_id)["items"][2]["verification"]
    assert client.patch(f"/v1/verifications/{excluded}", json={"excluded": True}).status_code == 200
    assert client.delete(f"/v1/verifications/{held.job_id}").status_code == 204
    step(worker)
    ended = show(client, campaign_id)
    assert [(item["status"], item["accuracy"]) for item in ended["items"]] == [
        (None, None),
        ("succeeded", 0.6),
        ("succeeded", None),
    ]
    assert (ended["result"]["best"]["accuracy"]["mean"], ended["result"]["without_accuracy"]) == (0.6, 2)


@on_sqlite
def test_a_campaign_without_any_accuracy_says_so(client: TestClient, worker: Context) -> None:
    campaign_id = submit(client, trainings=1, rounds=1)
    step(worker)
    item = show(client, campaign_id)["items"][0]
    assert client.post(f"/v1/verifications/{item['verification']}/cancel").status_code == 200
    step(worker)
    result = show(client, campaign_id)["result"]
    assert (result["best"], result["statement"]) == (None, "No network was measured: no training has succeeded.")


def test_canceling_a_campaign_cancels_its_trainings_and_no_others(client: TestClient, worker: Context) -> None:
    campaign_id = submit(client)
    step(worker)
    other = submit(client, seeds=[5])
    step(worker)
    ran = trainings.claim(worker.database)
    cancelled = client.post(f"/v1/campaigns/{campaign_id}/cancel").json()
    assert (cancelled["status"], [item["status"] for item in cancelled["items"]]) == ("cancelled", ["cancelled"] * 2)
    with worker.database.write() as session:
        assert not lifecycle.holds(session, ran)
    assert [item["status"] for item in show(client, other)["items"]] == ["queued"] * 2
    rounds.advance(worker.database)
    assert not search_tasks.run_next(worker)  # it is over
    assert client.post(f"/v1/campaigns/{campaign_id}/cancel").json()["status"] == "cancelled"


def test_a_paused_campaign_begins_nothing_new(client: TestClient, worker: Context) -> None:
    campaign_id = submit(client)
    assert client.post(f"/v1/campaigns/{campaign_id}/pause").json()["paused"]
    step(worker)  # a worker takes it, and gives it back
    assert (show(client, campaign_id)["status"], show(client, campaign_id)["items"]) == ("running", [])
    rounds.advance(worker.database)
    assert not search_tasks.run_next(worker)
    assert not client.post(f"/v1/campaigns/{campaign_id}/resume").json()["paused"]
    step(worker)
    assert client.post(f"/v1/campaigns/{campaign_id}/pause").status_code == 200
    train(worker, [6, 7])
    rounds.advance(worker.database)
    paused = show(client, campaign_id)
    assert (paused["status"], paused["progress"]["message"]) == (
        "running",
        "paused; round 1: 2 of 2 trainings have ended",
    )
    assert not search_tasks.run_next(worker)
    assert client.post(f"/v1/campaigns/{campaign_id}/resume").json()["status"] == "queued"
    assert search_tasks.run_next(worker)
    assert [item["round"] for item in show(client, campaign_id)["items"]] == [1, 1, 2, 2]
    client.post(f"/v1/campaigns/{campaign_id}/cancel")
    for path in ("pause", "resume"):
        assert client.post(f"/v1/campaigns/{campaign_id}/{path}").status_code == 409


def test_the_number_of_trainings_changes_for_the_rounds_that_have_not_begun(
    client: TestClient, worker: Context
) -> None:
    campaign_id = submit(client)
    step(worker)
    answer = client.patch(f"/v1/campaigns/{campaign_id}", json={"trainings": 5})
    assert (answer.status_code, answer.json()["trainings"]) == (200, 5)
    assert client.patch(f"/v1/campaigns/{campaign_id}", json={}).json()["trainings"] == 5
    train(worker, [6, 7])
    step(worker)
    assert [item["round"] for item in show(client, campaign_id)["items"]] == [1, 1, 2, 2, 2]
    assert client.patch(f"/v1/campaigns/{campaign_id}", json={"trainings": 9}).status_code == 409
    assert problems(client.patch(f"/v1/campaigns/{campaign_id}", json={"trainings": 0})) == [("trainings", "too_small")]


def test_deleting_a_campaign_keeps_its_trainings(client: TestClient, worker: Context, backend: Backend) -> None:
    campaign_id = submit(client)
    step(worker)
    assert client.delete(f"/v1/campaigns/{campaign_id}").status_code == 409
    client.post(f"/v1/campaigns/{campaign_id}/cancel")
    assert client.delete(f"/v1/campaigns/{campaign_id}").status_code == 204
    assert client.get(f"/v1/campaigns/{campaign_id}").status_code == 404
    with backend.database.read() as session:
        assert session.scalars(select(CampaignTraining)).all() == []
    assert len(get(client, "/v1/verifications")["items"]) == 2


def test_campaigns_are_listed_and_filtered(client: TestClient, worker: Context) -> None:
    ids = [submit(client, trainings=n) for n in (1, 2, 3)]
    step(worker)
    page = get(client, "/v1/campaigns", limit=2)
    assert [item["id"] for item in page["items"]] == ids[:0:-1]
    rest = get(client, "/v1/campaigns", limit=2, cursor=page["next_cursor"])
    assert ([item["id"] for item in rest["items"]], rest["next_cursor"]) == (ids[:1], None)
    assert [item["id"] for item in get(client, "/v1/campaigns", status="running")["items"]] == ids[:1]
    assert get(client, "/v1/campaigns", family="resnet")["items"] == []
    assert len(get(client, "/v1/campaigns", family="densenet_mlp", created_after="2020-01-01T00:00:00Z")["items"]) == 3


@on_sqlite
def test_the_events_of_a_campaign_end_with_the_campaign(client: TestClient, worker: Context) -> None:
    campaign_id = submit(client, trainings=1, rounds=1, confirm=0)
    step(worker)
    train(worker, [6])
    step(worker)
    with client.stream("GET", f"/v1/campaigns/{campaign_id}/events") as stream:
        said = stream.read().decode()
    assert said.count("event: status") == 4  # submitted, claimed, and for the answer queued and claimed again
    assert f'"id":"{campaign_id}"' in said.rpartition("event: done")[2]


@on_sqlite
def test_a_repeat_with_the_same_idempotency_key_is_the_same_campaign(client: TestClient) -> None:
    answers = [client.post("/v1/campaigns", json=BODY, headers={"Idempotency-Key": "one"}).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(get(client, "/v1/campaigns")["items"]) == 1


@on_sqlite
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"search": QUESTION | {"top_k": 3}}, [("search.top_k", "not_applicable")]),
        ({"search": QUESTION | {"first_rank": 3}}, [("search.first_rank", "not_applicable")]),
        (
            {"search": QUESTION | {"objective": {"pareto": ["nn_mass", "macs"]}}},
            [("search.objective", "not_a_ranking")],
        ),
        ({"search": QUESTION | {"budget": {"max_params": -1}}}, [("search.budget.max_params", "too_small")]),
        ({"search": QUESTION | {"budget": {}}, "strategy": "random"}, [("search.budget", "no_limits")]),
        ({"search": QUESTION | {"budget": {}}, "strategy": "spread-fit-confirm"}, [("search.budget", "no_limits")]),
        (
            {"search": QUESTION | {"objective": {"minimize": "macs"}}, "strategy": "spread-fit-confirm"},
            [("search.objective", "not_applicable")],
        ),
        ({"search": QUESTION | {"space": "densenet-tiny"}}, [("dataset", "shape_mismatch")]),
        ({"dataset": "nothing"}, [("dataset", "unknown_dataset")]),
        ({"seeds": [1, 1]}, [("seeds", "duplicate")]),
        ({"trainings": 0}, [("trainings", "too_small")]),
        ({"confirm": 21}, [("confirm", "too_large")]),
        ({"rounds": 0}, [("rounds", "too_small")]),
        ({"validation": 0.6}, [("validation", "too_large")]),
        ({"validation": 0.001}, [("validation", "too_small")]),
        ({"strategy": "best"}, [("strategy", "unknown_choice")]),
        ({"halving": True}, [("halving", "unknown_field")]),
    ],
)
def test_what_is_wrong_with_a_campaign_names_its_field(
    client: TestClient, changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert problems(client.post("/v1/campaigns", json=BODY | changes)) == expected


@on_sqlite
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"search": QUESTION | {"budget": {"max_params": 10}}}, "nothing_fits"),
        ({"search": QUESTION | {"budget": {"max_params": 10}}, "strategy": "random"}, "nothing_fits"),
        ({"search": QUESTION | {"budget": {"max_params": 10}}, "strategy": "spread-fit-confirm"}, "nothing_fits"),
        ({"recipe": {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 1, "epochs": 1}}, None),
    ],
)
def test_a_campaign_whose_space_has_no_network_fails(
    client: TestClient, worker: Context, changes: dict[str, Any], code: str | None
) -> None:
    campaign_id = submit(client, **changes)
    step(worker)
    found = show(client, campaign_id)
    assert (found["error"] or {}).get("code") == code
    assert found["status"] == ("running" if code is None else "failed")


@on_sqlite
def test_a_request_that_another_release_stored_fails_the_campaign(client: TestClient, worker: Context) -> None:
    campaign_id = submit(client)
    with worker.database.write() as session:
        session.execute(update(Campaign).where(Campaign.id == UUID(campaign_id)).values(request_version=99))
    step(worker)
    assert show(client, campaign_id)["error"]["code"] == "unknown_version"


def test_a_campaign_that_was_cancelled_while_it_chose_stores_nothing(
    client: TestClient, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = submit(client)
    choose = planning.next_trainings

    def cancel_meanwhile(*args: Any) -> Any:
        assert client.post(f"/v1/campaigns/{campaign_id}/cancel").status_code == 200
        return choose(*args)

    monkeypatch.setattr(planning, "next_trainings", cancel_meanwhile)
    step(worker)
    assert (show(client, campaign_id)["status"], show(client, campaign_id)["items"]) == ("cancelled", [])
    with worker.database.read() as session:
        assert session.scalars(select(Job.id).where(Job.kind == "verification")).all() == []
