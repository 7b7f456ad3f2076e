"""API keys: who asks, and what they may do.

A key is `nnm_<prefix>_<secret>`. The prefix names it, in lists and logs; the secret has 256 random bits and is kept as
its SHA-256 alone, so that whoever reads the database cannot use it. (A slow hash guards passwords that can be guessed;
256 random bits cannot.)
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.storage.db import now
from app.storage.models import ApiKey

LOCAL_OWNER = "local"
"""The owner of everything while the service runs without keys, on loopback alone."""

OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
OWNER_RULE = "must be 1 to 64 letters, digits or . _ @ -, and start with a letter or digit"
TOKEN = re.compile(r"nnm_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
SECRET_BYTES = 32
NOBODYS = hashlib.sha256(b"").hexdigest()
USE_NOTED_EVERY = timedelta(minutes=1)


class Scope(StrEnum):
    """What a key allows: reading; searching and evaluating; training and measuring; everything."""

    READ = "read"
    SEARCH = "search"
    TRAIN = "train"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """Who makes a request; `key` is the prefix of the key that it came with."""

    owner: str
    scopes: frozenset[Scope]
    key: str | None = None

    def may(self, scope: Scope) -> bool:
        """Tell whether the caller may do what a scope allows."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


ANYONE_HERE = Caller(LOCAL_OWNER, frozenset(Scope))
"""Whoever reaches a service that runs without keys."""


def create(
    session: Session, owner: str, scopes: Collection[Scope], *, name: str = "", expires_in: timedelta | None = None
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and the whole key, which cannot be had again. Raises ValueError for a bad owner."""
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
    """Return the key that this is, if it is one that still counts."""
    parts = TOKEN.fullmatch(token)
    row = session.get(ApiKey, parts[1]) if parts else None
    # compared although there is no such key: the time taken must not tell which prefixes exist
    genuine = hmac.compare_digest(_digest(parts[2] if parts else ""), row.secret_sha256 if row else NOBODYS)
    if row is None or not genuine or row.revoked_at is not None:
        return None
    return None if row.expires_at is not None and row.expires_at <= now(session) else row


def caller_of(row: ApiKey) -> Caller:
    """Return who a key stands for."""
    return Caller(row.owner, frozenset(Scope(scope) for scope in row.scopes), row.prefix)


def unnoted(session: Session, row: ApiKey) -> bool:
    """Tell whether a key's use is due to be noted again."""
    return row.last_used_at is None or now(session) - row.last_used_at > USE_NOTED_EVERY


def note_use(session: Session, prefix: str) -> None:
    """Note that a key was used now."""
    session.execute(update(ApiKey).where(ApiKey.prefix == prefix).values(last_used_at=now(session)))


def exist(session: Session) -> bool:
    """Tell whether any key was ever made: from then on every request needs one, even if all were revoked."""
    return session.execute(select(ApiKey.prefix).limit(1)).first() is not None


def listed(session: Session, owner: str | None = None) -> Sequence[ApiKey]:
    """Return every key, or those of one owner, oldest first."""
    query = select(ApiKey).order_by(ApiKey.created_at, ApiKey.prefix)
    return session.scalars(query if owner is None else query.where(ApiKey.owner == owner)).all()


def described(row: ApiKey) -> dict[str, Any]:
    """Return what may be shown of a key, JSON-ready."""
    moments = {name: getattr(row, name) for name in ("created_at", "expires_at", "revoked_at", "last_used_at")}
    return {
        "prefix": row.prefix,
        "owner": row.owner,
        "scopes": row.scopes,
        "name": row.name,
        **{name: None if moment is None else moment.isoformat(timespec="seconds") for name, moment in moments.items()},
    }


def revoke(session: Session, prefix: str) -> bool:
    """Revoke a key for good; False when there is none of this prefix that counts."""
    live = update(ApiKey).where(ApiKey.prefix == prefix, ApiKey.revoked_at.is_(None))
    revoked = session.execute(live.values(revoked_at=now(session)).returning(ApiKey.prefix))
    return revoked.first() is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
