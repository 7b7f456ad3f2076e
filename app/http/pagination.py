"""Lists that are answered page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from app.http.cursors import Cursors

T = TypeVar("T")

USUAL = 20
"""Items of a page whose length nobody chose."""


@dataclass(frozen=True)
class Paging:
    """Which page of a list is wanted: up to `limit` items, those after the place that `cursor` names."""

    cursors: Cursors
    cursor: str | None
    limit: int

    def page(
        self,
        scope: dict[str, Any],
        fetch: Callable[[Any, int], Sequence[T]],
        place: Callable[[T], str | int],
    ) -> tuple[Sequence[T], str | None]:
        """Return the page and the cursor of the next one, None for the last.

        scope: which list it is (owner, filters); a cursor of another one raises Invalid. fetch: returns up to so many
        rows after a place, None for the start. place: the place of a row.
        """
        rows = fetch(self.cursors.read(scope, self.cursor), self.limit + 1)
        more = len(rows) > self.limit
        return rows[: self.limit], self.cursors.make(scope, place(rows[self.limit - 1])) if more else None
