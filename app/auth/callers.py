"""Identify the caller of each request. Keys read from the database are cached briefly."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from hashlib import sha256

from app.auth import keys
from app.auth.keys import ANYONE_HERE, Caller
from app.config import Settings
from app.errors import Unauthenticated
from app.storage.db import Database

REMEMBERED_SECONDS = 2.0
"""Seconds within which a revoked key, or the first key ever created, takes effect in every process."""

MOST_REMEMBERED = 10_000


class Callers:
    """The callers of one process. Thread-safe: the cache is replaced as a whole, never modified in place."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._keys_needed = settings.require_keys
        self._remembered: dict[str, tuple[Caller, float]] = {}
        self._to_note: set[str] = set()

    def remembered(self, token: str | None) -> Caller | None:
        """Return the cached caller of a key (None: no key), or None. Does not use the database."""
        caller, until = self._remembered.get(_name(token), (None, 0.0))
        return caller if time.monotonic() < until else None

    def known(self, token: str | None) -> Caller:
        """Return the caller of a key (None: no key), cached or looked up. Raises Unauthenticated."""
        return self.remembered(token) or self.look_up(token)

    def look_up(self, token: str | None) -> Caller:
        """Look up the caller of a key (None: no key) in the database, without writing. Raises Unauthenticated."""
        with self._database.read() as session:
            if token is None:
                caller = self._without_key(needed=self._keys_needed or keys.exist(session))
            else:
                row = keys.authenticate(session, token)
                if row is None:
                    raise Unauthenticated("the API key is unknown, revoked or expired")
                caller = keys.caller_of(row)
                if keys.unnoted(session, row):
                    self._to_note.add(row.prefix)
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered = {}
        self._remembered[_name(token)] = (caller, time.monotonic() + REMEMBERED_SECONDS)
        return caller

    def use_is_due(self, caller: Caller) -> bool:
        """Return whether a key's use is due to be recorded; True only once for each due time."""
        if caller.key is None or caller.key not in self._to_note:
            return False
        self._to_note.discard(caller.key)
        return True

    def note_use(self, caller: Caller) -> None:
        """Record that a key was used now."""
        if caller.key is not None:
            with self._database.write() as session:
                keys.note_use(session, caller.key)

    def _without_key(self, *, needed: bool) -> Caller:
        if needed:
            raise Unauthenticated("send an API key as `Authorization: Bearer nnm_...`")
        return ANYONE_HERE


@dataclass(frozen=True)
class Admission:
    """Checks, in a thread, whether a key (None: no key) is still valid. Used by long-lived responses."""

    callers: Callers
    token: str | None = field(repr=False)

    def __call__(self) -> bool:
        """Return whether the key is valid now."""
        try:
            self.callers.look_up(self.token)
        except Unauthenticated:
            return False
        return True


def _name(token: str | None) -> str:
    """Return the cache key of a token: a hash, so that a memory dump contains no usable API key."""
    return "" if token is None else sha256(token.encode()).hexdigest()
