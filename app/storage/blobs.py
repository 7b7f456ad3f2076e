"""Files that the database keeps, read part by part: of the largest, no process should hold all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import LargeBinary, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute

PART_BYTES = 4 * 2**20
"""PostgreSQL's answer holds three times as much for a moment, in each of the requests at once."""


@dataclass(frozen=True)
class Blob:
    """The content of a file in the database: its bytes, and the query of so many of them from a place on."""

    size: int
    part: Callable[[int, int], Select[bytes]]


def part_of(
    content: InstrumentedAttribute[bytes] | InstrumentedAttribute[bytes | None], start: int, size: int
) -> Select[bytes]:
    """Return the query of `size` bytes of a column from the byte `start` (counted from 0) on, in all rows."""
    return select(func.substr(content, start + 1, size, type_=LargeBinary()))
