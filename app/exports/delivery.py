"""Return files of architectures to a GET request, which may have to queue a job to create the file."""

from __future__ import annotations

from starlette.datastructures import Headers

from app.auth.keys import Caller, Scope
from app.errors import Forbidden
from app.exports import service
from app.exports.service import File, Pending
from app.http.concurrency import Threads
from app.http.middleware.hosts_and_origins import is_foreign
from nnmass_core.export.deployment import FileOptions


async def get_or_enqueue(
    threads: Threads,
    caller: Caller,
    headers: Headers,
    arch_id: str,
    kind: str,
    seed: int,
    options: FileOptions,
) -> File | Pending:
    """Return the file, or how far it is while it does not exist; queue a job if there is none.

    Queuing a job is more than reading: it needs the scope `search`, and pages of other origins may not do it; else it
    raises Forbidden. Raises what `service` raises.
    """
    owner = caller.owner
    architecture = await threads.read(owner, service.architecture_of, arch_id, kind)
    made = await threads.run_cpu(service.made_here, architecture, kind, seed)
    if made is not None:
        return made
    found = await threads.read(owner, service.find, architecture, kind, seed, options)
    if found is not None:
        return found
    if not caller.may(Scope.SEARCH):
        raise Forbidden(f"this file does not exist yet; creating it requires scope `{Scope.SEARCH}`")
    if is_foreign(headers):
        raise Forbidden("a page from another origin cannot create files here")
    return await threads.write(owner, service.ask, architecture, kind, seed, options)
