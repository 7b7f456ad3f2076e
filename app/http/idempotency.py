"""Idempotency-Keys: the first response to a request is stored, and repeats of the request receive it again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.storage.db import now
from app.storage.locks import advisory_lock
from app.storage.models import IdempotencyKey
from nnmass_core.codec import JsonObject, sha256_of

FIELD = "header.Idempotency-Key"
KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Submission:
    """The response to a submission: status, body and the address of what was created."""

    status: int
    body: JsonObject
    location: str


def check(key: str | None) -> str | None:
    """Check that a key can be stored, and return it. Raises Invalid."""
    if key is not None and not KEY.fullmatch(key):
        raise Invalid.at(FIELD, "bad_key", "must be 1 to 255 printable ASCII characters")
    return key


def fingerprint_of(place: str, body: BaseModel | None = None) -> str:
    """Return what identifies a request: the path that it is sent to, such as `/v1/searches`, and its body."""
    return sha256_of({"place": place, "body": None if body is None else body.model_dump(mode="json")})


def once(session: Session, owner: str, key: str | None, fingerprint: str, make: Callable[[], Submission]) -> Submission:
    """Return what `make` returns; every repeat with this key gets the same response. Without a key, just call `make`.

    Concurrent repeats run one after another. Raises Invalid when the key was used for another request.
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
    """Return the stored response to a request with this key, or None. Raises Invalid as `once` does."""
    earlier = session.get(IdempotencyKey, (owner, key)) if key is not None else None
    return None if earlier is None else _replay(earlier, fingerprint)


def _replay(earlier: IdempotencyKey, fingerprint: str) -> Submission:
    if earlier.fingerprint != fingerprint:
        raise Invalid.at(FIELD, "key_reused", "was already used for a different request")
    return Submission(earlier.status, earlier.body, earlier.location)
