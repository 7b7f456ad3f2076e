"""Verifications: whether a recipe may be adapted to few images, and how it was.

Trainings stored before are not adapted, also when they run again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("verifications", sa.Column("adapt", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("verifications", sa.Column("adaptation", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Take the change back."""
    op.drop_column("verifications", "adaptation")
    op.drop_column("verifications", "adapt")
