"""Sources: the job whose result an equal job takes; every job so far has none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("jobs", sa.Column("source_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    """Take the change back."""
    op.drop_column("jobs", "source_id")
