"""Clients that public generators make from the OpenAPI document run a search and a verification on a real service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.everything import described, operations_of
from tests.processes.service import Json, Service
from tests.test_wheels import Environment

pytest.importorskip("torch", reason="torch comes with the extra `train`")
pytest.importorskip("sklearn", reason="the images come with scikit-learn")

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = "nnmass_client"
"""The generated Python package: the generator names it after the title of the document."""


@pytest.fixture(scope="module")
def document() -> Json:
    return described()


@dataclass(frozen=True)
class Target:
    """A service that needs a key: its address, and the key."""

    address: str
    key: str

    def get(self, path: str) -> Json:
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx2.get(self.address + path, headers=headers, timeout=30, trust_env=False, verify=False)
        found: Json = answer.raise_for_status().json()
        return found


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Service(tmp_path_factory.mktemp("service"), {}) as service:
        create = ("keys", "create", "--owner", "somebody", "--scopes", "read,search,train")
        key = printed(sys.executable, "-m", "app", *create, "--data-dir", service.folder, folder=ROOT)
        yield Target(service.address, key.strip())


def written(document: Json, folder: Path) -> Path:
    path = folder / "openapi.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def printed(*command: str | Path, folder: Path, **variables: str) -> str:
    """Run a command that succeeds; return what it prints."""
    done = subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(target: Target, found: dict[str, Any]) -> None:
    """Compare what a program printed with what the service answers."""
    search = target.get(f"/v1/searches/{found['search']}")
    (best, *_) = target.get(f"/v1/searches/{found['search']}/architectures")["items"]
    trained = target.get(f"/v1/verifications/{found['verification']}")
    assert (search["status"], trained["status"]) == ("succeeded", "succeeded")
    assert trained["arch_id"] == best["arch_id"]
    assert found == {
        "search": search["id"],
        "optimal": True,
        "nn_mass": best["nn_mass"],
        "params": best["params"],
        "refused": ["budget.max_params"],
        "unknown": 404,
        "verification": trained["id"],
        "accuracy": trained["result"]["accuracy"]["mean"],
    }


def test_the_python_client_runs_a_search_and_a_verification(document: Json, target: Target, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment")
    environment.install("--requirement", str(HERE / "python/requirements.txt"))
    place = tmp_path / "client"
    report = environment.output(
        "openapi-python-client",
        *("generate", "--path", str(written(document, tmp_path)), "--output-path", str(place)),
        *("--config", str(HERE / "python/generator.yaml"), "--fail-on-warning"),
    )
    assert "warning" not in report.lower(), report

    functions = {path.stem for path in (place / PACKAGE / "api").glob("*/*.py")} - {"__init__"}
    assert functions == {operation["operationId"] for _, _, operation in operations_of(document)}
    classes = set(re.findall(r'^    "(\w+)",$', (place / PACKAGE / "models/__init__.py").read_text(), re.MULTILINE))
    components = document["components"]["schemas"]
    assert {name for name, schema in components.items() if {"properties", "enum"} & set(schema)} <= classes

    program = str(shutil.copy(HERE / "python/program.py", place))
    # silent: what the generator writes is not all of the types that it declares
    known = ["--python-executable", str(environment.folder / "bin/python"), "--cache-dir", str(tmp_path / "mypy")]
    printed(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *known, program, folder=place)
    run = ("-W", "error", program, target.address, target.key)
    check(target, json.loads(environment.output("python", *run)))


def test_the_typescript_client_runs_a_search_and_a_verification(document: Json, target: Target, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("no Node.js here")
    place = Path(shutil.copytree(HERE / "typescript", tmp_path / "client"))
    printed("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=place)
    generate = (place / "node_modules/.bin/openapi-typescript", written(document, tmp_path))
    # a field with a default may be left out of a request
    printed(*generate, "--output", place / "schema.d.ts", "--default-non-nullable", "false", folder=place)

    types = (place / "schema.d.ts").read_text(encoding="utf-8")
    components, operations = types.split("\nexport interface operations {")
    functions = re.findall(r"^    (\w+): \{$", operations, re.MULTILINE)
    assert set(functions) == {operation["operationId"] for _, _, operation in operations_of(document)}
    schemas = components.split("    schemas: {", 1)[1]
    assert set(document["components"]["schemas"]) <= set(re.findall(r"^        (\w+): ", schemas, re.MULTILINE))

    printed(place / "node_modules/.bin/tsc", "--project", ".", folder=place)
    run = ("node", "built/program.js", target.address, target.key)
    check(target, json.loads(printed(*run, folder=place)))
