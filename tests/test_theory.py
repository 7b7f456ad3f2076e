"""docs/theory.md: its worked examples are what the product computes, and citations of documents lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from scripts.reference import pages
from tests.worked_examples import EXAMPLES

ROOT = Path(__file__).parents[1]
THEORY = (ROOT / "docs/theory.md").read_text(encoding="utf-8")

EQUATION = re.compile(r'^<a id="eq-(\d+)"></a>\n### \((\d+)\) (.+?)(?=^<a id=|^## |\Z)', re.MULTILINE | re.DOTALL)
"""An equation's section: the number in its anchor, the number in its heading, and its text."""

SECTIONS = {int(number): text for _, number, text in EQUATION.findall(THEORY)}

SCANNED = (".py", ".md", ".html", ".toml", ".yml", ".yaml")
UNSCANNED = ("CHANGELOG.md", "tests/test_theory.py")
"""The files that may name what does not exist: the changelog what was removed, this file its examples."""

WORD = re.compile(r"[\\\w./*{}:-]+")
JOINED = re.compile(r"""/ ["']([\w-]+\.md)["']""")
"""The last part of a path that code puts together."""

CITED = re.compile(r"theory\.md((?:\s*(?:,|and|to)?\s*\(\d+\))+)")
LINKED = re.compile(r"\[\((\d+)\)\]\([\w./]*theory\.md#eq-(\d+)\)")
ANCHORED = re.compile(r"theory\.md#eq-(\d+)")
DECISION = re.compile(r"\bADR (\d+)\b|\[decision (\d+)\]")

WRITTEN = {"scripts/reference/": "docs/reference"}
"""Folders of code that writes pages, with the folder from which the links of these pages start."""

PLACEHOLDERS = {"docs/adr/template.md": {"NNNN-short-name.md"}, "tests/test_words.py": {"page.md"}}
"""Names that stand for any document, by the file that may use them."""

SHARED: dict[str, set[str]] = {}
"""Documents outside the repository, in ../shared, that a test reads and may therefore cite, by the test's path."""


def paragraph(section: str, start: str) -> str:
    """Return the one paragraph of a section that starts so."""
    (found,) = [text for text in section.split("\n\n") if text.startswith(start)]
    return found


def stated_figures(section: str) -> dict[str, str]:
    """Return the figures of a section's example: code spans of the form `name = value`."""
    spans = re.findall(r"`([^`]+)`", paragraph(section, "*Example.*"))
    return dict(span.split(" = ", 1) for span in spans if " = " in span)


@cache
def scanned_files() -> tuple[tuple[str, str], ...]:
    """Return path and text of every tracked text file, paths relative to the repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    paths = [path for path in listed.stdout.split("\0") if path.endswith(SCANNED) and path not in UNSCANNED]
    return tuple((path, (ROOT / path).read_text(encoding="utf-8")) for path in paths if (ROOT / path).is_file())


@cache
def generated_pages() -> frozenset[Path]:
    """Return where the pages would lie that are written when the site is built."""
    notebooks = (path.with_suffix(".md") for path in (ROOT / "docs/notebooks").glob("*.ipynb"))
    return frozenset(ROOT / "docs" / page for page in pages()) | frozenset(notebooks)


@cache
def document_names() -> frozenset[str]:
    """Return the names of all tracked documents, without their folders."""
    return frozenset(Path(path).name for path, _ in scanned_files() if path.endswith(".md"))


def leads_somewhere(path: str, document: str) -> bool:
    """Return whether a document that is named in a file exists: next to the file, in docs/, or at the root."""
    written = [ROOT / folder for code, folder in WRITTEN.items() if path.startswith(code)]
    places = [(ROOT / path).parent, ROOT / "docs", ROOT, *written]
    candidates = [Path(os.path.normpath(place / document)) for place in places]
    return any((c.is_file() and c.is_relative_to(ROOT)) or c in generated_pages() for c in candidates)


def cited_documents(text: str) -> set[str]:
    """Return the documents that a text names, without addresses of other hosts and patterns."""
    words = {word.rstrip(".:") for word in WORD.findall(text)}
    return {word for word in words if word.endswith(".md") and word != ".md" and not re.search(r"[\\*{}:]", word)}


def dangling_documents(path: str, text: str) -> set[str]:
    """Return the documents that a file names and that do not exist."""
    joined = document_names().intersection(JOINED.findall(text))
    allowed = PLACEHOLDERS.get(path, set()) | SHARED.get(path, set()) | joined
    return {name for name in cited_documents(text) if name not in allowed and not leads_somewhere(path, name)}


def cited_equations(path: str, text: str) -> set[int]:
    """Return the equation numbers that a text cites."""
    lists = CITED.findall(text) + (
        [re.sub(r"```.*?```", "", text, flags=re.DOTALL)] if path == "docs/theory.md" else []
    )
    numbers = [number for numbers in lists for number in re.findall(r"\((\d+)\)", numbers)]
    ranges = [pair for numbers in lists for pair in re.findall(r"\((\d+)\)\s+to\s+\((\d+)\)", numbers)]
    between = {number for first, last in ranges for number in range(int(first), int(last))}
    return between | {int(number) for number in numbers + ANCHORED.findall(text)}


def test_equations_ascend_and_each_has_its_anchor() -> None:
    assert [int(anchor) for anchor, _, _ in EQUATION.findall(THEORY)] == sorted(EXAMPLES)
    assert all(anchor == number for anchor, number, _ in EQUATION.findall(THEORY))
    assert len(SECTIONS) == len(re.findall(r"^### ", THEORY, re.MULTILINE)) == THEORY.count("<a id=")


@pytest.mark.parametrize("number", SECTIONS)
def test_every_equation_has_a_formula_and_a_source(number: int) -> None:
    assert re.search(r"^```text\n.+?\n```$", SECTIONS[number], re.MULTILINE | re.DOTALL)
    assert paragraph(SECTIONS[number], "*Source:*")


@pytest.mark.parametrize("number", EXAMPLES)
def test_the_worked_example_is_what_the_product_computes(number: int) -> None:
    if number == 31:
        pytest.importorskip("torch", reason="singular values are computed by torch, which comes with the extra `train`")
    computed = EXAMPLES[number]()
    assert computed
    assert stated_figures(SECTIONS[number]) == computed


def test_every_document_that_is_cited_exists() -> None:
    found = {path: dangling_documents(path, text) for path, text in scanned_files()}
    assert {path: sorted(names) for path, names in found.items() if names} == {}


def test_every_equation_that_is_cited_exists() -> None:
    found = {path: cited_equations(path, text) - SECTIONS.keys() for path, text in scanned_files()}
    assert {path: numbers for path, numbers in found.items() if numbers} == {}


def test_a_link_to_an_equation_shows_its_number() -> None:
    links = [link for _, text in scanned_files() for link in LINKED.findall(text)]
    assert links
    assert all(shown == target for shown, target in links)


def test_every_decision_that_is_cited_by_number_exists() -> None:
    decisions = {int(path.name[:4]) for path in (ROOT / "docs/adr").glob("[0-9]*.md")}
    cited = {int("".join(numbers)) for _, text in scanned_files() for numbers in DECISION.findall(text)}
    assert cited
    assert cited <= decisions


def test_formulas_are_cited_where_they_are_computed() -> None:
    cited = {
        n for path, text in scanned_files() if path.startswith("nnmass_core/") for n in cited_equations(path, text)
    }
    assert cited == SECTIONS.keys()


@pytest.mark.parametrize(
    ("text", "documents", "equations"),
    [
        ("as docs/absent.md says", {"docs/absent.md"}, set()),
        ("see theory.md (1), (999) and\n    (1000).", set(), {999, 1000}),
        ("[(2)](docs/theory.md#eq-998)", set(), {998}),
        ("from `docs/*.md`, f'{name}.md', https://example.org/a.md and docs/theory.md (5)", set(), set()),
    ],
)
def test_a_citation_that_leads_nowhere_is_found(text: str, documents: set[str], equations: set[int]) -> None:
    assert dangling_documents("nnmass_core/mass.py", text) == documents
    assert cited_equations("nnmass_core/mass.py", text) - SECTIONS.keys() == equations
