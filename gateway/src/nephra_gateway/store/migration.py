"""Alembic, run from the package: no file of settings is needed."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from nephra_contract import logs

_SCRIPTS = Path(__file__).with_name("migrations")


def upgrade(connection: Connection) -> None:
    """Bring the schema to its head, in the transaction of the connection.

    Raises:
        ValueError: a newer version has changed it.
    """
    config = _config(connection)
    known, heads = _versions(connection, config)
    if known == heads:
        return
    _refuse_newer(known, config)
    command.upgrade(config, "head")
    logs.line("database migrated", to=", ".join(sorted(heads)))


def check(connection: Connection) -> None:
    """See whether the schema is at its head.

    Raises:
        ValueError: it is not.
    """
    config = _config(connection)
    known, heads = _versions(connection, config)
    if known == heads:
        return
    _refuse_newer(known, config)
    raise ValueError(
        f"The schema of the database is at {_named(known)}, this version needs {_named(heads)}; "
        "run `python -m nephra_gateway migrate`."
    )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _versions(connection: Connection, config: Config) -> tuple[set[str], set[str]]:
    known = MigrationContext.configure(connection).get_current_heads()
    return set(known), set(ScriptDirectory.from_config(config).get_heads())


def _refuse_newer(known: set[str], config: Config) -> None:
    ours = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if not known <= ours:
        raise ValueError(
            f"The schema of the database is at {_named(known)}, of a newer version of nephra; "
            "run that one, or go back to a backup of before it."
        )


def _named(versions: set[str]) -> str:
    return ", ".join(sorted(versions)) or "nothing"
