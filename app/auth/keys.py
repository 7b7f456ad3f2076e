"""API keys: who makes a request, and what they may do.

A key is `nnm_<prefix>_<secret>`. The prefix identifies it in lists and logs. The secret has 256 random bits; only its
SHA-256 is stored, so reading the database does not give usable keys. (A slow hash protects passwords that can be
guessed; 256 random bits cannot be guessed.)
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypedDict

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.storage.db import now
from app.storage.models import ApiKey

LOCAL_OWNER = "local"
"""The owner of everything while the service runs without keys, which it does only on loopback."""

OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
OWNER_RULE = "must be 1 to 64 letters, digits or . _ @ -, and start with a letter or digit"
TOKEN = re.compile(r"nnm_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
SECRET_BYTES = 32
NOBODYS = hashlib.sha256(b"").hexdigest()
USE_NOTED_EVERY = timedelta(minutes=1)


class Scope(StrEnum):
    """What a key allows: read; search and evaluate; train and measure; everything."""

    READ = "read"
    SEARCH = "search"
    TRAIN = "train"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """The caller of a request; `key` is the prefix of the API key, if the request has one."""

    owner: str
    scopes: frozenset[Scope]
    key: str | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether the caller may do what a scope allows."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANYONE_HERE = Caller(LOCAL_OWNER, frozenset(Scope))
"""Every caller of a service that runs without keys."""


def create(
    session: Session, owner: str, scopes: Collection[Scope], *, name: str = "", expires_in: timedelta | None = None
) -> tuple[ApiKey, str]:
    """Create a key. Return its row and the whole key, which cannot be read again. Raises ValueError for a bad owner."""
    if not OWNER.fullmatch(owner):
        raise ValueError(f"owner {OWNER_RULE}")
    secret = secrets.token_urlsafe(SECRET_BYTES)
    moment = now(session)
    row = ApiKey(
        prefix=secrets.token_hex(6),
        secret_sha256=_digest(secret),
        owner=owner,
        scopes=sorted(scopes),
        name=name,
        created_at=moment,
        expires_at=None if expires_in is None else moment + expires_in,
    )
    session.add(row)
    session.flush()
    return row, f"nnm_{row.prefix}_{secret}"


def authenticate(session: Session, token: str) -> ApiKey | None:
    """Return the row of a token if the token is a valid key, else None."""
    parts = TOKEN.fullmatch(token)
    row = session.get(ApiKey, parts[1]) if parts else None
    # compare even when no such key exists: the response time must not reveal which prefixes exist
    genuine = hmac.compare_digest(_digest(parts[2] if parts else ""), row.secret_sha256 if row else NOBODYS)
    if row is None or not genuine or row.revoked_at is not None:
        return None
    return None if row.expires_at is not None and row.expires_at <= now(session) else row


def caller_of(row: ApiKey) -> Caller:
    """Return the caller that a key identifies."""
    return Caller(row.owner, frozenset(Scope(scope) for scope in row.scopes), row.prefix)


def unnoted(session: Session, row: ApiKey) -> bool:
    """Return whether a key's use is due to be recorded again."""
    return row.last_used_at is None or now(session) - row.last_used_at > USE_NOTED_EVERY


def note_use(session: Session, prefix: str) -> None:
    """Record that a key was used now."""
    session.execute(update(ApiKey).where(ApiKey.prefix == prefix).values(last_used_at=now(session)))


def exist(session: Session) -> bool:
    """Return whether any key was ever created: from then on every request needs one, even if all are revoked."""
    return session.execute(select(ApiKey.prefix).limit(1)).first() is not None


def list_page(session: Session, owner: str | None = None) -> Sequence[ApiKey]:
    """Return every key, or those of one owner, oldest first."""
    query = select(ApiKey).order_by(ApiKey.created_at, ApiKey.prefix)
    return session.scalars(query if owner is None else query.where(ApiKey.owner == owner)).all()


class KeyReport(TypedDict):
    """What may be shown of a key."""

    prefix: str
    owner: str
    scopes: list[str]
    name: str
    created_at: str | None
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


def described(row: ApiKey) -> KeyReport:
    """Return what may be shown about a key, JSON-ready."""
    return {
        "prefix": row.prefix,
        "owner": row.owner,
        "scopes": row.scopes,
        "name": row.name,
        "created_at": _written(row.created_at),
        "expires_at": _written(row.expires_at),
        "revoked_at": _written(row.revoked_at),
        "last_used_at": _written(row.last_used_at),
    }


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def revoke(session: Session, prefix: str) -> bool:
    """Revoke a key permanently. Return False when no valid key has this prefix."""
    live = update(ApiKey).where(ApiKey.prefix == prefix, ApiKey.revoked_at.is_(None))
    revoked = session.execute(live.values(revoked_at=now(session)).returning(ApiKey.prefix))
    return revoked.first() is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
