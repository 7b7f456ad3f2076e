"""Return files of networks to a GET request, which may have to queue a job to create the file."""

from __future__ import annotations

from uuid import UUID

from starlette.datastructures import Headers

from app.auth.keys import Caller, Scope
from app.errors import Forbidden
from app.exports import service, trained_files
from app.exports.service import File, Pending, Wanted
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
    """Return the file of an untrained network, or how far it is while it does not exist; queue a job if there is none.

    Queuing a job is more than reading: it needs the scope `search`, and pages of other origins may not do it; else it
    raises Forbidden. Raises what `service` raises.
    """
    architecture = await threads.read(caller.owner, service.architecture_of, arch_id, kind)
    wanted = Wanted(architecture, kind, seed, options)
    made = await threads.run_cpu(service.made_here, wanted)
    return await _created(threads, caller, headers, wanted) if made is None else made


async def get_or_enqueue_trained(
    threads: Threads,
    caller: Caller,
    headers: Headers,
    verification_id: UUID,
    kind: str,
    seed: int | None,
    options: FileOptions,
) -> File | Pending:
    """Return the file of a training with these options, as `get_or_enqueue` does for untrained networks.

    Queuing a job needs the scope `train`, as everything that changes trainings. Raises what `trained_files.look_up`
    raises too.
    """
    found = await threads.read(caller.owner, trained_files.look_up, verification_id, kind, seed, options)
    return found if isinstance(found, File) else await _created(threads, caller, headers, found)


async def _created(threads: Threads, caller: Caller, headers: Headers, wanted: Wanted) -> File | Pending:
    """Return a file that a worker created, or is to create."""
    found = await threads.read(caller.owner, service.find, wanted)
    if found is not None:
        return found
    scope = Scope.SEARCH if wanted.verification_id is None else Scope.TRAIN
    if not caller.may(scope):
        raise Forbidden(f"this file does not exist yet; creating it requires scope `{scope}`")
    if is_foreign(headers):
        raise Forbidden("a page from another origin cannot create files here")
    return await threads.write(caller.owner, service.ask, wanted)
