"""Trainings that their owner excludes from the evidence; and an index for the deletion of what a replay repeats."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("verifications", sa.Column("excluded", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_verifications_replay_of", "verifications", ["replay_of"])


def downgrade() -> None:
    """Take the change back."""
    op.drop_index("ix_verifications_replay_of", "verifications")
    op.drop_column("verifications", "excluded")
