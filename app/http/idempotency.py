"""Idempotency-Keys: the first answer to a request is kept, and given again to its repeats."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.storage.db import now
from app.storage.locks import advisory_lock
from app.storage.models import IdempotencyKey
from nnmass_core.codec import sha256_of

FIELD = "header.Idempotency-Key"
KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Submission:
    """The answer to something submitted: status, body and the address of what was made."""

    status: int
    body: dict[str, Any]
    location: str


def check(key: str | None) -> str | None:
    """Return a key that can be kept. Raises Invalid."""
    if key is not None and not KEY.fullmatch(key):
        raise Invalid.at(FIELD, "bad_key", "must be 1 to 255 printable ASCII characters")
    return key


def fingerprint_of(place: str, body: BaseModel | None = None) -> str:
    """Return what tells one request from another: the place it is sent to, such as `/v1/searches`, and its body."""
    return sha256_of({"place": place, "body": None if body is None else body.model_dump(mode="json")})


def once(session: Session, owner: str, key: str | None, fingerprint: str, make: Callable[[], Submission]) -> Submission:
    """Return what `make` answers, and the same again to every repeat with this key; without a key, just make it.

    Concurrent repeats take turns. Raises Invalid when the key was used for another request.
    """
    if key is None:
        return make()
    advisory_lock(session, "key", owner, key)
    earlier = session.get(IdempotencyKey, (owner, key))
    if earlier is not None:
        return _replay(earlier, fingerprint)
    submission = make()
    session.add(
        IdempotencyKey(
            owner=owner,
            key=key,
            fingerprint=fingerprint,
            status=submission.status,
            location=submission.location,
            body=submission.body,
            created_at=now(session),
        )
    )
    return submission


def replayed(session: Session, owner: str, key: str | None, fingerprint: str) -> Submission | None:
    """Return the answer that a request with this key was given before, or None. Raises Invalid as `once` does."""
    earlier = session.get(IdempotencyKey, (owner, key)) if key is not None else None
    return None if earlier is None else _replay(earlier, fingerprint)


def _replay(earlier: IdempotencyKey, fingerprint: str) -> Submission:
    if earlier.fingerprint != fingerprint:
        raise Invalid.at(FIELD, "key_reused", "was already used for a different request")
    return Submission(earlier.status, earlier.body, earlier.location)
