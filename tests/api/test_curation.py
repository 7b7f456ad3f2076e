"""Searches are renamed, deleted, compared and exported, on both backends."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app.errors import Invalid
from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.searches import service
from app.searches.schemas import SearchBody
from app.storage.models import Job, JobEvent, RankedArchitecture, Search, SearchTag
from app.verifications import service as verifications
from app.verifications.schemas import VerificationBody
from tests.api import trainings
from tests.conftest import Backend
from tests.networks import SIZES
from worker import search_tasks
from worker.process import Context

SMALL: dict[str, Any] = {"space": "densenet-tiny", "budget": {"max_params": 100_000}, "top_k": 3}
MLP: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 64,
    "num_classes": 10,
    "width": 8,
    "depth": {"min": 4, "max": 8},
    "skip_channels": {"min": 0, "max": 8},
    "activation": "relu",
}
TRAINING: dict[str, Any] = {"dataset": "digits", "recipe": "mlp-paper", "seeds": [0]}
UNKNOWN = "00000000-0000-7000-8000-000000000000"
TEXTS = {"name": "first", "tags": ["a", "b", "c"], "note": "why"}


def post(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/searches", json=SMALL | changes)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def finished(client: TestClient, worker: Context, **changes: Any) -> dict[str, Any]:
    return run(client, worker, post(client, **changes))


def run(client: TestClient, worker: Context, search: dict[str, Any]) -> dict[str, Any]:
    """Run the oldest queued search, which must be this one."""
    assert search_tasks.run_next(worker)
    found: dict[str, Any] = get(client, f"/v1/searches/{search['id']}")
    assert found["status"] == "succeeded"
    return found


def get(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def problems(answer: Any, status: int = 422) -> list[tuple[str, str]]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    return [(item["field"], item["code"]) for item in answer.json()["errors"]]


def claimed(worker: Context) -> Claim:
    with worker.database.write() as session:
        held = lifecycle.claim(session, "search", "test/1", 60.0)
    assert held is not None
    return held


def written(backend: Backend, act: Callable[..., Any], *args: Any) -> Any:
    with backend.database.write() as session:
        return act(session, *args)


def search_of_another_owner(backend: Backend, **changes: Any) -> str:
    """Return the id of another owner's search."""
    body = SearchBody.model_validate(SMALL | changes)
    return str(written(backend, service.submit, "stranger", body, None).body["id"])


# name, tags and note


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "second"},
        {"name": ""},
        {"note": "because"},
        {"tags": ["z"]},
        {"tags": []},
        {"tags": ["c", "a", "b", "d"]},
        {"tags": ["z", "b", "c"]},
        {"name": "x", "tags": ["b"], "note": "y"},
        {},
    ],
)
def test_a_patch_changes_only_the_given_fields(client: TestClient, changes: dict[str, Any]) -> None:
    before = post(client, **TEXTS)
    answer = client.patch(f"/v1/searches/{before['id']}", json=changes)
    assert (answer.status_code, answer.json()) == (200, before | changes)
    assert get(client, f"/v1/searches/{before['id']}") == before | changes


def test_a_repeated_tag_is_stored_once_and_filters_the_list(client: TestClient) -> None:
    search_id = post(client, **TEXTS)["id"]
    changed = client.patch(f"/v1/searches/{search_id}", json={"tags": ["new", "b", "new"]}).json()
    assert changed["tags"] == ["new", "b"]
    assert [item["id"] for item in get(client, "/v1/searches", tag="new")["items"]] == [search_id]
    assert get(client, "/v1/searches", tag="a")["items"] == []


@pytest.mark.parametrize("state", ["running", "succeeded", "cancelled"])
def test_a_search_is_renamed_in_any_state_without_other_changes(
    client: TestClient, worker: Context, state: str
) -> None:
    search_id = post(client, **TEXTS)["id"]
    path = f"/v1/searches/{search_id}"
    if state == "running":
        claimed(worker)
    elif state == "cancelled":
        client.post(f"{path}/cancel")
    else:
        assert search_tasks.run_next(worker)
    before = get(client, path)
    assert before["status"] == state
    assert client.patch(path, json={"name": "other"}).json() == before | {"name": "other"}
    if state == "succeeded":
        again = client.post("/v1/searches", json=SMALL | TEXTS | {"name": "other"})
        assert (again.status_code, again.json()["id"], again.json()["name"]) == (200, search_id, "other")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": 1}, ("name", "not_a_string")),
        ({"name": None}, ("name", "not_a_string")),
        ({"name": "x" * 201}, ("name", "too_long")),
        ({"note": ["x"]}, ("note", "not_a_string")),
        ({"note": "x" * 10_001}, ("note", "too_long")),
        ({"tags": "edge"}, ("tags", "not_a_list")),
        ({"tags": ["ok", ""]}, ("tags.1", "too_short")),
        ({"tags": [str(i) for i in range(21)]}, ("tags", "too_long")),
        ({"top_k": 5}, ("top_k", "unknown_field")),
        ({"status": "succeeded"}, ("status", "unknown_field")),
        ({"owner": "me"}, ("owner", "unknown_field")),
    ],
)
def test_a_patch_of_an_unchangeable_field_names_it(client: TestClient, changes: Any, expected: Any) -> None:
    before = post(client, **TEXTS)
    answer = client.patch(f"/v1/searches/{before['id']}", json={"note": "new"} | changes)
    assert problems(answer) == [expected]
    assert get(client, f"/v1/searches/{before['id']}") == before


# deletion


def rows_of(backend: Backend, search_id: str) -> dict[str, int]:
    one = UUID(search_id)
    with backend.database.read() as session:
        return {
            entity.__tablename__: session.execute(
                select(func.count()).select_from(entity).where(column == one)
            ).scalar_one()
            for entity, column in (
                (Job, Job.id),
                (JobEvent, JobEvent.job_id),
                (Search, Search.id),
                (SearchTag, SearchTag.search_id),
                (RankedArchitecture, RankedArchitecture.search_id),
            )
        }


@pytest.mark.parametrize("state", ["queued", "cancelled", "failed", "succeeded"])
def test_deleting_a_search_deletes_its_rows(client: TestClient, worker: Context, backend: Backend, state: str) -> None:
    search = post(client, **TEXTS)
    path = f"/v1/searches/{search['id']}"
    if state == "cancelled":
        client.post(f"{path}/cancel")
    elif state == "failed":
        assert written(backend, lifecycle.fail, claimed(worker), "out_of_memory", "too little")
    elif state == "succeeded":
        assert search_tasks.run_next(worker)
    other = post(client, top_k=4, tags=["a"])
    before = rows_of(backend, search["id"])
    assert before["ranked_architectures"] == (3 if state == "succeeded" else 0)
    assert (before["search_tags"], before["job_events"] > 0) == (3, True)

    deleted = client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert set(rows_of(backend, search["id"]).values()) == {0}
    assert [item["id"] for item in get(client, "/v1/searches")["items"]] == [other["id"]]
    for method, rest in (("GET", ""), ("GET", "/architectures"), ("GET", "/export"), ("GET", "/events")):
        assert problems(client.request(method, path + rest), 404) == []
    for method, rest in (("DELETE", ""), ("PATCH", ""), ("POST", "/cancel"), ("POST", "/retry")):
        assert problems(client.request(method, path + rest, json={}), 404) == []
    again = post(client)
    assert (again["id"] != search["id"], again["reused"]) == (True, False)


def test_deleting_a_running_search_is_refused(client: TestClient, worker: Context, backend: Backend) -> None:
    path = f"/v1/searches/{post(client, **TEXTS)['id']}"
    held = claimed(worker)
    before = get(client, path)
    refused = client.delete(path)
    assert (problems(refused, 409), refused.json()["code"]) == ([], "wrong_state")
    assert get(client, path) == before
    assert written(backend, lifecycle.heartbeat, held, 60.0, 0.5, "halfway")
    client.post(f"{path}/cancel")
    assert client.delete(path).status_code == 204
    for late in (lifecycle.succeed, lifecycle.release):
        assert not written(backend, late, held)
    assert not written(backend, lifecycle.heartbeat, held, 60.0, 0.6, "late")
    assert not written(backend, lifecycle.fail, held, "x", "late")
    assert get(client, "/v1/searches")["items"] == []


def test_trainings_of_a_deleted_search_remain(client: TestClient, worker: Context, backend: Backend) -> None:
    search_id = finished(client, worker, space=MLP, budget={})["id"]
    body = TRAINING | {"search": search_id, "top": 2}
    (first, second) = client.post("/v1/verifications", json=body).json()["items"]
    held = trainings.claim(backend.database)
    trainings.finish(backend.database, held, {0: 7})
    third = get(client, f"/v1/searches/{search_id}/architectures")["items"][2]["arch_id"]
    before = get(client, f"/v1/verifications/{first['id']}")
    assert (before["status"], before["search"]) == ("succeeded", search_id)

    assert client.delete(f"/v1/searches/{search_id}").status_code == 204
    assert get(client, f"/v1/verifications/{first['id']}") == before | {"search": None}
    assert get(client, f"/v1/verifications/{second['id']}")["status"] == "queued"
    listed = get(client, "/v1/verifications")["items"]
    assert [(item["id"], item["role"], item["candidate_rank"]) for item in listed] == [
        (second["id"], "candidate", 2),
        (first["id"], "candidate", 1),
    ]
    about = get(client, f"/v1/architectures/{first['arch_id']}")
    assert (about["searches"], [item["id"] for item in about["verifications"]]) == ([], [first["id"]])
    assert problems(client.get(f"/v1/architectures/{third}"), 404) == []
    again = client.post(f"/v1/verifications/{first['id']}/replay")
    assert (again.status_code, again.json()["search"], again.json()["replay"]["of"]) == (202, None, first["id"])


def test_a_training_of_a_search_that_was_just_deleted_is_refused(
    client: TestClient, worker: Context, backend: Backend
) -> None:
    search_id = finished(client, worker, space=MLP, budget={})["id"]
    body = VerificationBody.model_validate(TRAINING | {"search": search_id})
    with backend.database.read() as session:
        wanted = verifications.plan(session, "local", body)
    assert client.delete(f"/v1/searches/{search_id}").status_code == 204
    with pytest.raises(Invalid) as refused:
        written(backend, verifications.submit, "local", body, wanted, None)
    assert [(one.field, one.code) for one in refused.value.problems] == [("search", "unknown_search")]


def send_concurrently(client: TestClient, path: str, specified: list[tuple[str, Any]]) -> list[int]:
    """Return the statuses of requests (method, body) that are sent at the same time."""
    with ThreadPoolExecutor(len(specified)) as pool:
        return list(pool.map(lambda one: client.request(one[0], path, json=one[1]).status_code, specified))


def test_one_of_several_concurrent_deletions_succeeds(client: TestClient) -> None:
    for _ in range(3):
        path = f"/v1/searches/{post(client)['id']}"
        assert sorted(send_concurrently(client, path, [("DELETE", None)] * 6)) == [204, *[404] * 5]


def test_concurrent_changes_and_deletions_do_not_fail(client: TestClient) -> None:
    changes = [("PATCH", {"tags": tags}) for tags in (["b", "a"], ["c"], ["d", "e", "f"])]
    for place in (0, 1, 2, 3) * 3:
        path = f"/v1/searches/{post(client, tags=['a', 'b'])['id']}"
        statuses = send_concurrently(client, path, [*changes[:place], ("DELETE", None), *changes[place:]])
        assert statuses.pop(place) == 204
        assert set(statuses) <= {200, 404}
        assert client.get(path).status_code == 404


def test_an_idempotency_key_repeats_its_answer_after_the_search_is_deleted(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = client.post("/v1/searches", json=SMALL, headers=headers)
    assert client.delete(first.headers["Location"]).status_code == 204
    for more in ({}, {"Prefer": "wait=10"}):
        again = client.post("/v1/searches", json=SMALL, headers=headers | more)
        assert (again.status_code, again.json()) == (202, first.json())
    assert get(client, "/v1/searches")["items"] == []


# comparison


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
    residual = finished(client, worker, space="resnet-tiny")
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


# export


def exported(client: TestClient, search_id: str, form: str) -> Any:
    answer = client.get(f"/v1/searches/{search_id}/export", params={"format": form})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Disposition"] == f'attachment; filename="search-{search_id}.{form}"'
    return answer


def table(client: TestClient, search_id: str) -> list[dict[str, str]]:
    answer = exported(client, search_id, "csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text), strict=True))


def test_the_json_export_has_the_search_and_its_whole_ranking(client: TestClient, worker: Context) -> None:
    search = finished(client, worker, top_k=150, name="camera", tags=["edge"])
    first = get(client, f"/v1/searches/{search['id']}/architectures", limit=100)
    rest = get(client, f"/v1/searches/{search['id']}/architectures", limit=100, cursor=first["next_cursor"])
    document = exported(client, search["id"], "json").json()
    assert document == search | {"ranking": first["items"] + rest["items"]}
    assert len(document["ranking"]) == 150
    assert client.get(f"/v1/searches/{search['id']}/export").json() == document


@pytest.mark.parametrize("space", ["densenet-tiny", "mobilenet-v2-tiny", "densenet-mlp-mnist"])
def test_the_csv_export_has_a_line_for_each_architecture(client: TestClient, worker: Context, space: str) -> None:
    budget = {"max_params": 120_000, "max_macs": 20_000_000, "precision": "int8"}
    search_id = finished(client, worker, space=space, budget=budget, top_k=40)["id"]
    ranking = get(client, f"/v1/searches/{search_id}/architectures", limit=100)["items"]
    lines = table(client, search_id)
    assert len(lines) == len(ranking) == 40
    for line, item in zip(lines, ranking, strict=True):
        parts = item.get("cells") or item["stages"]
        assert list(line) == [
            *("rank", "arch_id", "nn_mass", "params", "macs", "weight_bytes", "peak_activation_bytes", "latency_ms"),
            *("depth", "precision", *(f"width_{i + 1}" for i in range(len(parts)))),
            *("slack_max_params", "slack_max_macs", "architecture"),
        ]
        assert line["precision"] == item["precision"] == "int8"
        assert (line["arch_id"], float(line["nn_mass"]), line["latency_ms"]) == (item["arch_id"], item["nn_mass"], "")
        for name in ("rank", "params", "macs", "weight_bytes", "peak_activation_bytes", "depth"):
            assert int(line[name]) == item[name]
        for i, part in enumerate(parts):
            assert int(line[f"width_{i + 1}"]) == part.get("width", part.get("channels"))
        assert {f"slack_{name}": int(line[f"slack_{name}"]) for name in item["slack"]} == {
            f"slack_{name}": left for name, left in item["slack"].items()
        }
        assert json.loads(line["architecture"]) == item["architecture"]


def test_the_csv_export_has_the_resolution_where_the_space_varies_it(client: TestClient, worker: Context) -> None:
    search_id = finished(client, worker, space=SIZES, top_k=4)["id"]
    ranking = get(client, f"/v1/searches/{search_id}/architectures")["items"]
    sides = [(item["architecture"]["input"]["height"], item["architecture"]["input"]["width"]) for item in ranking]
    lines = table(client, search_id)
    assert [(int(line["input_height"]), int(line["input_width"])) for line in lines] == sides
    assert {line["precision"] for line in lines} == {"fp32"}


def test_the_csv_export_leaves_the_widths_of_stages_that_are_one_empty(client: TestClient, worker: Context) -> None:
    stage = {"expansion": 2, "channels": [8, 16], "repeats": 1, "stride": 1}
    search_id = finished(client, worker, space=SIZES | {"stages": [stage, stage]}, budget={}, top_k=9)["id"]
    lines = table(client, search_id)
    merged = [line for line in lines if len(json.loads(line["architecture"])["stages"]) == 1]
    assert {(line["width_1"], line["width_2"]) for line in merged} == {("8", ""), ("16", "")}
    assert {line["width_2"] for line in lines if line not in merged} == {"8", "16"}


def test_no_cell_of_the_csv_export_is_a_spreadsheet_formula(client: TestClient, worker: Context) -> None:
    formula = "=HYPERLINK(1)"
    texts = {"name": formula, "note": "@SUM(1)", "tags": ["+1", "-1", formula]}
    search_id = finished(client, worker, budget={}, **texts)["id"]
    rows = list(csv.reader(io.StringIO(exported(client, search_id, "csv").text)))
    assert len(rows) == 4
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert "HYPERLINK" not in str(rows)


@pytest.mark.parametrize("state", ["queued", "running", "cancelled", "infeasible"])
def test_the_csv_export_without_a_ranking_has_only_the_header(client: TestClient, worker: Context, state: str) -> None:
    search_id = post(client, budget={"max_params": 100 if state == "infeasible" else 100_000})["id"]
    if state == "running":
        claimed(worker)
    elif state == "cancelled":
        client.post(f"/v1/searches/{search_id}/cancel")
    elif state == "infeasible":
        assert search_tasks.run_next(worker)
    document = exported(client, search_id, "json").json()
    assert document == get(client, f"/v1/searches/{search_id}") | {"ranking": []}
    header = exported(client, search_id, "csv").text
    client.post(f"/v1/searches/{search_id}/cancel")
    other = finished(client, worker, fresh=True)
    assert header == exported(client, other["id"], "csv").text.splitlines(keepends=True)[0]


def test_an_unknown_export_format_is_422(client: TestClient) -> None:
    answer = client.get(f"/v1/searches/{post(client)['id']}/export", params={"format": "xlsx"})
    assert problems(answer) == [("format", "unknown_choice")]


# who may, and what is promised


def test_another_owners_search_is_404(client: TestClient, backend: Backend) -> None:
    theirs = search_of_another_owner(backend, **TEXTS)
    before = rows_of(backend, theirs)
    for name in (theirs, UNKNOWN, "nonsense", "%00"):
        path = f"/v1/searches/{name}"
        for method, rest in (("PATCH", ""), ("DELETE", ""), ("GET", "/export"), ("GET", "/export?format=csv")):
            answer = client.request(method, path + rest, json={"name": "mine"} if method == "PATCH" else None)
            assert problems(answer, 404) == []
            assert answer.json()["code"] == "not_found"
    assert rows_of(backend, theirs) == before
    with backend.database.read() as session:
        assert service.get(session, "stranger", UUID(theirs)).name == "first"


def test_the_openapi_document_lists_the_statuses_of_curation_routes(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for method, path, statuses in (
        ("patch", "/v1/searches/{search_id}", {"200", "400", "404", "408", "413", "415", "422", "503"}),
        ("delete", "/v1/searches/{search_id}", {"204", "404", "409", "422", "503"}),
        ("get", "/v1/searches/compare", {"200", "404", "422", "503"}),
        ("get", "/v1/searches/{search_id}/export", {"200", "404", "422", "503"}),
    ):
        assert statuses <= set(paths[path][method]["responses"])
    kinds = paths["/v1/searches/{search_id}/export"]["get"]["responses"]["200"]["content"]
    assert set(kinds) == {"application/json", "text/csv"}
    names = [one["name"] for one in paths["/v1/searches/{search_id}"]["patch"]["parameters"]]
    assert names == ["search_id"]


# keys of other POSTs that make something


def test_a_replay_with_a_repeated_idempotency_key_is_made_once(client: TestClient) -> None:
    network = MLP | {"depth": 4, "skip_channels": 8}
    made = [client.post("/v1/verifications", json=TRAINING | {"architecture": network}).json() for _ in range(2)]
    path = f"/v1/verifications/{made[0]['id']}/replay"
    first, again = (client.post(path, headers={"Idempotency-Key": "k1"}) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()) == (202, 202, first.json())
    assert first.headers["Location"] == again.headers["Location"] == f"/v1/verifications/{first.json()['id']}"
    assert get(client, first.headers["Location"]) == first.json()
    assert len(get(client, "/v1/verifications")["items"]) == 3
    for other in (f"/v1/verifications/{made[1]['id']}/replay", "/v1/measurements"):
        body = {"kind": "peak", "architecture": network} if other.endswith("measurements") else None
        refused = client.post(other, json=body, headers={"Idempotency-Key": "k1"})
        assert problems(refused) == [("header.Idempotency-Key", "key_reused")]
    assert client.post(path, headers={"Idempotency-Key": "k2"}).json()["id"] != first.json()["id"]
    assert client.post(path).json()["id"] != client.post(path).json()["id"]
    refused = client.post(path, headers={"Idempotency-Key": "with space"})
    assert problems(refused) == [("header.Idempotency-Key", "bad_key")]


def test_a_measurement_with_a_repeated_idempotency_key_is_made_once(client: TestClient, backend: Backend) -> None:
    body = {"kind": "peak", "architecture": MLP | {"depth": 4, "skip_channels": 8}, "seeds": [0]}
    headers = {"Idempotency-Key": "k1"}
    first, again = (client.post("/v1/measurements", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()) == (202, 202, first.json())
    assert first.headers["Location"] == again.headers["Location"] == f"/v1/measurements/{first.json()['id']}"
    assert get(client, first.headers["Location"]) == first.json()
    refused = client.post("/v1/measurements", json=body | {"seeds": [1]}, headers=headers)
    assert problems(refused) == [("header.Idempotency-Key", "key_reused")]
    assert client.post("/v1/measurements", json=body).json()["id"] != first.json()["id"]
    with backend.database.read() as session:
        assert session.execute(select(func.count()).select_from(Job)).scalar_one() == 2
