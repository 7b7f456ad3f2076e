"""How files of architectures are fetched: by a GET, which may have to make work for a worker."""

from __future__ import annotations

from starlette.datastructures import Headers

from app.db import Database
from app.errors import Forbidden
from app.exports import service
from app.exports.service import File
from app.keys import Caller, Scope
from app.perimeter import is_foreign


def fetch(database: Database, caller: Caller, headers: Headers, arch_id: str, kind: str, seed: int) -> File | None:
    """Return the file, or None while a worker makes it; one is asked to when none is at it.

    That is no mere reading: it takes the scope `search`, and no page of another origin may do it, or it raises
    Forbidden. Raises what `service.find` raises.
    """
    with database.read() as session:
        found = service.find(session, caller.owner, arch_id, kind, seed)
    if found.file is not None or found.at_work:
        return found.file
    if not caller.may(Scope.SEARCH):
        raise Forbidden(f"nobody has had this file made yet, and the key does not have the scope {Scope.SEARCH}")
    if is_foreign(headers):
        raise Forbidden("a page of another origin may not have a file made here")
    with database.write() as session:
        service.ask(session, caller.owner, arch_id, kind, seed)
    return None
