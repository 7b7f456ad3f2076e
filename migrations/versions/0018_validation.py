"""Validation images: loss and accuracy of epochs and seeds on them, and epochs without those of the test images."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLES = ("verification_epochs", "verification_seeds")
FIGURES = ("validation_loss", "validation_accuracy")
TESTED = ("test_loss", "test_accuracy")


def upgrade() -> None:
    """Apply the change."""
    for name in TABLES:
        for figure in FIGURES:
            op.add_column(name, sa.Column(figure, sa.Double(), nullable=True))
    with op.batch_alter_table("verification_epochs") as table:
        for figure in TESTED:
            table.alter_column(figure, existing_type=sa.Double(), nullable=True)


def downgrade() -> None:
    """Take the change back. Trainings with validation images go: an older release cannot read their recipes."""
    op.execute(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM verifications WHERE CAST(recipe AS TEXT) LIKE '%\"validation\"%')"
    )
    with op.batch_alter_table("verification_epochs") as table:
        for figure in TESTED:
            table.alter_column(figure, existing_type=sa.Double(), nullable=False)
        for figure in FIGURES:
            table.drop_column(figure)
    with op.batch_alter_table("verification_seeds") as table:
        for figure in FIGURES:
            table.drop_column(figure)
