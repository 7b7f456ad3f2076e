"""Return files of architectures to a GET request, which may have to queue a job to create the file."""

from __future__ import annotations

from starlette.datastructures import Headers

from app.auth.keys import Caller, Scope
from app.errors import Forbidden
from app.exports import service
from app.exports.service import File, Found
from app.http.concurrency import Threads
from app.http.middleware.hosts_and_origins import is_foreign
from app.storage.db import Database
from nnmass_core.architecture import Architecture


async def fetch(
    database: Database, threads: Threads, caller: Caller, headers: Headers, arch_id: str, kind: str, seed: int
) -> File | None:
    """Return the file, or None while a worker creates it; queue a job if there is none.

    Queuing a job is more than reading: it needs the scope `search`, and pages of other origins may not do it; else it
    raises Forbidden. Raises what `service` raises.
    """
    owner = caller.owner
    architecture = await threads.run_db(owner, _architecture, database, owner, arch_id, kind)
    made = await threads.run_cpu(service.made_here, architecture, kind, seed)
    if made is not None:
        return made
    found = await threads.run_db(owner, _find, database, owner, architecture, kind, seed)
    if found.file is not None or found.at_work:
        return found.file
    if not caller.may(Scope.SEARCH):
        raise Forbidden(f"this file does not exist yet; creating it requires scope `{Scope.SEARCH}`")
    if is_foreign(headers):
        raise Forbidden("a page from another origin cannot create files here")
    await threads.run_db(owner, _ask, database, owner, architecture, kind, seed)
    return None


def _architecture(database: Database, owner: str, arch_id: str, kind: str) -> Architecture:
    with database.read() as session:
        return service.architecture_of(session, owner, arch_id, kind)


def _find(database: Database, owner: str, architecture: Architecture, kind: str, seed: int) -> Found:
    with database.read() as session:
        return service.find(session, owner, architecture, kind, seed)


def _ask(database: Database, owner: str, architecture: Architecture, kind: str, seed: int) -> None:
    with database.write() as session:
        service.ask(session, owner, architecture, kind, seed)
