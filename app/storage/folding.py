"""Fold text for comparisons without regard to case and normal form: the same on every database."""

from __future__ import annotations

from unicodedata import normalize

DOTTED = "i\u0307"
"""What İ is in lower case."""


def folded(text: str) -> str:
    """Return a text without distinctions of case and normal form: "Straße" as "strasse", "İ" as "i".

    Databases differ: SQLite's LIKE knows the letters of English alone, and PostgreSQL's ILIKE those of its locale.
    Accents stay.
    """
    return normalize("NFKC", normalize("NFKC", text).casefold()).replace(DOTTED, "i")
