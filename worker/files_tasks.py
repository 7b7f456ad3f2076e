"""The queue `files`: exports and measurements, each done in seconds by a process with torch."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

from app.errors import WrongState
from app.exports import service as exports
from app.exports import trained_files
from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.measurements import service as measurements
from app.storage.models import Export, Measurement
from nnmass_core.codec import JsonObject
from nnmass_core.export.deployment import file_options
from worker import job_runner
from worker.child import MODULE, run_child
from worker.heartbeat import Heartbeat
from worker.job_runner import Failed
from worker.process import Context


def run_next(context: Context) -> bool:
    """Claim the oldest job of the queue and run it. Return False when there is none."""
    return job_runner.run_next(context, exports.QUEUE, KINDS)


def _export(context: Context, claim: Claim) -> None:
    with tempfile.TemporaryDirectory(prefix="nnmass-") as name:
        folder = Path(name)
        order = _order(context, claim, folder)
        with Heartbeat(context, claim) as heartbeat:
            run_child(MODULE, order | {"path": str(folder / "export")}, heartbeat)
        content = (folder / "export").read_bytes()
    with context.database.write() as session:
        if lifecycle.succeed(session, claim):
            session.get_one(Export, claim.job_id).content = content


def _order(context: Context, claim: Claim, folder: Path) -> JsonObject:
    """Return the order for an export; weights of a training are written into the folder first. Raises Failed."""
    with context.database.read() as session:
        row = session.get_one(Export, claim.job_id)
        options = asdict(file_options(row.format, batch=row.batch, opset=row.opset, fold_batchnorm=row.fold_batchnorm))
        if row.verification_id is None:
            network: JsonObject = {"architecture": row.definition, "format": row.format, "seed": row.seed}
            return {"do": "export", **network, "options": options}
        try:
            about, weights = trained_files.parts_of(session, row.verification_id, row.seed)
        except WrongState as missing:
            raise Failed("weights_missing", missing.detail) from missing
    (folder / "weights").write_bytes(weights)
    return {"do": "rewrite", "about": about, "weights": str(folder / "weights"), "options": options}


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
