"""Events: what happened to a job, numbered from 1."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from app.storage.db import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ENDED = ("succeeded", "failed", "cancelled")
AT_ONCE = 1000

jobs = sa.table(
    "jobs",
    sa.column("id", sa.Uuid()),
    sa.column("state", sa.String()),
    sa.column("progress_fraction", sa.Float()),
    sa.column("progress_message", sa.String()),
    sa.column("events", sa.Integer()),
    sa.column("created_at", UtcDateTime()),
    sa.column("started_at", UtcDateTime()),
    sa.column("finished_at", UtcDateTime()),
)


def upgrade() -> None:
    """Apply the change. Jobs that are there get one event, with their present state."""
    # added in place: SQLite would drop the table to change it, and with it every row that refers to a job
    op.add_column("jobs", sa.Column("events", sa.Integer(), server_default="0", nullable=False))
    events = op.create_table(
        "job_events",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_events_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_events"),
    )
    connection = op.get_bind()
    for rows in connection.execute(sa.select(jobs)).mappings().partitions(AT_ONCE):
        connection.execute(sa.insert(events), [_first_event(row) for row in rows])
    connection.execute(sa.update(jobs).values(events=1))


def _first_event(job: sa.RowMapping) -> dict[str, Any]:
    return {
        "job_id": job["id"],
        "number": 1,
        "event": "done" if job["state"] in ENDED else "status",
        "data": {"status": job["state"], "fraction": job["progress_fraction"], "message": job["progress_message"]},
        "at": job["finished_at"] or job["started_at"] or job["created_at"],
    }


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("job_events")
    op.drop_column("jobs", "events")
