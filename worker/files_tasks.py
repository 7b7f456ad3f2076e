"""The queue `files`: exports and measurements, each done in seconds by a process with torch."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

from app.exports import service as exports
from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.measurements import service as measurements
from app.storage.models import Export, Measurement
from nnmass_core.codec import JsonObject
from nnmass_core.export.deployment import file_options
from worker import job_runner
from worker.child import MODULE, run_child
from worker.heartbeat import Heartbeat
from worker.process import Context


def run_next(context: Context) -> bool:
    """Claim the oldest job of the queue and run it. Return False when there is none."""
    return job_runner.run_next(context, exports.QUEUE, KINDS)


def _export(context: Context, claim: Claim) -> None:
    with context.database.read() as session:
        row = session.get_one(Export, claim.job_id)
        options = file_options(row.format, batch=row.batch, opset=row.opset, fold_batchnorm=row.fold_batchnorm)
        order: JsonObject = {
            "do": "export",
            "architecture": row.definition,
            "format": row.format,
            "seed": row.seed,
            "options": asdict(options),
        }
    with tempfile.TemporaryDirectory(prefix="nnmass-") as folder, Heartbeat(context, claim) as heartbeat:
        path = Path(folder) / "export"
        run_child(MODULE, order | {"path": str(path)}, heartbeat)
        content = path.read_bytes()
    with context.database.write() as session:
        if lifecycle.succeed(session, claim):
            session.get_one(Export, claim.job_id).content = content


def _measure(context: Context, claim: Claim) -> None:
    with context.database.read() as session:
        order: JsonObject = {"do": "measure", **session.get_one(Measurement, claim.job_id).request}
    order["data_root"] = str(context.settings.data_root)
    with Heartbeat(context, claim) as heartbeat:
        done = run_child(MODULE, order, heartbeat)
    with context.database.write() as session:
        if lifecycle.succeed(session, claim):
            session.get_one(Measurement, claim.job_id).result = done["result"]


KINDS: dict[str, job_runner.Work] = {exports.KIND: _export, measurements.KIND: _measure}
"""How each kind of job is done."""
