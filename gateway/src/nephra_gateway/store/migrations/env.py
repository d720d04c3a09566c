"""How Alembic runs the migrations: on the connection that it is given, in its transaction."""

from __future__ import annotations

from alembic import context

from nephra_gateway.store.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite cannot alter most of a table; Alembic then makes it anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
