"""Pages of the history: each search equals the one read by id, and a page costs the same anywhere in the list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Connection, event

from app.http.cursors import Cursors
from app.http.pagination import Paging
from app.jobs import lifecycle
from app.jobs.lifecycle import State
from app.searches import answers, service
from app.searches.repository import Filters
from app.searches.schemas import Result, SearchAnswer, SearchList
from app.storage.db import Database
from bench.load.rows import fill
from bench.load.servers import OWNER
from tests.api.test_searches import SMALL, post
from tests.conftest import POSTGRES, Backend
from worker import search_tasks
from worker.process import Context

ROWS, PAGE = 3000, 20
REFERENCE = {"family": "densenet_cnn", "input": {"channels": 1, "height": 8, "width": 8}, "num_classes": 10}
REFERENCE |= {"cells": [{"width": 8, "depth": 4, "skip_channels": 8}]}
ASKED: tuple[dict[str, Any], ...] = (
    SMALL | {"name": 'Straße "7" \\ 家 \u2028', "note": "line\nline", "tags": ["zebra", 'a "b"', "ü", "mobile"]},
    SMALL | {"objective": {"minimize": "params", "min_nn_mass": 2.0}},
    SMALL | {"objective": {"minimize": "macs", "reference": REFERENCE}},
    {"space": "densenet-tiny-free", "objective": {"pareto": ["nn_mass", "macs"]}},
    {"space": "densenet-tiny-free", "budget": {"max_params": 1}},
)


def test_a_search_in_a_list_equals_the_search_read_by_id(client: TestClient, worker: Context, backend: Backend) -> None:
    made = [post(client, body).json() for body in ASKED]
    while search_tasks.run_next(worker):
        pass
    made.append(post(client, SMALL | {"top_k": 2}).json())
    with backend.database.write() as session:
        held = lifecycle.claim(session, "search", "test/1", 15.0)
        assert held is not None
        lifecycle.fail(session, held, "out_of_memory", "the process was killed")
    made += [post(client, SMALL | {"top_k": top_k}).json() for top_k in (3, 4)]
    client.post(f"/v1/searches/{made[-1]['id']}/cancel")

    text = client.get("/v1/searches", params={"limit": 100}).text
    listed = {search["id"]: search for search in json.loads(text)["items"]}
    assert set(listed) == {search["id"] for search in made}
    assert {search["status"] for search in listed.values()} == {"succeeded", "failed", "cancelled", "queued"}
    with backend.database.read() as session:
        for search_id, search in listed.items():
            whole = answers.answer(session, service.get(session, "local", UUID(search_id)))
            for other in (client.get(f"/v1/searches/{search_id}").json(), whole.model_dump(mode="json")):
                assert _exactly(search) == _exactly(other)
            assert _exactly(search) == _exactly(SearchAnswer.model_validate(search).model_dump(mode="json"))
            assert search["result"] is None or set(search["result"]) == set(Result.model_fields)
    assert listed[made[0]["id"]]["tags"] == ASKED[0]["tags"]
    assert listed[made[0]["id"]]["name"] == ASKED[0]["name"]


def _exactly(search: dict[str, Any]) -> str:
    """Return a search so that 1, 1.0 and true differ."""
    return json.dumps(search, sort_keys=True)


@pytest.fixture
def statements(backend: Backend) -> Iterator[list[tuple[str, Any]]]:
    """The statements sent to the database, with their parameters."""
    sent: list[tuple[str, Any]] = []

    def note(connection: Connection, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        sent.append((statement, parameters))

    event.listen(backend.database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(backend.database.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("backend", [POSTGRES], indirect=True)
@pytest.mark.parametrize("filters", [Filters(), Filters(family="resnet"), Filters(status=State.SUCCEEDED)], ids=repr)
def test_the_last_page_reads_no_more_rows_than_it_shows(
    backend: Backend, statements: list[tuple[str, Any]], filters: Filters
) -> None:
    fill(backend.settings.sqlalchemy_url.replace("+psycopg", ""), ROWS)
    for cursor in _cursors(backend.database, filters):
        statements.clear()
        _page(backend.database, filters, cursor)
        ((statement, parameters),) = statements
        assert _rows_read(backend.database, statement, parameters) < 20 * PAGE, cursor
        if filters == Filters():  # planned once for all that its owner asks for
            assert f"jobs.owner = '{OWNER}'" in statement
            assert _rows_read(backend.database, statement, parameters, generic=True) < 20 * PAGE, cursor


def _cursors(database: Database, filters: Filters) -> list[str | None]:
    """Return the cursors of the first page, of one in the middle and of the last."""
    cursors: list[str | None] = [None]
    while (following := _page(database, filters, cursors[-1]).next_cursor) is not None:
        cursors.append(following)
    assert len(cursors) > 5
    return [cursors[0], cursors[len(cursors) // 2], cursors[-1]]


def _page(database: Database, filters: Filters, cursor: str | None) -> SearchList:
    with database.read() as session:
        rows, following = service.history(session, OWNER, filters, Paging(Cursors("key"), cursor, PAGE))
        return SearchList.model_validate_json(answers.write_list(session, rows, following))


def _rows_read(database: Database, statement: str, parameters: dict[str, Any], *, generic: bool = False) -> int:
    """Run a query under EXPLAIN ANALYZE; returns the number of rows of jobs and searches read.

    generic: with the plan that PostgreSQL makes without knowing the parameters.
    """
    explain = "EXPLAIN (ANALYZE, FORMAT JSON)"
    with database.engine.connect() as connection:
        if generic:
            places = {name: f"${number}" for number, name in enumerate(parameters, 1)}
            values = ", ".join(f"'{value}'" for value in parameters.values())
            connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
            connection.exec_driver_sql(f"PREPARE page AS {statement % places}")
            ((plan,),) = connection.exec_driver_sql(f"{explain} EXECUTE page({values})")
            connection.exec_driver_sql("DEALLOCATE page")
        else:
            ((plan,),) = connection.exec_driver_sql(f"{explain} {statement}", parameters)
    return sum(
        node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for node in _nodes(plan[0]["Plan"])
        if node.get("Relation Name") in ("jobs", "searches")
    )


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)
