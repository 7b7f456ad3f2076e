"""Options of exported files, and the version of what is written."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.add_column("exports", sa.Column("batch", sa.Integer(), nullable=True))
    op.add_column("exports", sa.Column("opset", sa.Integer(), nullable=True))
    op.add_column("exports", sa.Column("fold_batchnorm", sa.Boolean(), nullable=True))
    op.add_column("exports", sa.Column("files_version", sa.Integer(), server_default="1", nullable=False))


def downgrade() -> None:
    """Take the change back."""
    for name in ("files_version", "fold_batchnorm", "opset", "batch"):
        op.drop_column("exports", name)
