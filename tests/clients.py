"""Clients of the application within the test's own process."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.testclient import TestClient

ADDRESS = "http://127.0.0.1:8000"


def client_of(app: FastAPI, *, key: str | None = None) -> TestClient:
    """Return a client that calls the service by a name it answers to; errors of the server come back as answers."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return TestClient(app, base_url=ADDRESS, raise_server_exceptions=False, headers=headers)
