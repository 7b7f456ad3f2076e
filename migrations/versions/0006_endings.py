"""Endings: what ended when, by index, for metrics and for what is removed for its age."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_index("ix_jobs_finished_at_id", "jobs", ["finished_at", "id"])


def downgrade() -> None:
    """Take the change back."""
    op.drop_index("ix_jobs_finished_at_id", "jobs")
