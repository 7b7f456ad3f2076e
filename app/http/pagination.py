"""Paged lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from app.http.cursors import Cursors
from nnmass_core.codec import JsonValue

T = TypeVar("T")

USUAL = 20
"""The number of items of a page when the client sends no limit."""


@dataclass(frozen=True)
class Paging:
    """The requested page of a list: up to `limit` items after the position in `cursor`."""

    cursors: Cursors
    cursor: str | None
    limit: int

    def page(
        self,
        scope: Mapping[str, JsonValue],
        fetch: Callable[[Any, int], Sequence[T]],
        place: Callable[[T], str | int],
    ) -> tuple[Sequence[T], str | None]:
        """Return the page, and the cursor of the next page (None for the last page).

        scope: identifies the list (owner, filters); a cursor of another list raises Invalid. fetch: returns at most the
        given number of rows after a position (None: from the start). place: returns the position of a row.
        """
        rows = fetch(self.cursors.read(scope, self.cursor), self.limit + 1)
        more = len(rows) > self.limit
        return rows[: self.limit], self.cursors.make(scope, place(rows[self.limit - 1])) if more else None

    def page_of(self, scope: Mapping[str, JsonValue], items: Sequence[T]) -> tuple[list[T], str | None]:
        """Return the page of a list that is at hand as a whole, and the cursor of the next page."""
        numbered = list(enumerate(items, start=1))
        page, following = self.page(scope, lambda after, limit: numbered[after or 0 :][:limit], lambda item: item[0])
        return [item for _, item in page], following
