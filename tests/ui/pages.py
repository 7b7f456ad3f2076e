"""What tests of the pages without a browser share: forms, keys and addresses."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from app import ui
from app.auth import keys
from app.auth.keys import Scope
from app.storage.db import Database
from tests.api.everything import Everything
from tests.clients import ADDRESS, client_of

OURS = {"Origin": ADDRESS}
FORM = {"preset": "densenet-tiny-free", "max_params": "20k", "max_macs": "2M", "name": "first"}


def key_of(app: FastAPI, owner: str, *scopes: Scope) -> str:
    database: Database = app.state.database
    with database.write() as session:
        return keys.create(session, owner, set(scopes))[1]


def signed_in(app: FastAPI, key: str) -> TestClient:
    client = client_of(app)
    answer = client.post("/sign-in", data={"key": key, "next": "/searches"}, headers=OURS, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/searches")
    return client


def routes() -> Iterator[tuple[str, str]]:
    """Yield (method, path) of every page."""
    for router in (router for routers in ui.ROUTERS.values() for router in routers):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            yield from ((method, route.path) for method in sorted(route.methods or ()))


def filled_in(path: str, site: Everything) -> str:
    """Return the address of a page of what there is."""
    return path.format(**site.ids, form="onnx")
