"""OpenTelemetry traces: requests, jobs and their SQL, sent over OTLP where the environment names a receiver.

FastAPI creates the spans of requests itself. A job is a trace of its own, whose id is the job's id, so that each leads
to the other: the notification that wakes a worker carries no context, and none is stored. The request that queued a job
names the job in `nnmass.job_id`, and links to its trace.

Tracing is off unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set and the extra `otel` is installed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode, TraceFlags
from sqlalchemy import Connection, Engine, ExceptionContext, event

from nnmass_core import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NAME = "nnmass"
UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})
JOB_ID = "nnmass.job_id"
LAST_WORDS_MS = 2000
"""How long an ending process waits until its last spans are sent."""

_trace_id: ContextVar[int | None] = ContextVar("nnmass_trace_id", default=None)
"""The id of the next trace, where it must not be random."""

log = logging.getLogger("nnmass.tracing")


def of_requests() -> dict[str, object]:
    """Return FastAPI's settings: only spans of requests, sent to the same receiver as ours."""
    provider = _provider()
    return {
        "tracing": provider is not None,
        "tracer_provider": provider,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": _untraced,
    }


def _untraced(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in UNTRACED


def queued(job_id: UUID) -> None:
    """Add the id of a queued job to the current request's span, and link the span to the job's trace."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attribute(JOB_ID, str(job_id))
        # the trace begins in another process: its first span is not known yet, and viewers follow the trace id
        place = SpanContext(job_id.int, job_id.int & 2**64 - 1, is_remote=True, trace_flags=TraceFlags(1))
        span.add_link(place, {JOB_ID: str(job_id)})


@contextmanager
def of_job(job_id: UUID, kind: str, attempt: int, fence: int) -> Iterator[None]:
    """Create a span around the block in the job's own trace: one for each attempt."""
    provider = _provider()
    if provider is None:
        yield
        return
    about: dict[str, str | int] = {
        JOB_ID: str(job_id),
        "nnmass.kind": kind,
        "nnmass.attempt": attempt,
        "nnmass.fence": fence,
    }
    chosen = _trace_id.set(job_id.int)
    span = provider.get_tracer(NAME, __version__).start_span(f"job {kind}", Context(), SpanKind.CONSUMER, about)
    _trace_id.reset(chosen)
    with trace.use_span(span, end_on_exit=True):
        yield


def failed(code: str) -> None:
    """Mark the current span as failed."""
    span = trace.get_current_span()
    span.set_attribute("error.type", code)
    span.set_status(StatusCode.ERROR)


def flush() -> None:
    """Send the remaining spans before the process ends."""
    provider = _provider()
    if provider is not None:
        provider.force_flush(LAST_WORDS_MS)


def _provider() -> TracerProvider | None:
    """Return this process's provider. A forked process creates its own, since the sending thread is not forked."""
    return _provider_of(os.getpid())


@lru_cache(maxsize=1)
def _provider_of(pid: int) -> TracerProvider | None:
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    try:
        return _made()
    except ImportError:
        log.warning("%s is set, but the extra `otel` is not installed: no traces are sent", ENDPOINTS[0])
        return None


def _made() -> TracerProvider:
    """Return a provider that sends spans. Raises ImportError without the extra."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace import Span as RecordedSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            return _trace_id.get() or super().generate_trace_id()

    class WithoutQueries(SpanProcessor):
        """Removes a request's query from its span: it may contain data that other systems must not receive."""

        def on_start(self, span: RecordedSpan, parent_context: Context | None = None) -> None:
            if span.attributes and "url.query" in span.attributes:
                span.set_attribute("url.query", "")

        def on_end(self, span: ReadableSpan) -> None:
            pass

    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME", NAME), "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(named), id_generator=Ids())
    provider.add_span_processor(WithoutQueries())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _trace_sql(provider)
    return provider


def _trace_sql(provider: TracerProvider) -> None:
    """Create a span for each statement within a request or job, without its values."""
    tracer = provider.get_tracer(NAME, __version__)

    def begin(connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, *_: Any) -> None:
        spans: list[Span | None] = connection.info.setdefault(NAME, [])
        if not trace.get_current_span().is_recording():
            spans.append(None)
            return
        compiled = getattr(context, "compiled", None)  # the text before values are inserted into it
        about = {"db.system.name": connection.dialect.name, "db.query.text": compiled.string if compiled else statement}
        spans.append(tracer.start_span(statement.split(None, 1)[0].upper(), kind=SpanKind.CLIENT, attributes=about))

    def end(connection: Connection, *_: Any) -> None:
        _end_last(connection)

    def break_off(about: ExceptionContext) -> None:
        if about.connection is not None:
            _end_last(about.connection, about.original_exception)

    event.listen(Engine, "before_cursor_execute", begin)
    event.listen(Engine, "after_cursor_execute", end)
    event.listen(Engine, "handle_error", break_off)


def _end_last(connection: Connection, error: BaseException | None = None) -> None:
    spans: list[Span | None] = connection.info.get(NAME) or [None]
    span = spans.pop()
    if span is None:
        return
    if error is not None:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(StatusCode.ERROR)
    span.end()
