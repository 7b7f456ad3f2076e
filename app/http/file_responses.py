"""Responses that send files."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.http.concurrency import Threads
from app.storage.blobs import PART_BYTES, Blob


async def sent(
    content: bytes | Blob,
    name: str,
    media_type: str,
    threads: Threads,
    owner: str,
    etag: str = "",
) -> Response:
    """Return the response that sends an owner's file. Raises NotFound when the file is gone.

    If the file is deleted during the download, the response ends early, shorter than its Content-Length.
    """
    headers = {"Content-Disposition": f'attachment; filename="{name}"'} | ({"ETag": f'"{etag}"'} if etag else {})
    if isinstance(content, bytes):
        return Response(content, media_type=media_type, headers=headers)
    # SQLite reads the whole file for any part of it
    step = PART_BYTES if threads.database.engine.dialect.name == "postgresql" else max(content.size, 1)
    first = await threads.read(owner, _read, content.part(0, step))
    if step >= content.size:
        return Response(first, media_type=media_type, headers=headers)

    async def parts() -> AsyncIterator[bytes]:
        yield first
        for start in range(step, content.size, step):
            yield await threads.read(owner, _read, content.part(start, step))

    headers["Content-Length"] = str(content.size)
    return StreamingResponse(parts(), media_type=media_type, headers=headers)


def _read(session: Session, owner: str, part: Select[bytes]) -> bytes:
    """Read a part of a file that was found to be the owner's."""
    found = session.scalars(part).one_or_none()
    if found is None:
        raise NotFound("the file is gone")
    return found
