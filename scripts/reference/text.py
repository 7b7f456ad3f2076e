"""Generate Markdown: tables, code in their cells, paragraphs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest


def code(value: object) -> str:
    """Return a value as code for a table's cell."""
    return f"`{str(value).replace('|', chr(92) + '|')}`"


def listed(values: Iterable[object]) -> str:
    """Return values as code, separated by commas."""
    return ", ".join(map(code, values))


def prose(text: str) -> str:
    """Return a text with its markup escaped, except for code in backticks."""
    parts = text.split("`")
    plain = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(part for pair in zip_longest(plain, parts[1::2]) for part in pair if part is not None)


def one_line(text: str) -> str:
    """Return a text for a table's cell."""
    return prose(" ".join(text.split())).replace("|", "\\|")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return a table, or nothing when there are no rows. right: right-aligned columns."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return ""
    ruler = ["--:" if column in right else "---" for column in range(len(heads))]
    return "\n".join([f"| {' | '.join(heads)} |", f"| {' | '.join(ruler)} |", *body])


def page(*parts: str) -> str:
    """Return a page of its paragraphs, without the empty ones."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"
