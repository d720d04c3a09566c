"""Entries of the prediction cache, and who makes them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _entries()
    _of_entries()
    _claims()


def _entries() -> None:
    op.create_table(
        "cache_entries",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, unique=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("ticket", sa.Text, nullable=False),
        sa.Column("folder", sa.Text),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("used_s", sa.Double, nullable=False),
        sa.Column("doomed_s", sa.Double),
        sa.Column("hits", sa.Integer, nullable=False),
        sa.Column("files", sa.JSON, nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.CheckConstraint("state IN ('whole', 'doomed', 'going')", "cache_entries_state"),
        sa.CheckConstraint("(state = 'whole') = (key IS NOT NULL)", "cache_entries_key"),
    )
    op.create_index("cache_entries_used", "cache_entries", ["state", "used_s"])
    op.create_index("cache_entries_ticket", "cache_entries", ["ticket"])
    op.create_index("cache_entries_folder", "cache_entries", ["folder"])


def _of_entries() -> None:
    op.create_table(
        "cache_parts",
        sa.Column(
            "entry",
            sa.Text,
            sa.ForeignKey("cache_entries.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("part", sa.Text, primary_key=True),
    )
    op.create_index("cache_parts_part", "cache_parts", ["part"])
    op.create_table(
        "cache_holds",
        sa.Column(
            "ticket", sa.Text, sa.ForeignKey("tickets.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("entry", sa.Text, primary_key=True),
    )
    op.create_index("cache_holds_entry", "cache_holds", ["entry"])


def _claims() -> None:
    op.create_table(
        "cache_claims",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("token", sa.Text),
        sa.Column("ticket", sa.Text, nullable=False),
        sa.Column("until_s", sa.Double, nullable=False),
        sa.Column("failed_token", sa.Text),
        sa.Column("problem", sa.JSON),
    )
    op.create_index("cache_claims_token", "cache_claims", ["token"])
    op.create_table("cache_clearings", sa.Column("ticket", sa.Text, primary_key=True))
    op.create_table(
        "cache_figures",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Double, nullable=False),
    )


def downgrade() -> None:
    """Take the tables away."""
    for table in ("figures", "clearings", "claims", "holds", "parts", "entries"):
        op.drop_table(f"cache_{table}")
