"""Host names, requests from other origins, security headers, documentation pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.config import Settings
from app.main import create_app
from tests.clients import client_of


def serve(folder: Path, **settings: Any) -> TestClient:
    return client_of(create_app(Settings(data_dir=folder, **settings)))


def host(client: TestClient, name: str) -> int:
    return int(client.get("/healthz", headers={"Host": name}).status_code)


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]:8000", "127.9.9.9"])
def test_requests_to_local_host_names_are_answered(tmp_path: Path, name: str) -> None:
    assert host(serve(tmp_path), name) == 200


@pytest.mark.parametrize(
    "name",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1",
     "user@evil.example", "localhost@evil.example", "0.0.0.0"],
)  # fmt: skip
def test_requests_to_a_foreign_host_name_are_refused(tmp_path: Path, name: str) -> None:
    answer = serve(tmp_path).get("/healthz", headers={"Host": name})
    assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")


def test_requests_to_configured_host_names_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNMASS_ALLOWED_HOSTS", "nas.example, Search.Example")
    client = serve(tmp_path)
    assert [host(client, name) for name in ("nas.example", "search.example:80", "localhost")] == [200] * 3
    assert host(client, "evil.example") == 421


@pytest.mark.parametrize("guarded", ["require_keys", "allow_public"])
def test_any_host_name_is_answered_where_keys_are_required(tmp_path: Path, guarded: str) -> None:
    assert host(serve(tmp_path, **{guarded: True}), "any.example") == 200
    assert host(serve(tmp_path, **{guarded: True}, allowed_hosts=("one.example",)), "any.example") == 421


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://127.0.0.1:9999"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}, False),
        ({}, False),
    ],
)
def test_writes_from_another_origin_are_refused(sqlite_file: Path, headers: dict[str, str], refused: bool) -> None:
    client = serve(sqlite_file.parent)
    answer = client.post("/v1/searches/00000000-0000-7000-8000-000000000000/cancel", headers=headers)
    assert answer.status_code == (403 if refused else 404)
    assert client.get("/healthz", headers=headers).status_code == 200


PATHS = ["/healthz", "/v1/spaces", "/v1/nothing", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_security_headers(sqlite_file: Path, path: str) -> None:
    headers = serve(sqlite_file.parent).get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_refusals_have_the_security_headers(tmp_path: Path) -> None:
    client = serve(tmp_path)
    refused = [
        client.get("/healthz", headers={"Host": "evil.example"}),
        client.post("/v1/searches", content=b"{", headers={"Content-Type": "application/json"}),
    ]
    assert [answer.status_code for answer in refused] == [421, 400]
    assert all(answer.headers["X-Content-Type-Options"] == "nosniff" for answer in refused)


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_pages_run_only_their_own_scripts(tmp_path: Path, path: str) -> None:
    page = serve(tmp_path).get(path)
    policy = page.headers["Content-Security-Policy"]
    (scripts,) = re.findall(r"script-src ([^;]*);", policy)
    assert "unsafe" not in scripts
    assert not re.findall(r"https?://(?!127\.0\.0\.1)", policy)
    inline = re.findall(r"<script>", page.text)
    assert scripts.count("'sha256-") == len(inline)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text), "nothing from other hosts"
