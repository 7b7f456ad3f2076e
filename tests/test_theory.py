"""docs/theory.md: its worked examples are what the product computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.worked_examples import EXAMPLES

ROOT = Path(__file__).parents[1]
THEORY = (ROOT / "docs/theory.md").read_text(encoding="utf-8")

EQUATION = re.compile(r'^<a id="eq-(\d+)"></a>\n### \((\d+)\) (.+?)(?=^<a id=|^## |\Z)', re.MULTILINE | re.DOTALL)
"""An equation's section: the number in its anchor, the number in its heading, and its text."""

SECTIONS = {int(number): text for _, number, text in EQUATION.findall(THEORY)}


def paragraph(section: str, start: str) -> str:
    """Return the one paragraph of a section that starts so."""
    (found,) = [text for text in section.split("\n\n") if text.startswith(start)]
    return found


def stated_figures(section: str) -> dict[str, str]:
    """Return the figures of a section's example: code spans of the form `name = value`."""
    spans = re.findall(r"`([^`]+)`", paragraph(section, "*Example.*"))
    return dict(span.split(" = ", 1) for span in spans if " = " in span)


def test_equations_are_numbered_from_one_and_each_has_its_anchor() -> None:
    assert [int(anchor) for anchor, _, _ in EQUATION.findall(THEORY)] == list(range(1, len(EXAMPLES) + 1))
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
