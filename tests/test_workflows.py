"""The files that GitHub reads follow their schemas, and the workflows have few permissions."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCHEMAS = {
    ".github/workflows/*.yml": "github-workflows",
    ".github/dependabot.yml": "dependabot",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "github-issue-forms",
    "CITATION.cff": "citation-file-format",
}
"""Files, and the schema that they follow."""


def read(path: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def check_schema(schema: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Check files against a schema that check-jsonschema carries."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    command += ["--default-filetype", "yaml", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("pattern", SCHEMAS)
def test_files_follow_their_schema(pattern: str) -> None:
    paths = sorted(ROOT.glob(pattern))
    assert paths
    done = check_schema(SCHEMAS[pattern], *paths)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelled_key_of_a_workflow_does_not_follow_the_schema(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text((ROOT / ".github/workflows/docs.yml").read_text().replace("runs-on:", "run-on:"))
    assert check_schema("github-workflows", broken).returncode == 1


def test_the_workflows_are_checks_docs_and_release() -> None:
    assert [path.name for path in WORKFLOWS] == ["checks.yml", "docs.yml", "release.yml"]
    assert ".ci/run" in (step.get("run") for step in read(WORKFLOWS[0])["jobs"]["checks"]["steps"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_uses_only_official_actions_and_few_permissions(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+|\./\.github/workflows/[a-z]+\.yml", name) for name in used)
    assert "secrets." not in path.read_text(encoding="utf-8")
    for job in workflow["jobs"].values():
        assert "uses" in job or job["timeout-minutes"] <= 60


def test_a_release_requires_a_tag_and_the_checks_and_publishes_only_to_github() -> None:
    workflow = read(ROOT / ".github/workflows/release.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    assert workflow["jobs"]["release"]["needs"] == "checks"
    commands = "\n".join(step.get("run", "") for step in workflow["jobs"]["release"]["steps"])
    assert "gh release create" in commands
    assert not re.search(r"twine|publish|pypi|docker push", commands)


def test_a_tag_that_is_not_the_version_is_refused() -> None:
    steps = read(ROOT / ".github/workflows/release.yml")["jobs"]["release"]["steps"]
    (command,) = (step["run"] for step in steps if step.get("name") == "Refuse a tag that is not the version")
    version = read(ROOT / "CITATION.cff")["version"]
    for tag, expected in ((f"v{version}", 0), ("v0.0.9", 1), (version + "1", 1)):
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env={"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"}, check=False
        )
        assert done.returncode == expected, tag


def test_the_citation_names_the_version_and_license_of_the_project() -> None:
    citation = read(ROOT / "CITATION.cff")
    init = (ROOT / "nnmass_core/__init__.py").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f'__version__ = "{citation["version"]}"' in init
    assert citation["license"] == project["license"]
    assert citation["authors"] == [{"name": "The nnmass maintainers"}]
