"""Exports and measurements that wait or run move to a queue of their own, where no training is before them."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOVE = """
UPDATE jobs SET queue = '{to}'
WHERE queue = '{source}' AND kind IN ('export', 'measurement') AND state IN ('queued', 'running')
"""


def upgrade() -> None:
    """Apply the change."""
    op.execute(MOVE.format(source="train", to="files"))


def downgrade() -> None:
    """Take the change back."""
    op.execute(MOVE.format(source="files", to="train"))
