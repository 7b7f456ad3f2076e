"""Events of searches and trainings as they happen, in streams that resume after a lost connection."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import httpx2

from nnmass.client.transport import BUSY, Transport, unreachable
from nnmass.errors import ServiceError, ServiceUnreachable, TimedOut
from nnmass.results import Event, Job

DONE = "done"
SILENT_SECONDS = 45.0
"""Seconds of silence after which a stream counts as lost; the service sends something every 15 seconds."""

LOOK_AT_THE_CLOCK_SECONDS = 5.0
"""Seconds of silence after which a stream with a time limit is opened again."""

SHORT_SECONDS = 5.0
"""A connection that ends sooner without an event counts as a failure."""

MOST_FAILURES = 7
"""Consecutive failures before a stream is given up: with growing pauses about 20 seconds, more than a restart takes."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 6.0
POLL_SECONDS = (0.2, 2.0)

Watch = Callable[[Event], None]
J = TypeVar("J", bound=Job)


class NoStream(ServiceUnreachable):
    """No event stream is available; the state can still be polled."""


class _Cut(Exception):
    """A connection ended before the last event. reason: the error, None where it was closed normally."""

    def __init__(self, reason: httpx2.TransportError | None = None) -> None:
        super().__init__()
        self.reason = reason


def follow(transport: Transport, path: str, *, last: int = 0, deadline: float | None = None) -> Iterator[Event]:
    """Yield the events after a number, until the last one. Raises NoStream, TimedOut and ServiceError."""
    failures = 0
    while True:
        opened = time.monotonic()
        try:
            for event in _read(transport, path, last, _silence(deadline)):
                last, failures = event.id, 0
                yield event
        except _Cut as cut:
            check(deadline)
            if time.monotonic() - opened < SHORT_SECONDS and not isinstance(cut.reason, httpx2.ReadTimeout):
                failures += 1
            if failures > MOST_FAILURES:
                raise NoStream(str(unreachable(transport.url, cut.reason))) from cut.reason
            time.sleep(min(FIRST_PAUSE_SECONDS * 2**failures, LONGEST_PAUSE_SECONDS))
        else:
            return


def _read(transport: Transport, path: str, last: int, silent_seconds: float) -> Iterator[Event]:
    """Yield the events of one connection, up to the job's last one. Raises _Cut when it ends before that."""
    try:
        with transport.stream(path, last, silent_seconds) as source:
            if source.response.status_code == httpx2.codes.NO_CONTENT:
                return
            for sent in source:
                if sent.data:
                    yield _event(sent)
                if sent.event == DONE:
                    return
    except httpx2.SSEError as error:
        raise NoStream(f"cannot read events from {path}: {error}") from error
    except httpx2.TransportError as error:
        raise _Cut(error) from error
    except ServiceError as error:
        if error.status < httpx2.codes.INTERNAL_SERVER_ERROR and error.status not in BUSY:
            raise  # the request itself is wrong, and a repeat would be too
    raise _Cut


def _silence(deadline: float | None) -> float:
    if deadline is None:
        return SILENT_SECONDS
    return max(0.05, min(LOOK_AT_THE_CLOCK_SECONDS, deadline - time.monotonic()))


def check(deadline: float | None) -> None:
    """Raise TimedOut when the time is over."""
    if deadline is not None and time.monotonic() >= deadline:
        raise TimedOut("not finished within the given time; the service continues")


def _event(sent: httpx2.ServerSentEvent) -> Event:
    try:
        data = json.loads(sent.data)
        return replace(Event.from_json({**data, "id": int(sent.id), "name": sent.event}), raw=data)
    except (ValueError, TypeError) as error:
        raise ServiceError(200, "unexpected_answer", "the service sent an invalid event") from error


def wait_for(
    transport: Transport, path: str, look: Callable[[], J], progress: Watch | None, timeout: float | None
) -> J:
    """Return a job once it has ended. `look` returns its current state, and is polled where there is no stream.

    Raises TimedOut after `timeout` seconds (None: never), ServiceUnreachable and ServiceError.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        try:
            for event in follow(transport, path, deadline=deadline):
                if progress is not None:
                    progress(event)
                check(None if event.name == DONE else deadline)
        except NoStream:
            _poll(look, progress, deadline)
        job = look()
        if job.ended:
            return job
        check(deadline)  # it was queued again meanwhile


def _poll(look: Callable[[], Job], progress: Watch | None, deadline: float | None) -> None:
    pause, longest = POLL_SECONDS
    while not (job := look()).ended:
        if progress is not None:
            progress(_seen(job))
        check(deadline)
        time.sleep(pause)
        pause = min(pause * 1.5, longest)


def _seen(job: Job) -> Event:
    """Return a job's state as an event without an id: it was polled, not sent as an event."""
    how = job.progress
    moment = job.heartbeat_at or job.created_at
    return Event(
        id=0, name="progress", status=job.status, fraction=how.fraction, message=how.message, at=moment, raw=how.raw
    )
