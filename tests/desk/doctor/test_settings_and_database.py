"""What the doctor finds in settings and database, and which mends it names."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import inspect, select, text

from desk import control, doctor
from store import open_store, schema
from store.tables import state
from tests.databases import TEMPLATE, PostgresServer
from tests.desk.doctor.clinic import Told


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database that nobody has made tables in."""
    if request.param == "sqlite":
        (tmp_path / "empty.db").touch()
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create(template="template0")
    yield server.url(name)
    server.drop(name)


# What is set


def test_a_missing_risk_or_leverage(examine: Callable[..., Told]) -> None:
    assert examine(RISK_MAIN="").only() == (
        "RISK_MAIN is not set: the account may not enter",
        "set it to the percent of free collateral that a stop may cost",
    )
    assert "LEVERAGE_MAIN is not set" in examine(LEVERAGE_MAIN="").only()[0]


def test_every_wrong_setting_is_told_with_its_mend(examine: Callable[..., Told]) -> None:
    told = examine(
        WEBHOOK_PASSPHRASE="",
        DATABASE_URL="mysql://nowhere/x",
        RISK_MAIN="much",
        API_KEY_MAIN="a-long-key",
        DISCORD_TOKEN="a-token",
        LIMITS_MAIN='{"max_notionl": 1}',
        MAX_ALERT_AGE="-1",
        EXCHANGE_MAIN="KRAKEN",
        LIVE_TRADING="1",
    )
    variables = [what.partition(":")[0] for what, _ in told.errors]
    assert sorted(variables[:7]) == [
        "API_SECRET_MAIN",
        "DATABASE_URL",
        "DISCORD_CHANNEL_ID",
        "LIMITS_MAIN",
        "MAX_ALERT_AGE",
        "RISK_MAIN",
        "WEBHOOK_PASSPHRASE",
    ]
    assert variables[7:] == ["EXCHANGE_MAIN is KRAKEN, which this server has no adapter for"]
    assert told.errors[7][1] == "set it to one of BINANCE, BYBIT, FTX, PAPER"
    assert ("WEBHOOK_PASSPHRASE: is not set", "choose one and put it into every alert as well") in told.errors
    assert "Database" not in told.titles


@pytest.mark.parametrize(
    ("environ", "what"),
    [
        ({"RISK_MAIN": "", "LEVERAGE_MAIN": ""}, "no account is set"),
        ({"DEFAULT_SUBACCOUNT": "other"}, "DEFAULT_SUBACCOUNT is other, which is not set up"),
        ({"LIVE_TRADING": "1"}, "it has no credentials"),
        ({"APPROVAL_MAIN": "discord"}, "and nobody can approve"),
    ],
)
def test_what_would_stop_a_trade(examine: Callable[..., Told], environ: dict[str, str], what: str) -> None:
    assert what in examine(**environ).only()[0]


def test_paper_needs_no_credentials(examine: Callable[..., Told]) -> None:
    assert examine(LIVE_TRADING="1", EXCHANGE_MAIN="PAPER").errors == []


@pytest.mark.parametrize(
    ("environ", "mark", "what"),
    [
        ({"WEBHOOK_PASSPHRASE": "short one"}, "warn", "WEBHOOK_PASSPHRASE can be guessed"),
        ({"RISK_B": "1", "LEVERAGE_B": "1"}, "warn", "DEFAULT_SUBACCOUNT is not set"),
        ({"APPROVAL_MAIN": "discord", "DASHBOARD_PASSWORD": "long-enough-it-is"}, "warn", "dashboard alone"),
        (
            {
                "APPROVAL_MAIN": "discord",
                "DISCORD_TOKEN": "token",
                "DISCORD_CHANNEL_ID": "1",
                "DISCORD_APPROVERS": "2",
            },
            "ok",
            "entries wait for a person",
        ),
        (
            {"LIMITS_MAIN": '{"max_notional": 5000, "symbols": ["BTCUSDT.P", "ETHUSDT.P"]}'},
            "ok",
            "LIMITS_MAIN: max_notional 5000, symbols BTCUSDT.P ETHUSDT.P",
        ),
        ({}, "ok", "LIMITS_MAIN: not set"),
        ({}, "ok", "EXCHANGE_MAIN is not set: an alert says where it trades"),
        (
            {"EXCHANGE_MAIN": "paper", "API_KEY_MAIN": "the-key", "API_SECRET_MAIN": "the-secret"},
            "ok",
            "EXCHANGE_MAIN is PAPER",
        ),
        ({"EXCHANGE_MAIN": "KRAKEN"}, "warn", "EXCHANGE_MAIN is KRAKEN"),
    ],
)
def test_what_is_told_and_stops_nothing(
    examine: Callable[..., Told], environ: dict[str, str], mark: str, what: str
) -> None:
    told = examine(**environ)
    assert told.code == 0
    told.says(mark, what)


def test_a_file_that_is_no_text(
    examine: Callable[..., Told], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.env"
    path.write_bytes(b"\xff\xfe\x00")
    assert doctor.main([], env_file=path) == 1
    assert "bad.env: cannot be read as UTF-8 text" in capsys.readouterr().out


def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        doctor.main(["--fix"])
    assert ended.value.code == 2
    assert "python -m desk.doctor" in capsys.readouterr().err


# The database


def test_a_good_database_stays_as_it_is(examine: Callable[..., Told], database_url: str) -> None:
    told = examine(DATABASE_URL=database_url)
    assert told.code == 0
    told.says("ok", f"answers and can be written, schema {schema.HEAD} is in place")
    store = open_store(database_url)
    with store.read() as tx:
        assert tx.execute(select(state)).all() == []
    store.close()


def test_no_database_is_not_made_and_stops_no_trade(examine: Callable[..., Told], tmp_path: Path) -> None:
    told = examine(DATABASE_URL=f"sqlite:///{tmp_path}/new/desk.db")
    assert told.code == 0
    told.says("ok", f"there is none yet at {tmp_path}/new/desk.db: the server makes it when it starts")
    assert not (tmp_path / "new").exists()


def test_a_database_that_cannot_be_made(examine: Callable[..., Told], tmp_path: Path) -> None:
    (tmp_path / "taken").touch(mode=0o600)
    told = examine(DATABASE_URL=f"sqlite:///{tmp_path}/taken/desk.db")
    assert told.only() == (
        f"there is none yet at {tmp_path}/taken/desk.db, and {tmp_path}/taken is no folder to write in",
        "mend that, or DATABASE_URL",
    )


@pytest.mark.parametrize("link", ["data", "data/desk.db"])
def test_a_database_behind_a_link_to_nowhere(examine: Callable[..., Told], tmp_path: Path, link: str) -> None:
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "away" / "there")
    told = examine(DATABASE_URL=f"sqlite:///{tmp_path}/data/desk.db")
    assert told.only()[0].endswith(f"/data/desk.db, and {tmp_path}/{link} is no folder to write in")


def test_a_database_with_tables_of_ours_and_no_version(examine: Callable[..., Told], empty_url: str) -> None:
    """No migration could begin there."""
    store = open_store(empty_url)
    with store.write() as tx:
        tx.execute(text("CREATE TABLE alerts (id integer)"))
    store.close()
    assert examine(DATABASE_URL=empty_url).only()[1] == "mend the database, or DATABASE_URL"


def test_a_database_without_tables_stops_no_trade(examine: Callable[..., Told], empty_url: str) -> None:
    told = examine(DATABASE_URL=empty_url)
    assert told.code == 0
    told.says("ok", "it can be written and has no tables yet: the server makes them when it starts")
    store = open_store(empty_url)
    assert schema.check(store) is schema.SchemaState.EMPTY
    with store.read() as tx:
        assert inspect(tx).get_table_names() == []
    store.close()


def test_a_newer_database(examine: Callable[..., Told], sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    with store.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    assert examine().only() == ("it belongs to a newer release than this", "install that release")


def test_an_older_database(examine: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.schema.REVISIONS", (*schema.REVISIONS, "the next one"))
    monkeypatch.setattr("store.schema.HEAD", "the next one")
    assert examine().only() == ("it is of an older release", doctor.MIGRATE)


@pytest.mark.parametrize("name", ["desk", "empty"])
def test_a_database_that_cannot_be_written(
    examine: Callable[..., Told], sqlite_url: str, tmp_path: Path, name: str
) -> None:
    (tmp_path / "empty.db").touch()
    url = f"sqlite:///{tmp_path}/{name}.db"
    with closing(open_store(url)) as other, other.write():
        told = examine(DATABASE_URL=url)
    assert told.only() == ("database: database is locked", "mend the database, or DATABASE_URL")
    assert "Account MAIN" in told.titles


@pytest.mark.parametrize("template", [TEMPLATE, "template0"])
def test_a_postgres_that_is_read_only(
    examine: Callable[..., Told], postgres_server: PostgresServer, template: str
) -> None:
    name = postgres_server.create(template)
    with postgres_server.connect() as admin:
        admin.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(sql.Identifier(name))
        )
    told = examine(DATABASE_URL=postgres_server.url(name))
    postgres_server.drop(name)
    assert told.only() == (
        "DATABASE_URL: is read-only",
        "use the primary, and turn default_transaction_read_only off there",
    )
    assert "Account MAIN" in told.titles


def test_a_database_that_refuses_what_nobody_expects(examine: Callable[..., Told], sqlite_url: str) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other:
        other.execute("CREATE TRIGGER no BEFORE INSERT ON state BEGIN SELECT RAISE(ABORT, 'no'); END")
    told = examine()
    assert told.only() == ("the check itself failed: IntegrityError", "mend the database, or DATABASE_URL")


def test_a_database_that_does_not_answer(examine: Callable[..., Told]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = examine(DATABASE_URL=f"postgresql://me:pa55word@127.0.0.1:{free.getsockname()[1]}/desk")
    assert told.only()[1] == "mend the database, or DATABASE_URL"
    assert "pa55word" not in told.output
    assert "Account MAIN" in told.titles


def test_a_halt_stops_every_entry(examine: Callable[..., Told], sqlite_url: str, clock: Any) -> None:
    store = open_store(sqlite_url)
    control.halt(store, reason="holidays", by="me", now=clock())
    store.close()
    what, mend = examine().only()
    assert what == "trading is halted since 2026-01-05 12:00 UTC by me: holidays"
    assert "/api/resume" in mend


def test_what_is_open_where_nothing_may_be_sent(examine: Callable[..., Told], sqlite_url: str) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other, other:
        other.execute(
            "INSERT INTO positions (venue, account, symbol, intent_id, quantity, realised_pnl, fees, token,"
            " wakes, updated_at) VALUES ('BYBIT', 'MAIN', 'BTC-USDT-PERP', 'a', '2', '0', '0', 0, 0, 0)"
        )
    told = examine()
    what, mend = told.found["warn"][0]
    assert what.startswith("BYBIT MAIN BTC-USDT-PERP: what is open or rests there is not looked after: ")
    assert what.endswith("BYBIT trades real money and LIVE_TRADING is off")
    assert mend == "set LIVE_TRADING=1, or close by hand what is open there"
    assert told.code == 0
    (what, mend), *_ = examine(LIVE_TRADING="1").errors
    assert what.endswith("is not looked after: account MAIN has no credentials")
    assert mend == "set API_KEY_MAIN and API_SECRET_MAIN, or close by hand what is open there"
