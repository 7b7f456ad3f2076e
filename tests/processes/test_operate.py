"""Operation of the service: the id of a job is in logs and traces of all real processes."""

from __future__ import annotations

import gzip
import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.networks import MLP
from tests.processes.service import SHORT_LEASES, Json, Service, wait_for
from tests.processes.test_embedded import QUICK

pytestmark = pytest.mark.processes

TRAINING: Json = {
    "architecture": MLP,
    "dataset": "digits",
    "recipe": {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 100, "epochs": 1},
    "seeds": [0],
    "artifacts": [],
}


class Spans(BaseHTTPRequestHandler):
    """Takes what an OTLP exporter sends."""

    received: list[Any]

    def do_POST(self) -> None:
        """Keep the spans of one request, each with its resource's name."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        sent = ExportTraceServiceRequest.FromString(body)
        self.received += [
            span for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans
        ]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class' word
        """Say nothing."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[tuple[str, list[Any]]]:
    """The address of a receiver of spans, and what it has received."""
    pytest.importorskip("opentelemetry.sdk", reason="traces come with the extra `otel`")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="traces come with the extra `otel`")
    received: list[Any] = []
    handler = type("Receiver", (Spans,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


def lines_of(service: Service, name: str) -> list[Json]:
    """Return the lines of a process' log, each of which must be JSON."""
    return [json.loads(line) for line in service.log(name).read_text().splitlines()]


def post(service: Service, path: str, body: Json, request_id: str) -> Json:
    headers = {"X-Request-ID": request_id}
    answer = httpx2.post(service.address + path, json=body, headers=headers, timeout=40, trust_env=False, verify=False)
    assert answer.raise_for_status().headers["X-Request-ID"] == request_id
    made: Json = answer.json()
    return made


def ended(service: Service, path: str, seconds: float = 120.0) -> Json:
    def look() -> Json | None:
        found = service.get(path)
        return found if found["status"] in ("succeeded", "failed", "cancelled") else None

    return wait_for(look, f"{path} has ended", seconds)


def test_logs_of_every_process_have_the_id_of_the_job(tmp_path: Path) -> None:
    """From the request to the trainer, and every line of every process is JSON, to the last."""
    trains = _has_torch()
    with Service(tmp_path / "data", SHORT_LEASES | {"NNMASS_LOG_FORMAT": "json"}) as service:
        search_id = post(service, "/v1/searches", QUICK, "search-1")["id"]
        assert ended(service, f"/v1/searches/{search_id}")["status"] == "succeeded"
        followed = {search_id: ("search", "search-1", "search-worker")}
        if trains:
            made = post(service, "/v1/verifications", TRAINING, "training-1")["id"]
            assert ended(service, f"/v1/verifications/{made}")["status"] == "succeeded"
            followed[made] = ("verification", "training-1", "train-worker")
        assert service.stop(signal.SIGTERM) == 0
        processes = ("serve", "api", "search-worker", "train-worker", "files-worker", "sweeper")
        everything = {name: lines_of(service, name) for name in processes}
    assert [line["event"] for line in everything["serve"]][-1] == "nnmass: stopped"
    for name, lines in everything.items():
        assert lines, name
        for line in lines:
            assert {"event", "level", "logger", "timestamp"} <= set(line), (name, line)
            # Celery warns of being run by root, as in a container that tests run in
            assert line["level"] in ("debug", "info") or line["logger"] == "py.warnings", (name, line)

    for job_id, (kind, request_id, worker) in followed.items():
        of_api = [line for line in everything["api"] if line.get("job_id") == job_id]
        assert [(line["request_id"], line["kind"], line["owner"]) for line in of_api] == [(request_id, kind, "local")]
        of_request = [line for line in everything["api"] if line.get("request_id") == request_id]
        assert [line["logger"] for line in of_request] == ["nnmass.jobs", "nnmass.access"]
        of_worker = [line for line in everything[worker] if line.get("job_id") == job_id]
        assert {(line["kind"], line["attempt"], line["fence"]) for line in of_worker} == {(kind, 1, 1)}
        assert of_worker[0]["event"] == f"{kind} {job_id} starts"
        assert of_worker[-1]["event"] == f"{kind} {job_id}: done"
    if trains:
        printed = [line["event"] for line in everything["train-worker"] if line["logger"] == "nnmass.trainer"]
        assert any("epoch 1 of 1" in event for event in printed)


def _has_torch() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None and find_spec("sklearn") is not None


def test_traces_of_every_process_have_the_id_of_the_job(receiver: tuple[str, list[Any]], tmp_path: Path) -> None:
    """The job's trace has its id; the request's span names it and links to it."""
    address, received = receiver
    settings = SHORT_LEASES | {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with Service(tmp_path / "data", settings) as service:
        service.get("/v1/searches?tag=secret-tag")
        service.get("/v1/searches")
        search_id = service.submit(QUICK)
        service.ends(search_id)
        trace_id = bytes.fromhex(search_id.replace("-", ""))
        wait_for(lambda: _named(received, "job search"), "the worker has sent its span")
        wait_for(lambda: _named(received, "POST /v1/searches"), "the API has sent its span")
        assert service.stop(signal.SIGTERM) == 0
        assert service.alarms() == []
    (job,) = _named(received, "job search")
    assert job.trace_id == trace_id
    about = _about(job)
    assert (about["nnmass.job_id"], about["nnmass.attempt"], about["nnmass.fence"]) == (search_id, 1, 1)
    within = [span for span in received if span.trace_id == trace_id and span.parent_span_id == job.span_id]
    assert {"SELECT", "UPDATE", "INSERT"} <= {span.name for span in within}, "its SQL"
    (request,) = _named(received, "POST /v1/searches")
    assert request.trace_id != trace_id
    assert _about(request)["nnmass.job_id"] == search_id
    assert [link.trace_id for link in request.links] == [trace_id]
    assert _about(request)["http.response.status_code"] == 202
    assert not [span for span in received if b"secret-tag" in span.SerializeToString()]
    queries = [query for span in received if "jobs.owner" in (query := _about(span).get("db.query.text", ""))]
    assert queries
    assert not [query for query in queries if "'local'" in query], "the list's query says whose it is"
    assert not [span for span in received if "readyz" in span.name], "probes are not traced"


def _named(received: list[Any], name: str) -> list[Any]:
    return [span for span in list(received) if span.name == name]


def _about(span: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


def test_the_service_without_the_tracing_extra_starts_and_logs_a_warning(tmp_path: Path) -> None:
    """The extra is made unavailable by modules of its name that cannot be imported."""
    shadow = tmp_path / "shadow"
    (shadow / "sitecustomize.py").parent.mkdir()
    hidden = "import sys\nfor name in ('opentelemetry.sdk', 'opentelemetry.exporter'):\n    sys.modules[name] = None\n"
    (shadow / "sitecustomize.py").write_text(hidden)
    root = Path(__file__).parents[2]
    settings = SHORT_LEASES | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": f"{shadow}:{root}"}
    with Service(tmp_path / "data", settings) as service:
        assert service.post(QUICK, wait_seconds=30).json()["status"] == "succeeded"
        printed = service.log("api").read_text()
        assert "the extra `otel` is not installed: no traces are sent" in printed
        assert service.alarms() == []
