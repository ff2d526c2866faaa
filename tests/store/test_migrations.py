"""The migrations make exactly the tables that the code uses, all or nothing, and twice at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from desk.migrate import upgrade
from store import Store, open_store, schema
from store.tables import metadata

ROOT = Path(__file__).resolve().parents[2]
HEADER = "import sqlalchemy as sa\nfrom alembic import op\n\nrevision = '9999'\ndown_revision = '{head}'\n\n"


@pytest.fixture
def bare_sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/bare.db"


@pytest.fixture
def bare_postgres_url(postgres_server: Any) -> Any:
    name = postgres_server.create(template="template0")
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
def bare_url(request: pytest.FixtureRequest) -> str:
    """A database without any table."""
    return str(request.getfixturevalue(f"bare_{request.param}_url"))


def config(url: str) -> Config:
    made = Config(ROOT / "alembic.ini")
    made.attributes["url"] = url
    return made


def tables(store: Store) -> set[str]:
    with store.read() as tx:
        return set(inspect(tx).get_table_names())


def run(url: str, *command: str) -> subprocess.Popen[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": url,
        "WEBHOOK_PASSPHRASE": "made up for a test",
    }
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_migrations_make_the_tables_of_the_code(store: Store) -> None:
    with store.read() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_rising_keys_are_never_used_again_on_sqlite(sqlite_url: str) -> None:
    """compare_metadata does not see AUTOINCREMENT."""
    store = open_store(sqlite_url)
    with store.read() as tx:
        rows = tx.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        made = {row.name: row.sql for row in rows}
    store.close()
    for name, table in metadata.tables.items():
        assert ("AUTOINCREMENT" in made[name]) is table.dialect_options["sqlite"]["autoincrement"], name


def test_the_way_back_leaves_nothing(database_url: str) -> None:
    command.downgrade(config(database_url), "base")
    store = open_store(database_url)
    assert tables(store) == {"alembic_version"}
    assert schema.check(store) is schema.SchemaState.EMPTY
    upgrade(database_url)
    assert schema.check(store) is schema.SchemaState.CURRENT
    store.close()


#: Each is a process that loads all of Alembic.
postgres_is_slow = pytest.mark.parametrize(
    "bare_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)


@postgres_is_slow
def test_several_at_once_all_succeed(bare_url: str) -> None:
    runs = [run(bare_url, "desk.migrate") for _ in range(3)]
    said = [each.communicate(timeout=50) for each in runs]
    assert [each.returncode for each in runs] == [0, 0, 0], said
    assert said == [(f"database: schema {schema.HEAD} is in place\n", "")] * 3
    store = open_store(bare_url)
    assert schema.check(store) is schema.SchemaState.CURRENT
    store.close()


@postgres_is_slow
def test_alembics_own_command_reads_the_environment(bare_url: str) -> None:
    for words in (("upgrade", "head"), ("check",)):
        alembic = run(bare_url, "alembic", *words)
        said = alembic.communicate(timeout=50)
        assert alembic.returncode == 0, said


def test_a_database_out_of_reach_is_one_line() -> None:
    refused = run("postgres://desk:hunter2@127.0.0.1:1/desk", "desk.migrate")
    out, err = refused.communicate(timeout=50)
    assert (refused.returncode, out) == (1, "")
    assert err.startswith("DATABASE_URL: ")
    assert err.count("\n") == 1
    assert "hunter2" not in err


def with_step(tmp_path: Path, url: str, body: str) -> Config:
    """The project's migrations and one more step."""
    scripts = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_more.py").write_text(HEADER.format(head=schema.HEAD) + body)
    made = config(url)
    made.set_main_option("script_location", str(scripts))
    return made


def test_a_step_that_fails_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    step = """def upgrade():
    op.create_table("half", sa.Column("n", sa.Integer()))
    op.execute("INSERT INTO half VALUES (1)")
    raise RuntimeError("halfway")
"""
    with pytest.raises(RuntimeError, match="halfway"):
        command.upgrade(with_step(tmp_path, database_url, step), "head")
    store = open_store(database_url)
    assert "half" not in tables(store)
    assert schema.check(store) is schema.SchemaState.CURRENT
    store.close()


def test_rebuilding_a_table_keeps_its_children(database_url: str, tmp_path: Path) -> None:
    """SQLite cannot alter a column: batch mode copies the table and drops the old one."""
    step = """def upgrade():
    op.create_table("parent", sa.Column("id", sa.Integer(), primary_key=True))
    op.create_table(
        "child", sa.Column("id", sa.Integer(), sa.ForeignKey("parent.id", ondelete="CASCADE"))
    )
    op.execute("INSERT INTO parent VALUES (1)")
    op.execute("INSERT INTO child VALUES (1)")
    with op.batch_alter_table("parent") as batch:
        batch.alter_column("id", type_=sa.BigInteger())
"""
    command.upgrade(with_step(tmp_path, database_url, step), "head")
    store = open_store(database_url)
    with store.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM child")).scalar_one() == 1
    assert schema.check(store) is schema.SchemaState.NEWER
    store.close()


def test_a_step_may_not_orphan_rows_on_sqlite(sqlite_url: str, tmp_path: Path) -> None:
    step = """def upgrade():
    op.execute("INSERT INTO votes (intent_id, voter, approve, at) VALUES ('none', 'zoe', 1, 0)")
"""
    with pytest.raises(RuntimeError, match="orphan rows of table votes"):
        command.upgrade(with_step(tmp_path, sqlite_url, step), "head")


def test_the_revisions_of_the_code_are_those_of_the_folder() -> None:
    scripts = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
    assert [step.revision for step in scripts.walk_revisions()] == list(reversed(schema.REVISIONS))
    assert scripts.get_current_head() == schema.HEAD


def test_tells_a_bare_database(bare_url: str) -> None:
    store = open_store(bare_url)
    assert schema.check(store) is schema.SchemaState.EMPTY
    store.close()


@pytest.mark.parametrize(
    ("found", "told"), [("0001", schema.SchemaState.OLDER), ("unheard of", schema.SchemaState.NEWER)]
)
def test_tells_older_from_newer(
    store: Store, monkeypatch: pytest.MonkeyPatch, found: str, told: schema.SchemaState
) -> None:
    monkeypatch.setattr(schema, "REVISIONS", ("0001", "0002"))
    monkeypatch.setattr(schema, "HEAD", "0002")
    with store.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": found})
    assert schema.check(store) is told


def test_what_serves_and_trades_does_not_load_alembic() -> None:
    modules = sorted(
        f"store.{path.stem}" for path in (ROOT / "store").glob("*.py") if path.stem != "__init__"
    )
    code = f"import sys, app, desk.runner, {', '.join(modules)}; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
