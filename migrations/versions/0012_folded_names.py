"""Folded names: the name and note of a search without distinctions of case and normal form, to be searched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.folding import folded

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

AT_ONCE = 1000

searches = sa.table(
    "searches",
    sa.column("id", sa.Uuid()),
    sa.column("name", sa.String()),
    sa.column("note", sa.Text()),
    sa.column("folded_name", sa.Text()),
    sa.column("folded_note", sa.Text()),
)


def upgrade() -> None:
    """Apply the change."""
    for column in ("folded_name", "folded_note"):
        op.add_column("searches", sa.Column(column, sa.Text(), nullable=False, server_default=""))
    connection = op.get_bind()
    change = (
        sa.update(searches)
        .where(searches.c.id == sa.bindparam("search"))
        .values(folded_name=sa.bindparam("of_name"), folded_note=sa.bindparam("of_note"))
    )
    rows = connection.execute(sa.select(searches.c.id, searches.c.name, searches.c.note)).all()
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        connection.execute(
            change, [{"search": row.id, "of_name": folded(row.name), "of_note": folded(row.note)} for row in part]
        )


def downgrade() -> None:
    """Take the change back."""
    for column in ("folded_note", "folded_name"):
        op.drop_column("searches", column)
