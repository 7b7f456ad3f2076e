"""`nnmass keys`, and which addresses the service listens on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.auth import keys
from app.cli import app as command_line
from app.config import Settings
from app.processes.refusals import StartRefused
from app.processes.uvicorn_server import fit_for
from app.storage.db import Database
from tests.conftest import Backend

EVERYWHERE = "0.0.0.0"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command on a data folder that does not exist yet."""
    monkeypatch.setenv("NNMASS_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(command_line, ["keys", *arguments])

    return run


def test_create_prints_only_the_key_and_the_key_works(run: Any, tmp_path: Path) -> None:
    done = run("create", "--owner", "alice", "--scopes", "read,train", "--name", "lab", "--days", "30")
    assert done.exit_code == 0
    token = done.stdout.removesuffix("\n")
    assert keys.TOKEN.fullmatch(token)
    with Database(Settings(data_dir=tmp_path / "data").sqlalchemy_url).read() as session:
        row = keys.authenticate(session, token)
    assert row is not None
    assert (row.owner, row.scopes, row.name) == ("alice", ["read", "train"], "lab")
    assert row.expires_at is not None
    assert (row.expires_at - row.created_at).days == 30


def test_keys_are_listed_without_their_secrets_and_revoked(run: Any) -> None:
    alices, bobs = (run("create", "--owner", owner).stdout.strip() for owner in ("alice", "bob"))
    listed = json.loads(run("list", "--json").stdout)
    assert [key["prefix"] for key in listed] == [alices.split("_")[1], bobs.split("_")[1]]
    assert [key["owner"] for key in json.loads(run("list", "--json", "--owner", "bob").stdout)] == ["bob"]
    for token, named in ((alices, alices.split("_")[1]), (bobs, bobs)):
        assert token.split("_", 2)[2] not in run("list").stdout + run("list", "--json").stdout
        assert run("revoke", named).exit_code == 0
        again = run("revoke", named)
        assert (again.exit_code, again.stderr) == (2, "nnmass: no such key, or it is already revoked\n")
    assert all(key["revoked_at"] for key in json.loads(run("list", "--json").stdout))
    assert run("list").stdout.count("revoked") == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--owner", "a b"], "--owner"),
        (["--owner", ""], "--owner"),
        (["--owner", "alice", "--scopes", "read,write"], "write"),
        (["--owner", "alice", "--scopes", ""], "--scopes"),
        (["--owner", "alice", "--days", "0"], "--days"),
        ([], "--owner"),
    ],
)
def test_an_invalid_option_is_reported_by_name(run: Any, arguments: list[str], named: str) -> None:
    done = run("create", *arguments)
    assert done.exit_code == 2
    assert named in done.stderr
    assert done.stdout == ""


def test_listening_beyond_this_machine_requires_keys(backend: Backend) -> None:
    settings = backend.settings
    assert fit_for("127.0.0.1", settings) == fit_for("localhost", settings) == fit_for("::1", settings) == settings
    with pytest.raises(StartRefused, match="nnmass keys create"):
        fit_for(EVERYWHERE, settings)
    with backend.database.write() as session:
        keys.create(session, "alice", {keys.Scope.READ})
    assert fit_for(EVERYWHERE, settings).require_keys
    assert not fit_for("127.0.0.1", settings).require_keys, "looked up at every request instead"


def test_the_setting_for_required_keys_permits_listening_beyond_this_machine(tmp_path: Path) -> None:
    assert fit_for(EVERYWHERE, Settings(data_dir=tmp_path, require_keys=True)).require_keys
    assert not fit_for(EVERYWHERE, Settings(data_dir=tmp_path, allow_public=True)).require_keys
    assert not list(tmp_path.iterdir())


def test_keys_are_required_while_the_database_is_unavailable(tmp_path: Path) -> None:
    away = {"database_url": "postgresql://127.0.0.1:1/x", "broker_url": "redis://127.0.0.1:1/0"}
    assert fit_for(EVERYWHERE, Settings(data_dir=tmp_path, **away)).require_keys  # type: ignore[arg-type]
