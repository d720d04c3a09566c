"""The schema: made by migrations, the same on every database."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from databases import Asker
from nephra_gateway import store
from nephra_gateway.store import migration
from nephra_gateway.store.database import Database
from nephra_gateway.store.schema import METADATA


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind, with nothing in it at all."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / '.nephra' / 'gateway.db'}"
    else:
        yield request.getfixturevalue("postgresql").create()


def migrated(url: str, *, do: str = "migrate") -> subprocess.Popen[str]:
    """The program that migrates, at work."""
    return subprocess.Popen(
        [sys.executable, "-m", "nephra_gateway", do],
        env={"NEPHRA_DATABASE": url, "PATH": ""},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_migrations_make_what_the_code_expects(asker: Asker) -> None:
    """No table, column, type or index is missing, or too much."""
    for module in pkgutil.iter_modules(store.__path__, "nephra_gateway.store."):
        importlib.import_module(module.name)

    def differences(connection: Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), METADATA)

    assert asker.read(differences) == []


def test_an_old_schema_is_said_with_what_to_do(empty_url: str) -> None:
    """Until it is migrated; to do so again changes nothing."""
    database = Database.of(empty_url)
    with pytest.raises(ValueError, match="run `python -m nephra_gateway migrate`"):
        database.check_schema()
    for _ in range(2):
        database.migrate()
        database.check_schema()


def test_a_newer_schema_is_left_alone(asker: Asker) -> None:
    """This version knows nothing of what it means."""
    asker.write(lambda c: c.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")))
    for work in (asker.database.check_schema, asker.database.migrate):
        with pytest.raises(ValueError, match="9999, of a newer version of nephra"):
            work()


def test_several_may_migrate_at_once(empty_url: str) -> None:
    """Gateways that start together do not hinder each other."""
    workers = [migrated(empty_url) for _ in range(3)]
    said = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], said
    assert sum("database migrated" in each for each in said) == 1
    Database.of(empty_url).check_schema()


def test_migrations_can_be_taken_back(asker: Asker) -> None:
    """All of them, and nothing stays."""

    def down(connection: Connection) -> None:
        command.downgrade(migration._config(connection), "base")

    asker.database._inspect(down)
    assert asker.read(lambda c: sa.inspect(c).get_table_names()) == ["alembic_version"]
    asker.database.migrate()


@pytest.mark.parametrize(
    ("url", "do", "status"),
    [
        ("sqlite:////nowhere/.nephra/gateway.db", "migrate", 1),
        ("mysql://host/name", "migrate", 2),
        ("sqlite:////nowhere/.nephra/gateway.db", "migrat", 2),
    ],
)
def test_the_program_says_why_it_could_not_migrate(url: str, do: str, status: int) -> None:
    """By its exit status, and in a line of JSON."""
    process = migrated(url, do=do)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert json.loads(said.splitlines()[-1])["why"]
