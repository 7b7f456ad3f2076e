"""Files as answers."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Select

from app.db import Database
from app.stored import PART_BYTES, Stored
from app.threads import Threads


def sent(
    content: bytes | Stored, name: str, media_type: str, database: Database, threads: Threads, etag: str = ""
) -> Response:
    """Return the answer that carries a file. One that is deleted meanwhile is cut off, short of its Content-Length."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'} | ({"ETag": f'"{etag}"'} if etag else {})
    if isinstance(content, bytes):
        return Response(content, media_type=media_type, headers=headers)
    headers["Content-Length"] = str(content.size)
    return StreamingResponse(_parts(content, database, threads), media_type=media_type, headers=headers)


async def _parts(stored: Stored, database: Database, threads: Threads) -> AsyncIterator[bytes]:
    for start in range(0, stored.size, PART_BYTES):
        yield await threads.in_turn(_read, database, stored.part(start, PART_BYTES))


def _read(database: Database, part: Select[bytes]) -> bytes:
    with database.read() as session:
        return session.scalars(part).one()
