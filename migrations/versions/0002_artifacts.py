"""Artifacts: registered architectures, exports and measurements."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.db import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "architectures",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("definition", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "arch_id", name="pk_architectures"),
    )
    op.create_table(
        "exports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("definition", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("core_version", sa.String(length=32), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["jobs.id"], name="fk_exports_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_exports"),
    )
    op.create_index("ix_exports_arch_id_format_seed_id", "exports", ["arch_id", "format", "seed", "id"])
    op.create_table(
        "measurements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("request", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("core_version", sa.String(length=32), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["jobs.id"], name="fk_measurements_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_measurements"),
    )
    op.create_index("ix_measurements_arch_id_id", "measurements", ["arch_id", "id"])


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("measurements")
    op.drop_table("exports")
    op.drop_table("architectures")
