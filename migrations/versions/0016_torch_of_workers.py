"""Whether a worker has torch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("worker_beats", sa.Column("torch", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """Take the change back."""
    op.drop_column("worker_beats", "torch")
