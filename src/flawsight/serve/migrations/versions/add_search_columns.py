"""Columns of what is searched for and computed with, so that no content need be read."""

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ROWS = 500
_TABLE = sa.table(
    "inspections",
    sa.column("id", sa.String),
    sa.column("content", sa.JSON),
    sa.column("threshold", sa.Float),
    sa.column("contradiction", sa.Boolean),
    sa.column("made_with", sa.String),
)


def upgrade() -> None:
    """Add the columns and fill them."""
    for column in (
        sa.Column("threshold", sa.Float()),
        sa.Column("contradiction", sa.Boolean()),
        sa.Column("made_with", sa.String(32)),
    ):
        op.add_column("inspections", column)
    connection, last = op.get_bind(), ""
    while rows := connection.execute(
        sa.select(_TABLE.c.id, _TABLE.c.content)
        .where(_TABLE.c.id > last)
        .order_by(_TABLE.c.id)
        .limit(_ROWS)
    ).all():
        for id, content in rows:
            values = _columns(content if isinstance(content, dict) else {})
            connection.execute(_TABLE.update().where(_TABLE.c.id == id).values(values))
        last = rows[-1][0]
    op.create_index(
        "inspections_drift",
        "inspections",
        ["product", "created_ms", "made_with", "threshold", "pred_score", "pred_label"],
    )


def _columns(content: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a row, whose content may be damaged."""
    named = f"{content.get('model_sha256')}/{content.get('reference_sha256')}"
    threshold, contradiction = content.get("threshold"), content.get("contradiction")
    return {
        "threshold": threshold if isinstance(threshold, float) else None,
        "contradiction": contradiction if isinstance(contradiction, bool) else None,
        "made_with": hashlib.sha256(named.encode(errors="replace")).hexdigest()[:32],
    }
