"""Tickets, their events, turns at predictors, chores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _tickets()
    _of_tickets()
    _turns()


def _tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("updated_s", sa.Double, nullable=False),
        sa.Column("started_s", sa.Double),
        sa.Column("ended_s", sa.Double),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("lease_until_s", sa.Double),
        sa.Column("cancelling", sa.Boolean, nullable=False),
        sa.Column("cached", sa.Boolean, nullable=False),
        sa.Column("fresh", sa.Boolean, nullable=False),
        sa.Column("last_event", sa.Integer, nullable=False),
        sa.Column("fraction", sa.Double, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("callback_url", sa.Text),
        sa.Column("trace", sa.Text),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("steps", sa.JSON, nullable=False),
        sa.Column("problem", sa.JSON),
        sa.Column("result", sa.JSON),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", "tickets_state"
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 7", "tickets_priority"),
    )
    _partial("tickets_queued", ["priority", "created_s", "id"], "state = 'queued'")
    _partial("tickets_running", ["lease_until_s"], "state = 'running'")
    op.create_index("tickets_ended", "tickets", ["ended_s"])
    op.create_index("tickets_state", "tickets", ["state", "created_s", "id"])
    op.create_index("tickets_created", "tickets", ["created_s", "id"])
    op.create_index("tickets_owner", "tickets", ["owner", "created_s", "id"])
    op.create_index("tickets_idempotency", "tickets", ["owner", "idempotency_key"], unique=True)


def _partial(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "tickets", columns, sqlite_where=condition, postgresql_where=condition)


def _of_tickets() -> None:
    op.create_table(
        "ticket_events",
        sa.Column(
            "ticket", sa.Text, sa.ForeignKey("tickets.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("event", sa.JSON, nullable=False),
    )
    op.create_table(
        "ticket_entries",
        sa.Column(
            "ticket", sa.Text, sa.ForeignKey("tickets.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("entry", sa.Text, primary_key=True),
    )
    op.create_index("ticket_entries_entry", "ticket_entries", ["entry"])


def _turns() -> None:
    op.create_table(
        "turns",
        sa.Column("predictor", sa.Text, primary_key=True),
        sa.Column("ticket", sa.Text, primary_key=True),
        sa.Column("step", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, primary_key=True),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("since_s", sa.Double, nullable=False),
        sa.Column("granted", sa.Boolean, nullable=False),
        sa.Column("lease_until_s", sa.Double, nullable=False),
    )
    op.create_index("turns_holder", "turns", ["holder"])
    op.create_table(
        "chores",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("lease_until_s", sa.Double, nullable=False),
    )


def downgrade() -> None:
    """Take the tables away."""
    for table in ("chores", "turns", "ticket_entries", "ticket_events", "tickets"):
        op.drop_table(table)
