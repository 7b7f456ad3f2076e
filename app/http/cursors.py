"""Cursors of paged lists: signed, and bound to the owner and the filters of the list they continue."""

from __future__ import annotations

from collections.abc import Mapping

from itsdangerous import BadData, URLSafeSerializer

from app.errors import Invalid
from nnmass_core.codec import JsonValue, sha256_of

LONGEST = 512


class Cursors:
    """Creates and reads cursors; `key` is the signing key."""

    def __init__(self, key: str) -> None:
        self._serializer = URLSafeSerializer(key, salt="nnmass.cursor")

    def make(self, scope: Mapping[str, JsonValue], position: str | int) -> str:
        """Return a cursor for the items after `position` in the list that `scope` (owner, filters) identifies."""
        return str(self._serializer.dumps([sha256_of(scope)[:16], position]))

    def read(self, scope: Mapping[str, JsonValue], cursor: str | None) -> str | int | None:
        """Return the position in a cursor; None for no cursor. Raises Invalid for a cursor of another list."""
        if cursor is None:
            return None
        try:
            bound_to, position = self._serializer.loads(cursor)
        except (BadData, ValueError, TypeError):
            bound_to, position = None, None
        if bound_to != sha256_of(scope)[:16] or not isinstance(position, str | int):
            raise Invalid.at("cursor", "bad_cursor", "is not a cursor of this list")
        return position
