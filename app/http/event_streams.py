"""Streams of a job's events, as resumable server-sent events.

A stream sends the existing events and then waits. Waiting uses no session and no thread: one query per tick reads the
event counts of the jobs of all streams of the process.
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
from typing import Annotated, TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Header, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent, format_sse_event
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.errors import Invalid, NotFound
from app.jobs import lifecycle
from app.jobs.lifecycle import ENDED, Event, State
from app.storage.db import Database
from app.storage.models import Job, JobEvent
from nnmass_core.codec import JsonObject

TICK_SECONDS = 0.2
AWAY_SECONDS = 1.0
AT_ONCE = 500
"""The most events that a stream reads with one query."""

THREADS = 6
"""Threads that all streams share. The limit leaves threads for other requests, however many streams are open."""

ADMITTED_SECONDS = 2.0
"""Seconds between checks that the keys of open streams are still valid."""

PING_SECONDS = 15.0
PING = ServerSentEvent(comment="ping")
"""Sent during silence, so that no proxy closes the connection as dead."""

ID = re.compile(r"[0-9]{1,20}")
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Whole = Callable[[Session], JsonObject]
"""Returns what the last event of a finished job carries: the search or the verification."""

Admitted = Callable[[], bool]
"""Checks whether the key that opened a stream is still valid; equal for equal keys."""

T = TypeVar("T")
log = logging.getLogger("nnmass.streams")


class EventData(BaseModel):
    """The data of every event; `done` also carries the search or verification, an epoch's `progress` the epoch."""

    model_config = ConfigDict(extra="allow")

    status: State = Field(description="Status of the job at this event.")
    fraction: float = Field(description="Share of the work that is done, 0 to 1.", examples=[0.4])
    message: str = Field(description="What happens, for people.", examples=["started"])
    at: datetime = Field(description="When it happened, in UTC.", examples=["2026-01-31T12:00:02Z"])


def _described() -> JsonObject:
    """Describe an event as JSON Schema."""
    return {
        "title": "StreamEvent",
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {
                "type": "string",
                "pattern": f"^{ID.pattern}$",
                "description": "Number of the event, to send as `Last-Event-ID`.",
                "examples": ["3"],
            },
            "event": {
                "type": "string",
                "enum": list(Event),
                "description": "Kind of the event; `done` is the last.",
                "examples": [Event.PROGRESS],
            },
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": "#/components/schemas/EventData"},
                "description": "An `EventData` as JSON.",
                "examples": ['{"status":"running","fraction":0.4,"message":"started","at":"2026-01-31T12:00:02Z"}'],
            },
        },
    }


RESPONSES: dict[int | str, JsonObject] = {
    200: {"content": {"text/event-stream": {"itemSchema": _described()}}, "description": "Server-sent events."},
    204: {"description": "The job has ended and `Last-Event-ID` is its last event: nothing follows."},
}


EventId = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{ID.pattern}$"})]


def last_event_id(
    last_event_id: Annotated[
        EventId | None, Header(alias="Last-Event-ID", description="Id of the last received event.", examples=["3"])
    ] = None,
) -> int:
    """Return the number of the last event that the client has, 0 for none. Raises Invalid."""
    if last_event_id is None:
        return 0
    if not ID.fullmatch(last_event_id):
        raise Invalid.at("header.Last-Event-ID", "not_an_integer", "must be an event id")
    return int(last_event_id)


LastEventId = Annotated[int, Depends(last_event_id)]


class Streams:
    """The event streams of one process. They end when `stopping` is set: then the server is shutting down."""

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
        """Return the stream of a job's events after the client's last one, for as long as its key is valid.

        Status 204 when no more events will come: browsers reconnect whenever a stream ends, until they receive a 204.
        """
        if job.state in ENDED and last >= job.event_count:
            return Response(status_code=204)
        events = self.follow(job.id, min(last, job.event_count), whole, admitted)
        return EventSourceResponse(_encoded(events), headers=HEADERS)

    async def follow(
        self, job_id: UUID, after: int, whole: Whole, admitted: Admitted
    ) -> AsyncIterator[ServerSentEvent]:
        """Yield a job's events after a number.

        Stops when the job has ended, the server shuts down, the job is deleted, or the key is no longer valid.
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
            self._open += Counter()  # removes jobs without a stream

    async def stop(self) -> None:
        """End every stream. The watch ends without being cancelled: cancelling it would leave its query running."""
        self._stopping.set()
        if self._watch is not None and not self._watch.done():
            await self._watch

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await to_thread.run_sync(function, limiter=self._threads)

    def _rest(self, job_id: UUID, after: int, whole: Whole) -> list[tuple[int, ServerSentEvent]]:
        """Return the next events; none while the database is unavailable (the watch waits until it is back)."""
        try:
            with self._database.read() as session:
                rows, last = lifecycle.events_after(session, job_id, after, AT_ONCE)
                return [(row.number, _sent(session, row, whole, last=row.number == last)) for row in rows]
        except (SQLAlchemyError, NotFound) as reason:
            log.warning("cannot read the events of job %s: %s", job_id, type(reason).__name__)
            return []

    async def _more(self, job_id: UUID, after: int, admitted: Admitted) -> bool | None:
        """Wait for a job's events after a number. False: there will be none. None: the wait took too long."""
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
        """Poll once a tick for as long as a stream is open."""
        while self._open and not self._stopping.is_set():
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self._dismiss()
                await self._look()
            except Exception as reason:  # the database may be unavailable for a while; the streams wait for it
                log.warning("cannot check for new events: %s", type(reason).__name__)
                await asyncio.sleep(AWAY_SECONDS)
        self._end_all()

    async def _dismiss(self) -> None:
        """End the streams whose keys are no longer valid."""
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
            if job_id in wanted and counts.get(job_id, after + 1) > after:  # else it came meanwhile, or is yet to come
                _tell(arrival, more=job_id in counts)

    def _counts(self, job_ids: list[UUID]) -> dict[UUID, int]:
        with self._database.read() as session:
            return lifecycle.counts(session, job_ids)

    def _end_all(self) -> None:
        for arrival in self._waiting:
            _tell(arrival, more=False)


async def _encoded(events: AsyncIterator[ServerSentEvent]) -> AsyncIterator[bytes]:
    # FastAPI's own streaming routes log an error when a client leaves while events are being sent
    async for one in events:
        data = None if one.data is None else one.data.model_dump_json()
        yield format_sse_event(data_str=data, event=one.event, id=one.id, comment=one.comment)


def _tell(arrival: asyncio.Future[bool], *, more: bool) -> None:
    if not arrival.done():
        arrival.set_result(more)


def _sent(session: Session, row: JobEvent, whole: Whole, *, last: bool) -> ServerSentEvent:
    """Return an event as it is sent. A final event that a retry has undone is sent as an ordinary change of state."""
    data, name = row.data, row.event
    if name == Event.DONE:
        carried = whole(session) if last else {}
        # counted after reading the whole: it belongs to this final event only if no event follows it yet
        if last and lifecycle.counts(session, [row.job_id]) == {row.job_id: row.number}:
            data = carried | data
        else:
            name = Event.STATUS
    return ServerSentEvent(event=name, id=str(row.number), data=EventData.model_validate({**data, "at": row.at}))
