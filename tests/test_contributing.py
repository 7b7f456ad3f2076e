"""The files for contributors parse, and everything that they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_hooks_run_commands_of_the_environment() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    checked = re.findall(r"^\t\.venv-dev/bin/(\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for hook in repository["hooks"]:
        program = hook["entry"].split()[0]
        assert program.removeprefix(".venv-dev/bin/") in checked
        assert hook["language"] == "system"


def test_the_quick_tests_leave_out_tests_that_exist() -> None:
    """A test that was moved would be run again, and make them slow."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (left_out,) = re.findall(r"^SLOW_TESTS = (.+)$", makefile, re.MULTILINE)
    assert [name for name in left_out.split() if not (ROOT / "tests" / name).exists()] == []


def test_issue_templates_parse_and_have_fields() -> None:
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert {form.name for form in forms} == {"bug.yml", "feature.yml"}
    for form in forms:
        read = yaml.safe_load(form.read_text(encoding="utf-8"))
        ids = [part["id"] for part in read["body"]]
        assert len(ids) == len(set(ids)) > 1
        assert any(part.get("validations", {}).get("required") for part in read["body"])
        assert all(part["type"] in ("textarea", "input", "dropdown") for part in read["body"])


def test_links_of_pages_for_contributors_lead_to_existing_files() -> None:
    for name in (
        "CODE_OF_CONDUCT.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        ".github/pull_request_template.md",
        "CHANGELOG.md",
    ):
        page = ROOT / name
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{name} links to {link}"


def test_every_decision_has_its_number_once() -> None:
    paths = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in paths] == list(range(1, len(paths) + 1))
    for path in paths:
        assert path.read_text(encoding="utf-8").startswith(f"# {int(path.name[:4])}. ")


def test_the_index_of_decisions_lists_each_once_in_order() -> None:
    listed = re.findall(
        r"^- \[(\d+)\]\((.+?)\): \S", (ROOT / "docs/adr/index.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    names = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))
    assert listed == [(str(int(name[:4])), name) for name in names]


def test_decisions_have_the_parts_of_the_template() -> None:
    paths = [ROOT / "docs/adr/template.md", *(ROOT / "docs/adr").glob("[0-9]*.md")]
    for path in paths:
        found = re.findall(r"^\*\*(\w+)\.\*\*", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert found == ["Context", "Decision", "Consequences", "Alternatives"], path.name
