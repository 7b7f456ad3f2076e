"""Exports of trainings: the verification whose weights a file has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

INDEX, KEY = "ix_exports_verification_id", "fk_exports_verification_id_verifications"


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("exports") as table:
        table.add_column(sa.Column("verification_id", sa.Uuid(), nullable=True))
        table.create_foreign_key(KEY, "verifications", ["verification_id"], ["id"], ondelete="CASCADE")
    op.create_index(INDEX, "exports", ["verification_id"])


def downgrade() -> None:
    """Take the change back. Files of trainings go: an older release would give them out as untrained."""
    op.execute("DELETE FROM jobs WHERE id IN (SELECT id FROM exports WHERE verification_id IS NOT NULL)")
    op.execute("DELETE FROM exports WHERE verification_id IS NOT NULL")
    op.drop_index(INDEX, "exports")
    with op.batch_alter_table("exports") as table:
        table.drop_constraint(KEY, type_="foreignkey")
        table.drop_column("verification_id")
