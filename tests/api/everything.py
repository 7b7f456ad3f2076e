"""A service with one resource of each kind, for tests that call every route of the OpenAPI document."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.auth import keys
from app.auth.keys import Scope
from app.config import Settings
from app.jobs import lifecycle, rounds
from app.main import create_app
from app.storage.db import Database
from app.storage.models import Export, Measurement
from tests.api import trainings
from tests.api.test_verifications import SEARCH as MLP_SEARCH
from tests.clients import client_of
from tests.core.latencies import profile
from tests.networks import MLP
from worker import search_tasks
from worker.process import Context

METHODS = ("get", "post", "put", "patch", "delete")
TRAINING: dict[str, Any] = {"dataset": "digits", "recipe": "mlp-paper", "seeds": [0]}
QUESTION = {name: value for name, value in MLP_SEARCH.items() if name != "top_k"}
PEAK: dict[str, Any] = {"by_seed": [{"seed": 0, "peak_activation_elements": 80}], "closed_form_elements": 80}
AT_FIRST = "at-first.db"
QUEUED = 12
"""Searches that wait, for requests that delete or cancel one."""


def described() -> dict[str, Any]:
    """Return the OpenAPI document, without a service."""
    database, broker = SecretStr("postgresql://nowhere/none"), SecretStr("redis://nowhere")
    settings = Settings(database_url=database, broker_url=broker, secret_key=SecretStr("x" * 16))
    return create_app(settings).openapi()


@dataclass(frozen=True)
class Everything:
    """A service, a client with all scopes, and the ids of its resources.

    ids: one succeeded resource of each kind, by the name of the path parameter. waiting: searches that are queued.
    campaign: one that has not ended. key: the client's API key; None where the service needs none.
    """

    app: FastAPI
    client: TestClient
    ids: dict[str, str]
    waiting: list[str]
    campaign: str
    key: str | None

    def restore(self) -> None:
        """Restore the database to its first state."""
        folder = self.app.state.settings.data_dir
        with closing(sqlite3.connect(folder / AT_FIRST)) as then, closing(sqlite3.connect(folder / "nnmass.db")) as now:
            then.backup(now)


def operations_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (method, path, description) of every operation of an OpenAPI document."""
    for path, item in document["paths"].items():
        yield from ((method, path, item[method]) for method in METHODS if method in item)


OPERATIONS = {f"{method.upper()} {path}": about for method, path, about in operations_of(described())}
"""Every operation of the document, by method and path."""


def examples_of(document: dict[str, Any], schema: dict[str, Any]) -> list[Any]:
    """Return the examples that the document gives of a body."""
    if "examples" not in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    examples: list[Any] = schema["examples"]
    return examples


@contextmanager
def everything(schema_file: Path, folder: Path, *, keyed: bool, **settings: Any) -> Iterator[Everything]:
    """Make a service in a folder from a database file that has the schema, with one resource of each kind."""
    shutil.copy(schema_file, folder / "nnmass.db")
    unlimited = {"most_waiting": 10**9, "rate_limit": "1000000000/second"}
    app = create_app(Settings(data_dir=folder, **{**unlimited, **settings}))
    database: Database = app.state.database
    key = _key(database) if keyed else None
    # the application without its threads: nothing here reaches a worker
    with closing(client_of(app, key=key)) as client, start_blocking_portal() as client.portal:
        ids = _make(client, Context(app.state.settings, database, "test/1"))
        waiting = [_post(client, "/v1/searches", MLP_SEARCH | {"fresh": True})["id"] for _ in range(QUEUED)]
        campaign = _post(client, "/v1/campaigns", TRAINING | {"search": QUESTION, "strategy": "top"})["id"]
        with closing(sqlite3.connect(folder / "nnmass.db")) as now, closing(sqlite3.connect(folder / AT_FIRST)) as then:
            now.backup(then)
        yield Everything(app, client, ids, waiting, campaign, key)
    database.dispose()


def _key(database: Database) -> str:
    with database.write() as session:
        return keys.create(session, "somebody", {Scope.READ, Scope.SEARCH, Scope.TRAIN})[1]


def _make(client: TestClient, worker: Context) -> dict[str, str]:
    search = _post(client, "/v1/searches", MLP_SEARCH)["id"]
    assert search_tasks.run_next(worker)
    (trained,) = _post(client, "/v1/verifications", TRAINING | {"search": search})["items"]
    (ended,) = trainings.train_all(worker.database, [7])
    trainings.describe(worker.database, ended)
    measurement = _post(client, "/v1/measurements", {"kind": "peak", "architecture": MLP})["id"]
    held = trainings.claim(worker.database, "files")
    with worker.database.write() as session:
        assert lifecycle.succeed(session, held)
        session.get_one(Measurement, held.job_id).result = PEAK
    for made in (f"architectures/{trained['arch_id']}", f"verifications/{trained['id']}"):
        assert client.get(f"/v1/{made}/export?format=onnx").status_code == 202
        held = trainings.claim(worker.database, "files")
        with worker.database.write() as session:
            assert lifecycle.succeed(session, held)
            session.get_one(Export, held.job_id).content = b"made"
    return {
        "campaign_id": _campaign(client, worker),
        "search_id": search,
        "verification_id": trained["id"],
        "measurement_id": measurement,
        "arch_id": trained["arch_id"],
        "name": "weights-seed0.pt",
        "device_name": _post(client, "/v1/devices", profile())["name"],
        "column_name": _column(client, trained["arch_id"]),
    }


def _column(client: TestClient, arch_id: str) -> str:
    """Upload a figure beside a network; returns the name of its column."""
    _post(client, "/v1/evidence/points", {"points": [{"arch_id": arch_id, "values": {"zico": 1.5}}]})
    return "zico"


def _campaign(client: TestClient, worker: Context) -> str:
    """Run a campaign of one network and one further seed."""
    only_one = {"trainings": 1, "rounds": 1, "confirm": 1, "strategy": "top", "validation": 0}
    made = str(_post(client, "/v1/campaigns", TRAINING | only_one | {"search": QUESTION})["id"])
    for seed in (0, 1):
        assert search_tasks.run_next(worker)
        trainings.finish(worker.database, trainings.claim(worker.database), {seed: 6})
        rounds.advance(worker.database)
    assert search_tasks.run_next(worker)
    return made


def _post(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201, 202), answer.text
    made: dict[str, Any] = answer.json()
    return made
