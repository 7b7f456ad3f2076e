"""Profiles of devices that owners post."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.db import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "device_profiles",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("definition", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "name", name="pk_device_profiles"),
    )


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("device_profiles")
