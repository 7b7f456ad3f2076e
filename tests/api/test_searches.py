"""Searches through the API, run by a worker's own code, on both backends."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import Invalid
from app.http.idempotency import Submission, fingerprint_of, once
from app.jobs import lifecycle
from app.searches import service
from app.searches.schemas import EXAMPLE, Question
from nnmass_core.certificate import SearchResult
from nnmass_core.engine.control import Control
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from tests.conftest import Backend
from worker import search_tasks
from worker.process import Context

SMALL = {"space": "densenet-tiny-free", "budget": {"max_params": 100_000}}


def post(client: TestClient, body: Any, **headers: str) -> Any:
    return client.post("/v1/searches", json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def test_the_documented_example_has_the_documented_answer(client: TestClient, worker: Context) -> None:
    answer = post(client, EXAMPLE)
    assert answer.status_code == 202
    search = answer.json()
    assert answer.headers["Location"] == f"/v1/searches/{search['id']}"
    assert (search["status"], search["result"], search["name"], search["tags"]) == (
        "queued",
        None,
        "camera v2",
        ["edge"],
    )

    assert search_tasks.run_next(worker)
    search = client.get(answer.headers["Location"]).json()
    result = search["result"]
    assert (search["status"], search["attempts"], search["progress"]["fraction"]) == ("succeeded", 1, 1.0)
    assert (result["count"], result["optimal"], result["gap"], result["feasible"]) == (10, True, 0.0, True)
    assert (
        result["objective_value"] == result["bound"] == result["upper_bound"] == pytest.approx(784.1333333333333, 1e-12)
    )
    assert result["space_size"] == "170252539265024"
    assert result["binding"] == ["max_params", "max_macs"]
    assert result["relaxation"] is None
    assert result["caveats"] == ["widths_differ", "density_above_evidence"]
    assert search["result_digest"].startswith("sha256:")


def test_the_ranking_is_paged_in_order(client: TestClient, worker: Context) -> None:
    search = post(client, SMALL | {"top_k": 7}).json()
    url = f"/v1/searches/{search['id']}/architectures"
    assert client.get(url).json() == {"items": [], "next_cursor": None}
    search_tasks.run_next(worker)

    pages = [client.get(url, params={"limit": 3}).json()]
    while pages[-1]["next_cursor"]:
        pages.append(client.get(url, params={"limit": 3, "cursor": pages[-1]["next_cursor"]}).json())
    items = [item for page in pages for item in page["items"]]
    assert [len(page["items"]) for page in pages] == [3, 3, 1]
    assert [item["rank"] for item in items] == list(range(1, 8))
    assert [item["nn_mass"] for item in items] == sorted((item["nn_mass"] for item in items), reverse=True)
    for item in items:
        assert item["slack"] == {"max_params": 100_000 - item["params"]}
        assert item["unused"] == {"max_params": pytest.approx(1 - item["params"] / 100_000)}
        assert item["params"] <= 100_000
        assert item["predicted_accuracy"] is None
        assert len(item["cells"]) == len(item["architecture"]["cells"]) == 2
    evaluated = client.post("/v1/architectures/evaluate", json={"architectures": [i["architecture"] for i in items]})
    for item, figures in zip(items, evaluated.json()["results"], strict=True):
        assert {key: item[key] for key in figures} == figures


LABELS: dict[str, Any] = {"name": "camera", "tags": ["a", "b"], "note": "for A"}


def test_an_equal_request_with_the_same_labels_is_the_same_search(client: TestClient, worker: Context) -> None:
    first = post(client, SMALL | LABELS).json()
    waiting = post(client, SMALL | LABELS)
    assert (waiting.status_code, waiting.json()) == (202, first | {"reused": True})
    search_tasks.run_next(worker)
    done = post(client, SMALL | LABELS | {"tags": ["a", "b", "a"]})
    assert (done.status_code, done.json()["id"], done.json()["reused"]) == (200, first["id"], True)
    assert (done.json()["result"]["optimal"], done.json()["reused_from"]) == (True, None)
    assert not search_tasks.run_next(worker)

    other = post(client, SMALL | LABELS | {"top_k": 11}).json()
    fresh = post(client, SMALL | LABELS | {"fresh": True}).json()
    assert len({first["id"], other["id"], fresh["id"]}) == 3
    assert (fresh["reused"], fresh["reused_from"]) == (False, None)
    assert fresh["request_digest"] == first["request_digest"]


def test_a_result_by_other_rules_of_costs_is_not_reused(client: TestClient, worker: Context) -> None:
    with pytest.MonkeyPatch.context() as before:
        before.setattr("nnmass_core.request.RULES", 1)
        old = post(client, SMALL).json()
        search_tasks.run_next(worker)
    new = post(client, SMALL).json()
    assert (new["reused"], new["id"] == old["id"], new["status"]) == (False, False, "queued")
    assert client.get(f"/v1/searches/{old['id']}").json()["status"] == "succeeded"


def test_a_search_is_kept_under_the_rules_that_answered_it(client: TestClient, worker: Context) -> None:
    with pytest.MonkeyPatch.context() as before:
        before.setattr("nnmass_core.request.RULES", 1)
        waiting = post(client, SMALL).json()
    search_tasks.run_next(worker)
    again = post(client, SMALL).json()
    assert (again["reused"], again["id"]) == (True, waiting["id"])
    assert again["request_digest"] != waiting["request_digest"]


@pytest.mark.parametrize(
    "labels",
    [
        {"name": "camera B"},
        {"note": ""},
        {"tags": []},
        {"tags": ["a"]},
        {"tags": ["b", "a"]},
        {"tags": ["a", "b", "c"]},
    ],
)
def test_an_equal_request_with_other_labels_is_a_search_of_its_own_with_the_same_result(
    client: TestClient, worker: Context, monkeypatch: pytest.MonkeyPatch, labels: dict[str, Any]
) -> None:
    first = post(client, SMALL | LABELS).json()
    search_tasks.run_next(worker)
    first = client.get(f"/v1/searches/{first['id']}").json()
    monkeypatch.setattr(search_tasks, "search", None)  # nothing is computed again
    answer = post(client, SMALL | LABELS | labels, Idempotency_Key="k", Prefer="wait=5")
    second = answer.json()
    assert (answer.status_code, second["id"] != first["id"], second["status"]) == (200, True, "succeeded")
    assert (second["reused"], second["reused_from"], second["attempts"]) == (True, first["id"], 0)
    for name, value in (LABELS | labels).items():
        assert second[name] == value
    for name in ("result", "result_digest", "request", "core_version"):
        assert second[name] == first[name]
    assert client.get(answer.headers["Location"]).json() == second
    assert post(client, SMALL | LABELS | labels, Idempotency_Key="k").json() == second
    assert post(client, SMALL | LABELS | labels).json() == second
    third = post(client, SMALL | {"name": "another"}).json()
    assert third["reused_from"] == first["id"]

    assert client.delete(f"/v1/searches/{first['id']}").status_code == 204
    assert client.get(f"/v1/searches/{second['id']}").json() == second
    items = client.get(f"/v1/searches/{second['id']}/architectures").json()["items"]
    assert [item["rank"] for item in items] == list(range(1, 11))
    assert not search_tasks.run_next(worker)
    events = client.get(f"/v1/searches/{second['id']}/events").text
    assert events.count("event: done") == events.count("event: ") == 1


def test_a_search_of_its_own_waits_for_an_equal_one_and_takes_its_result(
    client: TestClient, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[SearchRequest] = []

    def compute(request: SearchRequest, control: Control) -> SearchResult:
        computed.append(request)
        return search(request, control)

    monkeypatch.setattr(search_tasks, "search", compute)
    first = post(client, SMALL | {"name": "A"}).json()
    second, third = (post(client, SMALL | {"name": name}) for name in "BC")
    for answer in (second, third):
        assert (answer.status_code, answer.json()["status"], answer.json()["reused"]) == (202, "queued", True)
        assert answer.json()["reused_from"] == first["id"]
    with worker.database.write() as session:
        held = lifecycle.claim(session, "search", "test/2", 60.0)
        assert held is not None
        assert str(held.job_id) == first["id"]
    assert not search_tasks.run_next(worker), "the others wait while the first runs"
    with worker.database.write() as session:
        assert not lifecycle.queued(session, "search")
        lifecycle.release(session, held)

    for _ in range(3):
        assert search_tasks.run_next(worker)
    done = [client.get(f"/v1/searches/{one['id']}").json() for one in (first, second.json(), third.json())]
    assert [search["status"] for search in done] == ["succeeded"] * 3
    assert [search["reused_from"] for search in done] == [None, first["id"], first["id"]]
    assert done[0]["result"] == done[1]["result"] == done[2]["result"]
    assert len(computed) == 1


@pytest.mark.parametrize("end", ["cancel", "delete", "fail"])
def test_a_search_whose_source_gives_no_result_runs_itself(client: TestClient, worker: Context, end: str) -> None:
    first = post(client, SMALL | {"name": "A"}).json()
    second = post(client, SMALL | {"name": "B"}).json()
    if end == "cancel":
        client.post(f"/v1/searches/{first['id']}/cancel")
    elif end == "delete":
        client.delete(f"/v1/searches/{first['id']}")
    else:
        with worker.database.write() as session:
            held = lifecycle.claim(session, "search", "test/1", 15.0)
            assert held is not None
            assert lifecycle.fail(session, held, "out_of_memory", "too little")
    assert search_tasks.run_next(worker)
    done = client.get(f"/v1/searches/{second['id']}").json()
    assert (done["status"], done["reused"], done["reused_from"]) == ("succeeded", False, None)
    assert done["result"]["optimal"]


def test_a_preset_and_its_definition_are_the_same_request(client: TestClient) -> None:
    definition = client.get("/v1/spaces/densenet-tiny-free").json()
    assert post(client, SMALL).json()["id"] == post(client, SMALL | {"space": definition}).json()["id"]


def test_a_cancelled_search_is_not_reused_and_not_run(client: TestClient, worker: Context) -> None:
    first = post(client, SMALL).json()
    cancelled = client.post(f"/v1/searches/{first['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["finished_at"] is not None
    assert not search_tasks.run_next(worker)
    second = post(client, SMALL).json()
    assert second["id"] != first["id"]


def test_cancelling_an_ended_search_changes_nothing(client: TestClient, worker: Context) -> None:
    first = post(client, SMALL).json()
    search_tasks.run_next(worker)
    before = client.get(f"/v1/searches/{first['id']}").json()
    cancelled = client.post(f"/v1/searches/{first['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()) == (200, before)


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_a_failed_or_cancelled_search_is_retried(client: TestClient, worker: Context, end: str) -> None:
    first = post(client, SMALL).json()
    path = f"/v1/searches/{first['id']}"
    if end == "cancelled":
        client.post(f"{path}/cancel")
    else:
        with worker.database.write() as session:
            held = lifecycle.claim(session, "search", "test/1", 15.0)
            assert held is not None
            assert lifecycle.fail(session, held, "out_of_memory", "too little")
    assert client.get(path).json()["status"] == end

    again = client.post(f"{path}/retry")
    search = again.json()
    assert (again.status_code, search["status"], search["attempts"]) == (202, "queued", 0)
    assert (search["error"], search["started_at"], search["finished_at"]) == (None, None, None)
    unchanged = client.post(f"{path}/retry")
    assert (unchanged.status_code, unchanged.json()) == (200, search)
    assert post(client, SMALL).json()["id"] == first["id"]

    assert search_tasks.run_next(worker)
    done = client.get(path).json()
    assert (done["status"], done["attempts"], done["result"]["optimal"]) == ("succeeded", 1, True)
    refused = client.post(f"{path}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert client.get(path).json() == done


def test_the_ranks_that_follow_are_searched_once(client: TestClient, worker: Context) -> None:
    said = {"name": "ranks", "tags": ["edge"], "note": "for revision C"}
    first = post(client, SMALL | {"top_k": 3} | said).json()
    path = f"/v1/searches/{first['id']}"
    early = client.post(f"{path}/next")
    assert (early.status_code, early.json()["code"]) == (409, "wrong_state")
    assert "no ranking yet" in early.json()["detail"]
    assert search_tasks.run_next(worker)

    made = client.post(f"{path}/next", headers={"Idempotency-Key": "following"})
    search = made.json()
    assert (made.status_code, search["status"], search["reused"]) == (202, "queued", False)
    assert made.headers["Location"] == f"/v1/searches/{search['id']}"
    assert (search["request"]["first_rank"], search["request"]["top_k"]) == (4, 3)
    assert {name: search[name] for name in said} == said
    assert client.post(f"{path}/next", headers={"Idempotency-Key": "following"}).json() == search
    assert search_tasks.run_next(worker)
    again = client.post(f"{path}/next")
    assert (again.status_code, again.json()["id"], again.json()["reused"]) == (200, search["id"], True)
    assert not search_tasks.run_next(worker)
    whole = post(client, SMALL | {"top_k": 6}).json()
    assert search_tasks.run_next(worker)
    of_both = [item for one in (first, search) for item in ranks(client, one["id"])]
    assert of_both == ranks(client, whole["id"])


def ranks(client: TestClient, search_id: str) -> list[Any]:
    items = client.get(f"/v1/searches/{search_id}/architectures").json()["items"]
    return [(item["rank"], item["arch_id"]) for item in items]


@pytest.mark.parametrize(
    "change",
    [
        {"objective": {"pareto": ["nn_mass", "params"]}},
        {"budget": {"max_params": 3_000}, "top_k": 1000},
        {"first_rank": 9_998, "top_k": 3},
    ],
)
def test_no_ranks_follow_a_front_a_short_ranking_and_the_last_rank(
    client: TestClient, worker: Context, change: dict[str, Any]
) -> None:
    made = post(client, SMALL | change).json()
    assert search_tasks.run_next(worker)
    refused = client.post(f"/v1/searches/{made['id']}/next")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert "no ranks follow" in refused.json()["detail"]


def test_several_spaces_are_one_search(client: TestClient, worker: Context) -> None:
    spaces = ["resnet-tiny-free", "mobilenet-v2-tiny-free"]
    asked = {"space": spaces, "budget": {"max_params": 200_000, "max_macs": 20_000_000}, "top_k": 3}
    path = f"/v1/searches/{post(client, asked).json()['id']}"
    assert search_tasks.run_next(worker)
    found = client.get(path).json()
    assert (found["family"], found["outcome"]) == ("several", "proved")
    assert found["request"]["space"] == [client.get(f"/v1/spaces/{name}").json() for name in spaces]
    shares = [(one["space"], one["networks"], one["count"]) for one in found["result"]["spaces"]]
    assert shares == [(1, "28672", 0), (2, "34836480", 3)]
    assert (found["result"]["space_size"], found["result"].get("space_size_exact")) == ("34865152", None)
    assert [item["space"] for item in client.get(f"{path}/architectures").json()["items"]] == [2, 2, 2]
    lines = client.get(f"{path}/export?format=csv").text.splitlines()
    assert [lines[0].split(",")[:3], lines[1].split(",")[:2]] == [["rank", "space", "arch_id"], ["1", "2"]]
    assert [item["id"] for item in client.get("/v1/searches?family=several").json()["items"]] == [found["id"]]
    following = client.post(f"{path}/next").json()
    assert following["request"]["space"] == found["request"]["space"]
    for wrong, field in (
        ({"space": ["resnet-tiny-free", "densenet-tiny-free"]}, "space.1"),
        ({"space": [*spaces, {"family": "resnet"}]}, "space.2.input"),
        ({"diversity": "shape"}, "diversity"),
    ):
        refused = post(client, asked | wrong)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)


def test_a_search_around_a_network_is_like_any_other(client: TestClient, worker: Context) -> None:
    limited = {"budget": {"max_macs": 9_000_000}, "spend": None}  # with the default share a single network is left
    asked = {"space": {"around": "mlperf-tiny-resnet8"}, "top_k": 2, **limited}
    made = post(client, asked).json()
    path = f"/v1/searches/{made['id']}"
    assert search_tasks.run_next(worker)
    found = client.get(path).json()
    assert (found["family"], found["outcome"], found["result"]["space_size"]) == ("resnet", "proved", "38")
    space = found["request"]["space"]
    assert (space["around"]["family"], space["keep"][-1]) == ("resnet", "proportions")
    assert post(client, {**asked, "space": space}).json()["id"] == made["id"]
    reference = client.post("/v1/architectures", json=space["around"]).json()["arch_id"]
    assert post(client, {**asked, "space": {"around": {"arch_id": reference}}}).json()["id"] == made["id"]
    lines = client.get(f"{path}/export?format=csv").text.splitlines()
    assert len(lines) == 3
    assert client.post(f"{path}/next").json()["request"]["space"] == space
    for wrong, field in (
        ({"keep": ["stm"]}, "space.keep.0"),
        ({"depth": 4}, "space.depth"),
        ({"around": 1}, "space.around"),
    ):
        refused = post(client, {**asked, "space": asked["space"] | wrong})  # type: ignore[operator]
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)


def test_an_infeasible_request_reports_the_smallest_sufficient_limit(client: TestClient, worker: Context) -> None:
    search = post(client, {"space": "densenet-tiny-free", "budget": {"max_params": 100, "max_macs": 10**9}}).json()
    search_tasks.run_next(worker)
    result = client.get(f"/v1/searches/{search['id']}").json()["result"]
    assert (result["count"], result["feasible"], result["objective_value"]) == (0, False, None)
    least = result["relaxation"]["max_params"]
    assert least > 100
    assert result["relaxation"]["max_macs"] is None
    relaxed = {"space": "densenet-tiny-free", "budget": {"max_params": least, "max_macs": 10**9}}
    assert client.post("/v1/searches/preview", json=relaxed).json()["result"]["count"] == 1
    relaxed["budget"] = {"max_params": least - 1, "max_macs": 10**9}
    assert client.post("/v1/searches/preview", json=relaxed).json()["result"]["count"] == 0


def unproved(request: SearchRequest, control: Control) -> SearchResult:
    """Search as if the time had run out after the best network was found, before the proof."""
    found = search(request, control)
    return replace(found, certificate=replace(found.certificate, optimal=False, binding=None))


def test_that_nothing_fits_is_an_outcome_of_its_own(
    client: TestClient, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: dict[str, dict[str, Any]] = {"proved": {}, "nothing_fits": {"max_params": 100}}
    made = {
        outcome: post(client, {"space": "densenet-tiny-free", "budget": budget}).json()
        for outcome, budget in budgets.items()
    }
    assert {one["outcome"] for one in made.values()} == {None}
    while search_tasks.run_next(worker):
        pass
    limits = {"max_params": 200_000, "max_macs": 30_000_000}
    made["not_proved"] = post(client, {"space": "densenet-tiny-free", "budget": limits}).json()
    with monkeypatch.context() as patched:
        patched.setattr(search_tasks, "search", unproved)
        assert search_tasks.run_next(worker)
    late = {"space": "densenet-cifar-free", "budget": {"max_params": 10**6}, "time_limit_seconds": 1e-9}
    made["nothing_found"] = post(client, late).json()
    while search_tasks.run_next(worker):
        pass
    for outcome, stored in made.items():
        found = client.get(f"/v1/searches/{stored['id']}").json()
        assert (found["status"], found["outcome"]) == ("succeeded", outcome)
        listed = client.get("/v1/searches", params={"outcome": outcome}).json()["items"]
        assert [one["id"] for one in listed] == [stored["id"]]
    assert client.get("/v1/searches", params={"outcome": "succeeded"}).status_code == 422
    for outcome, budget in budgets.items():
        preview = client.post("/v1/searches/preview", json={"space": "densenet-tiny-free", "budget": budget}).json()
        assert preview["outcome"] == outcome
    compared = client.get(
        "/v1/searches/compare", params={"ids": f"{made['proved']['id']},{made['nothing_fits']['id']}"}
    ).json()
    assert {"field": "outcome", "values": ["proved", "nothing_fits"]} in compared["differences"]


def test_two_limits_that_only_together_admit_nothing_are_raised_together(client: TestClient, worker: Context) -> None:
    budget = {"max_params": 78_666, "max_macs": 12_500_000}
    search = post(client, {"space": "densenet-cifar", "budget": budget}).json()
    search_tasks.run_next(worker)
    result = client.get(f"/v1/searches/{search['id']}").json()["result"]
    assert result["relaxation"] == {"max_params": None, "max_macs": None}
    joint = result["joint_relaxation"]
    assert (joint["factor"] > 1, joint["unchanged"]) == (True, [])
    assert joint["limits"] == {name: int(bound * joint["factor"]) for name, bound in budget.items()}
    limits = {name: int(bound) for name, bound in joint["limits"].items()}
    enough = {"space": "densenet-cifar", "budget": limits}
    assert client.post("/v1/searches/preview", json=enough).json()["outcome"] == "proved"


def test_preview_answers_like_a_search_and_stores_nothing(client: TestClient, worker: Context) -> None:
    question = {key: EXAMPLE[key] for key in ("space", "budget", "objective", "top_k", "diversity")}
    preview = client.post("/v1/searches/preview", json=question).json()
    assert client.get("/v1/searches").json()["items"] == []
    search = post(client, question).json()
    search_tasks.run_next(worker)
    ranking = client.get(f"/v1/searches/{search['id']}/architectures").json()["items"]
    assert preview["items"] == ranking
    result = client.get(f"/v1/searches/{search['id']}").json()["result"]
    effort = {"explored": None, "elapsed_seconds": None}  # of the first in a process it is another
    assert preview["result"] | effort == result | effort


def test_preview_refuses_a_name(client: TestClient) -> None:
    answer = client.post("/v1/searches/preview", json=SMALL | {"name": "x"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")


def test_history_is_newest_first_filtered_and_paged(client: TestClient, worker: Context) -> None:
    made = [
        post(
            client, SMALL | {"top_k": i + 1, "name": f"camera 100%_{i}", "tags": ["odd" if i % 2 else "even", "all"]}
        ).json()
        for i in range(5)
    ]
    search_tasks.run_next(worker)
    newest = [search["id"] for search in reversed(made)]

    def listed(**filters: Any) -> list[str]:
        ids, cursor = [], None
        while True:
            params = filters | {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = client.get("/v1/searches", params=params).json()
            ids += [search["id"] for search in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                return ids

    assert listed() == newest
    assert listed(tag="odd") == [made[3]["id"], made[1]["id"]]
    assert listed(status="succeeded") == [made[0]["id"]]
    assert listed(status="queued") == newest[:-1]
    assert listed(q="100%_3") == [made[3]["id"]]
    assert listed(q="100x") == []
    assert listed(family="densenet_cnn") == newest
    assert listed(family="resnet") == []
    assert listed(created_after=made[2]["created_at"]) == newest[:2]
    assert listed(created_after="2999-01-01T00:00:00Z") == []


FOLDED = [
    ("Kamera", ["KAMERA", "kamera", "amER"], ["kamara"]),
    ("caf\u00e9", ["cafe\u0301", "CAF\u00c9", "CAFE\u0301"], ["cafe"]),
    ("cafe\u0301", ["caf\u00e9", "CAF\u00c9"], ["cafes"]),
    ("Stra\u00dfe", ["strasse", "STRASSE", "STRA\u1e9eE", "ra\u00dfe"], ["strase"]),
    ("\u0130stanbul", ["istanbul", "\u0130STANBUL", "ISTANBUL", "i\u0307stanbul"], ["\u0131stanbul"]),
    ("\u0391\u03a3", ["\u03b1\u03c3", "\u03b1\u03c2"], ["a"]),
    ("\uff21\uff22", ["ab", "AB"], ["b a"]),
    ("100%_\\", ["100%", "%_\\"], ["1%0", "1__%"]),
]
"""A name, texts that find it, and texts that do not."""


@pytest.mark.parametrize("field", ["name", "note"])
def test_a_text_is_found_without_regard_to_case_and_normal_form(client: TestClient, field: str) -> None:
    def finds(text: str) -> bool:
        return bool(client.get("/v1/searches", params={"q": text}).json()["items"])

    path = f"/v1/searches/{post(client, SMALL).json()['id']}"
    for name, found, other in FOLDED:
        assert client.patch(path, json={field: name}).json()[field] == name, "it is stored as it was given"
        assert {text: finds(text) for text in (name, *found)} == dict.fromkeys((name, *found), True)
        assert {text: finds(text) for text in other} == dict.fromkeys(other, False)
    posted = post(client, SMALL | {field: "\u00c4rger"}).json()
    assert [item["id"] for item in client.get("/v1/searches?q=A%CC%88RGER").json()["items"]] == [posted["id"]]


def test_a_cursor_belongs_to_its_list(client: TestClient) -> None:
    for i in range(3):
        post(client, SMALL | {"top_k": i + 1})
    cursor = client.get("/v1/searches", params={"limit": 1}).json()["next_cursor"]
    for params in ({"tag": "x", "cursor": cursor}, {"cursor": cursor[:-2] + "xx"}, {"cursor": "nonsense"}):
        answer = client.get("/v1/searches", params=params)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cursor")


def test_unknown_ids_are_404(client: TestClient) -> None:
    for name in ("00000000-0000-7000-8000-000000000000", "nonsense", "%00"):
        for method, path in (("GET", ""), ("GET", "/architectures"), ("POST", "/cancel"), ("POST", "/next")):
            answer = client.request(method, f"/v1/searches/{name}{path}")
            assert answer.status_code == 404
            assert answer.json()["code"] == "not_found"


def test_a_repeated_idempotency_key_gets_the_first_answer(client: TestClient, worker: Context) -> None:
    body = SMALL | {"fresh": True}
    first = post(client, body, Idempotency_Key="k1")
    search_tasks.run_next(worker)
    again = post(client, body, Idempotency_Key="k1")
    assert (again.status_code, again.json(), again.headers["Location"]) == (
        202,
        first.json(),
        first.headers["Location"],
    )
    assert post(client, body, Idempotency_Key="k2").json()["id"] != first.json()["id"]
    other = post(client, SMALL, Idempotency_Key="k1")
    assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "header.Idempotency-Key")
    for key in ("with space", "", "k" * 256):
        refused = post(client, body, Idempotency_Key=key)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "header.Idempotency-Key")


def test_an_idempotency_key_belongs_to_one_route_and_one_owner(backend: Backend) -> None:
    body = Question.model_validate(SMALL)
    made: list[str] = []

    def make() -> Submission:
        made.append("x")
        return Submission(202, {"id": len(made)}, f"/v1/x/{len(made)}")

    def send(owner: str, key: str | None, place: str) -> Submission:
        with backend.database.write() as session:
            return once(session, owner, key, fingerprint_of(place, body), make)

    assert send("a", "k", "/v1/searches") == send("a", "k", "/v1/searches") == Submission(202, {"id": 1}, "/v1/x/1")
    with pytest.raises(Invalid, match="not valid"):
        send("a", "k", "/v1/verifications")
    assert send("b", "k", "/v1/verifications").body == {"id": 2}
    assert [send("a", None, "/v1/searches").body["id"] for _ in range(2)] == [3, 4]


def test_concurrent_posts_with_one_idempotency_key_make_one_search(client: TestClient) -> None:
    ids: list[UUID] = []
    threads = [
        threading.Thread(
            target=lambda: ids.append(post(client, SMALL | {"fresh": True}, Idempotency_Key="k").json()["id"])
        )
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 16
    assert len(set(ids)) == 1
    assert len(client.get("/v1/searches").json()["items"]) == 1


def test_concurrent_equal_posts_make_one_search(client: TestClient) -> None:
    ids: list[UUID] = []
    threads = [threading.Thread(target=lambda: ids.append(post(client, SMALL).json()["id"])) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 16
    assert len(set(ids)) == 1


def test_a_request_with_prefer_wait_returns_the_finished_search(client: TestClient, worker: Context) -> None:
    early = post(client, SMALL, Prefer="respond-async, wait=1")
    assert (early.status_code, early.json()["status"]) == (202, "queued")
    thread = threading.Timer(0.2, search_tasks.run_next, [worker])
    thread.start()
    done = post(client, SMALL, Prefer="wait=30")
    thread.join()
    assert (done.status_code, done.json()["status"], done.json()["reused"]) == (200, "succeeded", True)


def test_an_accepted_search_is_answered_with_202_when_the_database_fails_during_the_wait(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database becomes unavailable while the request waits for the answer."""
    reasons: list[Exception] = []

    def gone(*args: Any, **more: Any) -> Any:
        raise reasons[-1] if len(reasons) == 1 else reasons.pop(0)

    monkeypatch.setattr(service, "whole", gone)
    reasons += [PoolTimeout(), OperationalError("select", {}, Exception("gone"))]
    held = post(client, SMALL, Prefer="wait=1")
    assert (held.status_code, held.json()["status"]) == (202, "queued")
    reasons[:] = [ProgrammingError("select", {}, Exception("wrong"))]
    assert post(client, SMALL, Prefer="wait=1").status_code == 500, "that would not pass"


def test_a_search_stopped_by_its_time_limit_reports_bound_and_gap(client: TestClient, worker: Context) -> None:
    body = {key: EXAMPLE[key] for key in ("space", "budget")}
    first = client.post("/v1/searches/preview", json=body)  # this process keeps the tables, which take longer
    assert first.json()["outcome"] == "proved"
    search = post(client, body | {"time_limit_seconds": 0.02, "top_k": 1000}).json()
    search_tasks.run_next(worker)
    result = client.get(f"/v1/searches/{search['id']}").json()["result"]
    assert result["optimal"] is False
    assert result["bound"] >= 784.13
    assert result["binding"] is None
    if result["count"]:
        assert result["objective_value"] <= 784.1333333333334
        assert result["gap"] >= 0
