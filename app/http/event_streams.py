"""Streams of a job's events, as server-sent events that can be taken up again where they were cut off.

A stream reads what there is and then waits. Waiting costs no session and no thread: one query a tick asks for all the
streams of the process at once how many events their jobs have.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Header, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent, format_sse_event
from pydantic import BaseModel, ConfigDict, WithJsonSchema
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.errors import Invalid, NotFound
from app.jobs import lifecycle
from app.jobs.lifecycle import ENDED, Event, State
from app.storage.db import Database
from app.storage.models import Job, JobEvent

TICK_SECONDS = 0.2
AWAY_SECONDS = 1.0
AT_ONCE = 500
"""Events that a stream reads in one go."""

THREADS = 6
"""Threads that all streams share, so that however many they are, some are left for other requests."""

ADMITTED_SECONDS = 2.0
"""How often it is asked whether the keys still count that streams were opened with."""

PING_SECONDS = 15.0
PING = ServerSentEvent(comment="ping")
"""Sent while nothing happens, so that no proxy takes the connection for dead."""

ID = re.compile(r"[0-9]{1,20}")
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Whole = Callable[[Session], dict[str, Any]]
"""Gives what the last event of a finished job carries: the search, the verification."""

Admitted = Callable[[], bool]
"""Tells whether the key still counts that a stream was opened with; equal for equal keys."""

T = TypeVar("T")
log = logging.getLogger("nnmass.streams")


class EventData(BaseModel):
    """What every event says; `done` carries the whole search or verification beside it, an epoch's `progress` that."""

    model_config = ConfigDict(extra="allow")

    status: State
    fraction: float
    message: str
    at: datetime


def _described() -> dict[str, Any]:
    """Describe one event as JSON Schema."""
    data = EventData.model_json_schema()
    data["properties"]["status"] = data.pop("$defs")["State"]  # nothing else would define it
    return {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "pattern": f"^{ID.pattern}$"},
            "event": {"type": "string", "enum": list(Event)},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
        },
    }


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"itemSchema": _described()}}, "description": "Server-sent events."},
    204: {"description": "The job has ended and `Last-Event-ID` is its last event: nothing follows."},
}


EventId = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{ID.pattern}$"})]


def last_event_id(last_event_id: Annotated[EventId | None, Header(alias="Last-Event-ID")] = None) -> int:
    """Return the number of the last event that the client has, 0 for none. Raises Invalid."""
    if last_event_id is None:
        return 0
    if not ID.fullmatch(last_event_id):
        raise Invalid.at("header.Last-Event-ID", "not_an_integer", "must be an event id")
    return int(last_event_id)


LastEventId = Annotated[int, Depends(last_event_id)]


class Streams:
    """The event streams of one process. `ending` is set when the server is asked to end, and then they end too."""

    def __init__(self, database: Database, stopping: threading.Event, ping_seconds: float = PING_SECONDS) -> None:
        self._database = database
        self._stopping = stopping
        self._ping_seconds = ping_seconds
        self._waiting: dict[asyncio.Future[bool], tuple[UUID, int, Admitted]] = {}
        self._open: Counter[Admitted] = Counter()
        self._refused: frozenset[Admitted] = frozenset()
        self._asked = 0.0
        self._watch: asyncio.Task[None] | None = None
        self._threads = CapacityLimiter(THREADS)

    def response(self, job: Job, last: int, whole: Whole, admitted: Admitted) -> Response:
        """Return the stream of a job's events after the last one that the client has, for as long as it is admitted.

        204 when it has all there will be: browsers connect again whenever a stream ends, until they are told so.
        """
        if job.state in ENDED and last >= job.event_count:
            return Response(status_code=204)
        events = self.follow(job.id, min(last, job.event_count), whole, admitted)
        return EventSourceResponse(_encoded(events), headers=HEADERS)

    async def follow(
        self, job_id: UUID, after: int, whole: Whole, admitted: Admitted
    ) -> AsyncIterator[ServerSentEvent]:
        """Yield a job's events after a number.

        Until the job has ended, the server ends, the job is deleted or the key counts no more.
        """
        self._open[admitted] += 1
        self._keep_watch()
        try:
            while True:
                for number, event in await self._in_thread(partial(self._rest, job_id, after, whole)):
                    if admitted in self._refused:
                        return
                    yield event
                    after = number
                    if event.event == Event.DONE:
                        return
                while (more := await self._more(job_id, after, admitted)) is None:
                    yield PING
                if not more:
                    return
        finally:
            self._open[admitted] -= 1
            self._open += Counter()  # leaves out those without a stream

    async def stop(self) -> None:
        """End every stream; the watch ends by itself, since cancelling it would leave its query running."""
        self._stopping.set()
        if self._watch is not None and not self._watch.done():
            await self._watch

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await to_thread.run_sync(function, limiter=self._threads)

    def _rest(self, job_id: UUID, after: int, whole: Whole) -> list[tuple[int, ServerSentEvent]]:
        """Return the next events; none while the database is away, which the watch waits out."""
        try:
            with self._database.read() as session:
                rows, last = lifecycle.events_after(session, job_id, after, AT_ONCE)
                return [(row.number, _sent(session, row, whole, last=row.number == last)) for row in rows]
        except (SQLAlchemyError, NotFound) as reason:
            log.warning("cannot read the events of job %s: %s", job_id, type(reason).__name__)
            return []

    async def _more(self, job_id: UUID, after: int, admitted: Admitted) -> bool | None:
        """Wait until a job has events after a number; False when there will be none, None when it takes long."""
        if admitted in self._refused:
            return False
        arrival: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[arrival] = (job_id, after, admitted)
        self._keep_watch()
        try:
            async with asyncio.timeout(self._ping_seconds):
                return await arrival
        except TimeoutError:
            return None
        finally:
            del self._waiting[arrival]

    def _keep_watch(self) -> None:
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Look once a tick for as long as a stream is open."""
        while self._open and not self._stopping.is_set():
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self._dismiss()
                await self._look()
            except Exception as reason:  # the database may be away for a while; its streams wait with it
                log.warning("cannot check for new events: %s", type(reason).__name__)
                await asyncio.sleep(AWAY_SECONDS)
        self._end_all()

    async def _dismiss(self) -> None:
        """End the streams whose keys count no more."""
        if time.monotonic() - self._asked < ADMITTED_SECONDS:
            return
        self._asked = time.monotonic()
        asked = list(self._open)
        counting = await asyncio.gather(*(self._in_thread(admitted) for admitted in asked))
        self._refused = frozenset(admitted for admitted, counts in zip(asked, counting, strict=True) if not counts)
        for arrival, (_, _, admitted) in self._waiting.items():
            if admitted in self._refused:
                _tell(arrival, more=False)

    async def _look(self) -> None:
        wanted = {job_id for job_id, _, _ in self._waiting.values()}
        if not wanted:
            return
        counts = await self._in_thread(partial(self._counts, list(wanted)))
        for arrival, (job_id, after, _) in self._waiting.items():
            if job_id in wanted and counts.get(job_id, after + 1) > after:  # else it came meanwhile, or must wait
                _tell(arrival, more=job_id in counts)

    def _counts(self, job_ids: list[UUID]) -> dict[UUID, int]:
        with self._database.read() as session:
            return lifecycle.counts(session, job_ids)

    def _end_all(self) -> None:
        for arrival in self._waiting:
            _tell(arrival, more=False)


async def _encoded(events: AsyncIterator[ServerSentEvent]) -> AsyncIterator[bytes]:
    # FastAPI's own routes for streams end with an error in the log when a client leaves in the middle of a burst
    async for one in events:
        data = None if one.data is None else one.data.model_dump_json()
        yield format_sse_event(data_str=data, event=one.event, id=one.id, comment=one.comment)


def _tell(arrival: asyncio.Future[bool], *, more: bool) -> None:
    if not arrival.done():
        arrival.set_result(more)


def _sent(session: Session, row: JobEvent, whole: Whole, *, last: bool) -> ServerSentEvent:
    """Return an event as it is sent; an end that a retry has undone is a change of state like any other."""
    data, name = row.data, row.event
    if name == Event.DONE:
        carried = whole(session) if last else {}
        # counted after the whole was read: it belongs to this end only if there is still nothing after it
        if last and lifecycle.counts(session, [row.job_id]) == {row.job_id: row.number}:
            data = carried | data
        else:
            name = Event.STATUS
    return ServerSentEvent(event=name, id=str(row.number), data=EventData.model_validate({**data, "at": row.at}))
