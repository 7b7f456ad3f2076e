"""The version of the JSON form of a stored request; every request so far is of version 1."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("searches", sa.Column("request_version", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    """Take the change back."""
    op.drop_column("searches", "request_version")
