"""Own columns of the evidence, through the API."""

from __future__ import annotations

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from scipy import stats

from app.evidence import columns
from app.storage.models import EvidencePoint
from tests.api.test_verifications import get, grid
from tests.conftest import Backend
from tests.networks import MLP

POINTS = "/v1/evidence/points"
COLUMNS = "/v1/evidence/columns"
UNKNOWN = "arch_" + "0" * 32


def upload(client: TestClient, *points: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post(POINTS, json={"points": list(points)})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def refusal(client: TestClient, *points: Any) -> list[tuple[str, str]]:
    answer = client.post(POINTS, json={"points": list(points)})
    assert answer.status_code == 422, answer.text
    return [(error["field"], error["code"]) for error in answer.json()["errors"]]


def rows_of(client: TestClient, **query: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get("/v1/evidence", params={"format": "csv", **query}).text)))


def test_an_own_column_is_compared_on_the_networks_that_have_it(client: TestClient, backend: Backend) -> None:
    """The column reverses the order of accuracy on seven of nine networks; params differ from it on these."""
    made = sorted(grid(client, backend), key=lambda item: item["nn_mass"])
    before = get(client, "/v1/evidence")
    assert before["columns"] == []
    some = made[:7]
    upload(client, *({"arch_id": one["arch_id"], "values": {"zico": -i / 3}} for i, one in enumerate(some)))
    evidence = get(client, "/v1/evidence")
    (found,) = evidence["columns"]
    assert (found["name"], found["n"]) == ("zico", 7)
    accuracies = [(1 + i) / 10 for i in range(7)]
    for kind, statistic in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        assert found["column"][kind]["value"] == pytest.approx(-1)
        for name in ("nn_mass", "params", "macs"):
            expected = statistic([one[name] for one in some], accuracies).statistic
            assert found[name][kind]["value"] == pytest.approx(expected)
    for name in ("nn_mass", "params", "macs"):
        expected = -1 - found[name]["spearman"]["value"]
        assert found[f"minus_{name}"]["value"] == pytest.approx(expected)
        assert found[f"minus_{name}"]["low"] <= expected <= found[f"minus_{name}"]["high"]
    assert {**evidence, "columns": []} == before
    cells = {row["arch_id"]: row["zico"] for row in rows_of(client)}
    assert [cells[one["arch_id"]] for one in made] == [*(str(-i / 3) for i in range(7)), "", ""]


def test_an_own_accuracy_takes_the_place_of_trainings(client: TestClient) -> None:
    """Networks that the service never trained: NN-Mass grows with the skips, and the accuracy falls."""
    networks = [MLP | {"depth": 8, "skip_channels": t} for t in range(1, 8)]
    points = [
        {"architecture": one, "name": f"net {t}", "values": {"published": 90 - t, "flops": 2.0**t}}
        for t, one in enumerate(networks)
    ]
    stored = upload(client, *points)
    assert [item["columns"] for item in stored] == [point["values"] for point in points]
    evidence = get(client, "/v1/evidence", accuracy="published")
    assert (evidence["n"], evidence["runs"], evidence["scope"]) == (7, 0, None)
    assert evidence["accuracy_column"] == "published"
    assert evidence["overall"]["nn_mass"]["spearman"]["value"] == pytest.approx(-1)
    (column,) = evidence["columns"]
    assert (column["name"], column["column"]["spearman"]["value"]) == ("flops", pytest.approx(-1))
    assert evidence["statement"].startswith(
        "Accuracy is the column published. Over 7 networks the Spearman correlation with accuracy is -1.00"
    )
    assert get(client, "/v1/evidence", accuracy="published", family="densenet_cnn")["n"] == 0
    rows = rows_of(client, accuracy="published")
    assert [(row["name"], row["accuracy"], row["flops"], row["role"], row["task"]) for row in rows] == [
        (item["name"], str(item["columns"]["published"]), str(item["columns"]["flops"]), "uploaded", "64/10")
        for item in sorted(stored, key=lambda item: item["arch_id"])
    ]
    assert "published" not in rows[0]
    assert get(client, "/v1/evidence")["n"] == 0


def test_a_repeated_upload_changes_nothing_and_a_later_one_adds(client: TestClient, backend: Backend) -> None:
    point: dict[str, Any] = {"architecture": MLP, "name": "ours", "values": {"zico": 1.5}}

    def stored() -> tuple[Any, ...]:
        with backend.database.read() as session:
            (row,) = session.query(EvidencePoint).all()
            return row.name, row.columns, row.changed_at

    (first,) = upload(client, point)
    before = stored()
    assert (upload(client, point), stored()) == ([first], before)
    (later,) = upload(client, {"arch_id": first["arch_id"], "values": {"zico": 2, "snip": 3}})
    assert (later["name"], later["columns"]) == ("ours", {"zico": 2, "snip": 3})
    assert get(client, COLUMNS)["items"] == [{"name": "snip", "n": 1}, {"name": "zico", "n": 1}]
    assert client.get(f"/v1/architectures/{first['arch_id']}").json()["arch_id"] == first["arch_id"]


def test_points_and_columns_are_deleted(client: TestClient) -> None:
    both, one = upload(
        client,
        {"architecture": MLP, "values": {"zico": 1, "snip": 2}},
        {"architecture": MLP | {"depth": 9}, "values": {"zico": 3}},
    )
    pages = [get(client, POINTS, limit=1)]
    pages.append(get(client, POINTS, limit=1, cursor=pages[0]["next_cursor"]))
    assert pages[1]["next_cursor"] is None
    listed = [item for page in pages for item in page["items"]]
    assert listed == sorted([both, one], key=lambda item: item["arch_id"])
    in_use = client.delete(f"/v1/architectures/{one['arch_id']}")
    assert (in_use.status_code, "the figures that you uploaded beside it" in in_use.text) == (409, True)
    assert client.delete(f"{COLUMNS}/zico").status_code == 204
    assert get(client, POINTS)["items"] == [both | {"columns": {"snip": 2}}]
    assert client.get(f"/v1/architectures/{one['arch_id']}").status_code == 404
    assert client.delete(f"{POINTS}/{both['arch_id']}").status_code == 204
    assert get(client, COLUMNS)["items"] == []
    for path in (f"{COLUMNS}/zico", f"{POINTS}/{both['arch_id']}", f"{POINTS}/nothing"):
        assert client.delete(path).status_code == 404


def test_a_wrong_point_is_refused_with_its_index_and_field(client: TestClient) -> None:
    good = {"architecture": MLP, "values": {"zico": 1}}
    cases: list[tuple[list[Any], list[tuple[str, str]]]] = [
        ([good, {"values": {"zico": 1}}], [("points.1.architecture", "one_of")]),
        (
            [good | {"arch_id": UNKNOWN}],
            [("points.0.arch_id", "one_of"), ("points.0.arch_id", "unknown_architecture")],
        ),
        ([good, {"arch_id": UNKNOWN, "values": {"a": 1}}], [("points.1.arch_id", "unknown_architecture")]),
        ([good, good | {"architecture": MLP | {"depth": 0}}], [("points.1.architecture.depth", "too_small")]),
        ([good, good], [("points.1", "duplicate")]),
        ([good | {"values": {"nn_mass": 1}}], [("points.0.values.nn_mass", "taken")]),
        ([good | {"values": {"=cmd": 1}}], [("points.0.values.=cmd", "invalid")]),
        ([good | {"name": "=cmd"}], [("points.0.name", "invalid")]),
        ([good | {"values": {"zico": "1"}}], [("points.0.values.zico", "not_a_number")]),
        ([good | {"values": {"zico": 1e101}}], [("points.0.values.zico", "too_large")]),
        ([good | {"values": {"zico": 1e-101}}], [("points.0.values.zico", "invalid")]),
        ([good | {"values": {}}], [("points.0.values", "too_short")]),
        ([], [("points", "too_short")]),
    ]
    for points, expected in cases:
        assert refusal(client, *points) == expected, points
    assert get(client, POINTS)["items"] == []


def test_filters_of_trainings_do_not_go_with_an_own_accuracy(client: TestClient) -> None:
    upload(client, {"architecture": MLP, "values": {"zico": 1}})
    for query, field in (
        ({"accuracy": "snip"}, "accuracy"),
        ({"accuracy": "zico", "dataset": "digits"}, "dataset"),
        ({"accuracy": "zico", "adapted": "false"}, "adapted"),
    ):
        for form in ("json", "csv"):
            answer = client.get("/v1/evidence", params={**query, "format": form})
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_networks_and_columns_are_bounded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MOST_NETWORKS", 2)
    networks = [MLP | {"depth": depth} for depth in (5, 6, 7)]
    full = [{"architecture": one, "values": {"zico": 1}} for one in networks[:2]]
    upload(client, *full)
    assert (
        client.post(POINTS, json={"points": [{"architecture": networks[2], "values": {"zico": 1}}]}).status_code == 409
    )
    upload(client, *full)
    assert len(get(client, POINTS)["items"]) == 2
    upload(client, full[0] | {"values": {f"c{i}": i for i in range(7)}})
    refused = client.post(POINTS, json={"points": [full[1] | {"values": {"c7": 1}}]})
    assert (refused.status_code, "8 columns" in refused.json()["detail"]) == (409, True)


def test_uploads_at_the_same_time_keep_every_figure(client: TestClient) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: upload(client, {"architecture": MLP, "values": {f"c{i}": i}}), range(8)))
    (item,) = get(client, POINTS)["items"]
    assert item["columns"] == {f"c{i}": i for i in range(8)}
