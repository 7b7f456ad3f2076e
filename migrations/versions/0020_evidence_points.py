"""Figures that owners upload beside networks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.db import UtcDateTime

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "evidence_points",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("definition", JSON, nullable=False),
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("widths", JSON, nullable=False),
        sa.Column("nn_mass", sa.Double(), nullable=False),
        sa.Column("params", sa.BigInteger(), nullable=False),
        sa.Column("macs", sa.BigInteger(), nullable=False),
        sa.Column("columns", JSON, nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "arch_id", name="pk_evidence_points"),
    )


def downgrade() -> None:
    """Take the change back. Uploaded figures go."""
    op.drop_table("evidence_points")
