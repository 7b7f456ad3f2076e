"""Files stored in the database, read in parts, so that no process holds a whole large file in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import LargeBinary, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute

PART_BYTES = 4 * 2**20
"""Bytes of a part. PostgreSQL's answer briefly takes three times as much memory, in each concurrent request."""


@dataclass(frozen=True)
class Blob:
    """The content of a file in the database: its size in bytes, and the query of a part of it."""

    size: int
    part: Callable[[int, int], Select[bytes]]


def part_of(
    content: InstrumentedAttribute[bytes] | InstrumentedAttribute[bytes | None], start: int, size: int
) -> Select[bytes]:
    """Return the query of `size` bytes of a column from the byte `start` (counted from 0) on, in all rows."""
    return select(func.substr(content, start + 1, size, type_=LargeBinary()))
