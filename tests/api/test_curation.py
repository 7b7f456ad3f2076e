"""Searches are renamed and deleted, on both backends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app.errors import Invalid
from app.jobs import lifecycle
from app.searches import service
from app.storage.models import Job, JobEvent, RankedArchitecture, Search, SearchTag
from app.verifications import service as verifications
from app.verifications.schemas import VerificationBody
from tests.api import trainings
from tests.api.curated import (
    MLP,
    SMALL,
    TEXTS,
    TRAINING,
    UNKNOWN,
    claimed,
    finished,
    get,
    post,
    problems,
    search_of_another_owner,
    written,
)
from tests.conftest import Backend
from worker import search_tasks
from worker.process import Context

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
    for method, rest in (("DELETE", ""), ("PATCH", ""), ("POST", "/cancel"), ("POST", "/retry"), ("POST", "/next")):
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
