"""Identifiers of rows."""

from __future__ import annotations

import secrets
import time
from uuid import UUID

from pydantic import BeforeValidator

from app.errors import NotFound

UUID_TEXT = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
"""The form of a UUID."""

_NS_PER_MS = 1_000_000


def new_id() -> UUID:
    """Return a UUID of version 7 (RFC 9562), which sorts by creation time, to a quarter of a microsecond."""
    ms, rest = divmod(time.time_ns(), _NS_PER_MS)
    fraction = (rest << 12) // _NS_PER_MS
    return UUID(int=ms << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | secrets.randbits(62))


def id_of(what: str) -> BeforeValidator:
    """Return the validator of an id in a path: text that is not an id raises NotFound."""

    def read(text: str) -> UUID:
        try:
            return UUID(text)
        except ValueError:
            raise NotFound(f"there is no such {what}") from None

    return BeforeValidator(read)
