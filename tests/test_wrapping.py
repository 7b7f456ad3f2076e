"""The prose of the documentation is wrapped at one width."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.wrap import ROOT, WIDTH, pages, wrapped

LONG = "A sentence of words, " * 10


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert wrapped(text) == text, f"run python -m scripts.wrap {page.relative_to(ROOT)}"


@pytest.mark.parametrize("kept", ["```\n{}\n```", "| {} |", "# {}", "    {}", "$$\n{}\n$$", "[name]: {}", "<p>{}</p>"])
def test_text_that_is_not_prose_is_not_wrapped(kept: str) -> None:
    text = f"Before.\n\n{kept.format(LONG.strip())}\n\nAfter.\n"
    assert wrapped(text) == text


@pytest.mark.parametrize(("first", "later"), [("", ""), ("- ", "  "), ("12. ", "    "), ("  - ", "    ")])
def test_long_prose_is_wrapped_under_its_marker(first: str, later: str) -> None:
    lines = wrapped(f"{first}{LONG}\n").rstrip("\n").split("\n")
    assert len(lines) == 2
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].startswith(first + "A sentence")
    assert lines[1].startswith(later)
    assert " ".join(line.strip() for line in lines) == f"{first}{LONG}".strip()


def test_a_wrapped_line_starts_no_list() -> None:
    words = "word " * 23 + "and 1 - 2 is 3"
    assert not any(line.startswith("- ") for line in wrapped(words).split("\n"))
    assert wrapped(wrapped(words)) == wrapped(words)


def test_an_item_is_wrapped_separately_from_its_neighbors() -> None:
    assert wrapped(f"- one\n- {LONG}\n- three\n").split("\n")[0] == "- one"
