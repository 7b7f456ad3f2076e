"""Who makes each request. Keys are looked up in the database and remembered for a short time."""

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
"""A key that was revoked, or the first that was made, counts everywhere after this long."""

MOST_REMEMBERED = 10_000


class Callers:
    """The callers of one process. Thread-safe: what is remembered is replaced whole, never changed."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._keys_needed = settings.require_keys
        self._remembered: dict[str, tuple[Caller, float]] = {}
        self._to_note: set[str] = set()

    def remembered(self, token: str | None) -> Caller | None:
        """Return the caller of a key (None: no key) that was looked up moments ago; without touching the database."""
        caller, until = self._remembered.get(_name(token), (None, 0.0))
        return caller if time.monotonic() < until else None

    def known(self, token: str | None) -> Caller:
        """Return the caller of a key, or of none, as remembered or as looked up. Raises Unauthenticated."""
        return self.remembered(token) or self.look_up(token)

    def look_up(self, token: str | None) -> Caller:
        """Return the caller of a key, or of none, as of now. Only reads. Raises Unauthenticated."""
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
        """Tell, once for each time, whether a key's use is due to be noted."""
        if caller.key is None or caller.key not in self._to_note:
            return False
        self._to_note.discard(caller.key)
        return True

    def note_use(self, caller: Caller) -> None:
        """Note that a key was used now."""
        if caller.key is not None:
            with self._database.write() as session:
                keys.note_use(session, caller.key)

    def _without_key(self, *, needed: bool) -> Caller:
        if needed:
            raise Unauthenticated("send an API key as `Authorization: Bearer nnm_...`")
        return ANYONE_HERE


@dataclass(frozen=True)
class Admission:
    """Tells whether a key (None: no key) still counts, asked in a thread: for answers that go on and on."""

    callers: Callers
    token: str | None = field(repr=False)

    def __call__(self) -> bool:
        """Look the key up."""
        try:
            self.callers.look_up(self.token)
        except Unauthenticated:
            return False
        return True


def _name(token: str | None) -> str:
    """Return what a token is remembered under: not itself, so that no dump of the memory holds a usable key."""
    return "" if token is None else sha256(token.encode()).hexdigest()
