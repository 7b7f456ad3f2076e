"""Searches are exported as JSON and CSV, on both backends."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.curated import (
    claimed,
    finished,
    get,
    post,
    problems,
)
from tests.networks import SIZES
from worker import search_tasks
from worker.process import Context


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


@pytest.mark.parametrize("space", ["densenet-tiny-free", "mobilenet-v2-tiny-free", "densenet-mlp-mnist"])
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
            *("depth", "memory_bytes", "precision", *(f"width_{i + 1}" for i in range(len(parts)))),
            *("slack_max_params", "slack_max_macs", "unused_max_params", "unused_max_macs", "architecture"),
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
        assert {name: float(line[f"unused_{name}"]) for name in item["unused"]} == item["unused"]
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
