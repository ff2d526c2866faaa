"""The journal is sound after a day's work, and whatever is done to it behind the server's back is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, delete, func, insert, select, text

from desk import audit as tool
from desk import control
from desk.migrate import upgrade
from store import Conflict, Store, _engine, audit, chain, journal, open_store
from store.audit import Finding
from store.chain import ANCHORS, COVERED, DESK, GENESIS, digest
from store.tables import alerts, chain_heads, events, intents, notices, orders, refusals, votes
from store.tables import chain as records
from tests.conftest import Clock
from tests.desk.conftest import LADDER, LONG, PASSPHRASE, SYMBOL, Rig
from tests.store.test_migrations import config
from trading.errors import StoreUnavailable
from trading.model import Protection, Route

LANE = f"PAPER:BINANCE MAIN {SYMBOL}"
OTHER = f"PAPER:BINANCE OTHER {SYMBOL}"
#: Columns that foreign keys hold: the database itself refuses to change them.
HELD = {(alerts, "id"), (intents, "id"), (orders, "intent_id"), (votes, "intent_id")}
#: All that is promised: each field of each record and head, and each of a row that counts.
PLACES = [
    place
    for place in [
        *((table, column.name) for table in (records, chain_heads) for column in table.c),
        *((each.table, name) for each in COVERED.values() for name in each.columns),
    ]
    if place not in HELD
]


def play(rig: Rig) -> None:
    """A day: a trade with ladder and breakeven, a question, a refusal, a tp, a halt; anchored at its end."""
    rig.send("entry", **LONG, **LADDER)
    rig.price("42500")
    rig.send("long_breakeven", **{"long Breakeven": "42050"})
    asked = rig.send("entry", route=Route.STUDY, subaccount="OTHER", **LONG)
    rig.vote(asked, approve=True)
    rig.runner.anchor()
    rig.send("entry", subaccount="nobody", **LONG)
    rig.send("tp1")
    control.halt(rig.store, reason="lunch", by="zoe", now=rig.clock())
    control.resume(rig.store, by="zoe", now=rig.clock())
    rig.send("exit", action="sell")
    rig.runner.anchor()


#: What does not care which database it is.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def day(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a day's work in it, on SQLite, closed: to be copied and tampered with."""
    path = tmp_path_factory.mktemp("day") / "desk.db"
    shutil.copyfile(sqlite_template, path)
    store = open_store(f"sqlite:///{path}")
    play(Rig(store, Clock(datetime(2026, 1, 5, 12, 0, tzinfo=UTC)), Protection.ATTACHED))
    store.close()
    return path


@pytest.fixture
def played(day: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copyfile(day, tmp_path / "played.db")
    store = open_store(f"sqlite:///{tmp_path}/played.db")
    yield store
    store.close()


def findings(store: Store) -> list[Finding]:
    return audit.verify(store).findings


def all_of(store: Store, table: Table) -> list[Any]:
    with store.read() as tx:
        return list(tx.execute(select(*audit._raw(table)).order_by(*table.primary_key)))


def chained(store: Store, name: str = LANE) -> list[Any]:
    return [record for record in all_of(store, records) if record.chain == name]


def run(store: Store, statement: str, **values: Any) -> int:
    with store.write() as tx:
        return tx.execute(text(statement), values).rowcount


def put(store: Store, record: dict[str, Any]) -> None:
    with store.write() as tx:
        tx.execute(insert(records), record)


def shift(store: Store, *, since: int, by: int, name: str = LANE) -> None:
    """Moves the numbers of a chain, in two steps: they are unique."""
    for change in (1_000_000 + by, -1_000_000):
        run(
            store,
            "UPDATE chain SET number = number + :change WHERE chain = :name AND number >= :since",
            change=change,
            name=name,
            since=since,
        )


def end(store: Store, name: str = LANE) -> None:
    """What a careful forger does last: the head says what the last record says."""
    last = chained(store, name)[-1]
    run(
        store,
        "UPDATE chain_heads SET number = :number, hash = :hash WHERE chain = :name",
        number=last.number,
        hash=last.hash,
        name=name,
    )


def forged(store: Store, after: Any, *, alert_id: str | None = None) -> dict[str, Any]:
    """A record with a good hash that follows another."""
    content = {"what": "halt", "key": "halt", "alert_id": alert_id, "content": '{"by":"mallory"}'}
    mark = digest(after.hash, after.chain, *content.values())
    return content | {"chain": after.chain, "number": after.number + 1, "prev": after.hash, "hash": mark}


# Sound


def test_a_days_work_is_sound_and_all_of_it_is_chained(rig: Rig) -> None:
    play(rig)
    played = rig.store
    verdict = audit.verify(played)
    assert verdict.findings == []
    kept = all_of(played, records)
    assert verdict.records == len(kept)
    assert {LANE, OTHER, DESK, ANCHORS} <= {record.chain for record in kept}
    named = {(record.what, record.key) for record in kept}
    for what, covered in COVERED.items():
        rows = all_of(played, covered.table)
        assert rows, what
        assert {(what, str(row._mapping[covered.key])) for row in rows} <= named
    assert [record.what for record in chained(played, DESK)] == ["halt", "resume"]
    assert verdict.anchor == chained(played, ANCHORS)[-1].hash
    assert PASSPHRASE not in repr(kept)
    with played.write() as tx:
        tx.execute(delete(notices))  # pruned now and then, and not part of it
        tx.execute(delete(refusals))
    assert findings(played) == []
    with pytest.MonkeyPatch.context() as small:
        small.setattr(audit, "PAGE", 2)  # what is said of a row stands on several pages
        assert findings(played) == []
    run(played, "DELETE FROM fills")
    run(played, "UPDATE chain SET content = content || ' ' WHERE number = 9")
    run(played, "DELETE FROM chain WHERE number = 12")
    run(played, "UPDATE chain_heads SET number = number + 1 WHERE chain = 'desk'")
    told = " ".join(each.text for each in findings(played))
    assert all(word in told for word in ("the row was removed", "it was changed", "removed", "it ended"))


@ON_SQLITE
def test_each_change_of_an_order_is_a_record(rig: Rig) -> None:
    entry = f"{rig.send('entry', **LONG)}-e"
    told = [json.loads(each.content)["status"] for each in chained(rig.store) if each.key == entry]
    assert list(dict.fromkeys(told)) == ["INITIALIZED", "SUBMITTED", "FILLED"]


def tell_and_fail(tx: Any, alert: str, now: datetime) -> None:
    journal.tell(tx, alert, "note", "never said", now)
    raise LookupError


@ON_SQLITE
def test_what_is_undone_is_not_chained(rig: Rig) -> None:
    alert = rig.send("entry", **LONG)
    before = all_of(rig.store, records)
    with pytest.raises(LookupError), rig.store.write() as tx:
        tell_and_fail(tx, alert, rig.clock())
    with pytest.raises(RuntimeError, match="savepoint"), rig.store.write() as tx, tx.begin_nested():
        journal.tell(tx, alert, "note", "never said", rig.clock())
    assert all_of(rig.store, records) == before
    assert findings(rig.store) == []


@ON_SQLITE
def test_anchors_are_written_where_something_grew(rig: Rig) -> None:
    rig.send("tp1")
    for _ in range(3):
        rig.runner.anchor()
    assert len(chained(rig.store, ANCHORS)) == 1
    rig.send("tp2")
    rig.runner.anchor()
    assert len(chained(rig.store, ANCHORS)) == 2


# Tampered with


@pytest.mark.parametrize(
    "examples", [5, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_any_change_of_any_field_is_found(played: Store, examples: int) -> None:
    contents = {table: all_of(played, table) for table, _ in PLACES}

    @settings(max_examples=examples)
    @given(data=st.data())
    def change(data: Any) -> None:
        table, name = data.draw(st.sampled_from(PLACES))
        row = data.draw(st.sampled_from(contents[table]))
        old = row._mapping[name]
        # SQLite takes any value in any column; a number in a text column becomes its text.
        new = data.draw(st.sampled_from(["", "x", "0", f"{old}x", 0, 1, 2, -1, 10**12, None]))
        assume(new != old and str(new) != str(old))
        assume(new is not None or table.c[name].nullable)
        keys = {f"pk_{column.name}": row._mapping[column.name] for column in table.primary_key}
        same = " AND ".join(f"{key.removeprefix('pk_')} = :{key}" for key in keys)
        statement = f"UPDATE {table.name} SET {name} = :value WHERE {same}"  # noqa: S608  # our own names
        try:
            assume(run(played, statement, value=new, **keys) == 1)
        except (Conflict, StoreUnavailable):
            assume(False)  # the database itself refuses it
        found = findings(played)
        if f"pk_{name}" in keys:
            keys[f"pk_{name}"] = new
        assert run(played, statement, value=old, **keys) == 1
        assert found, f"{table.name}.{name} of {tuple(row)} became {new!r}"
        if table is records and name not in ("chain", "number"):
            assert (row.chain, row.number) in {(each.chain, each.number) for each in found}

    change()
    assert findings(played) == []


def test_a_changed_record_and_a_changed_row_are_named(played: Store) -> None:
    entry = next(record for record in chained(played) if record.what == orders.name)
    new = entry.content.replace("INITIALIZED", "DENIED")
    run(played, "UPDATE chain SET content = :new WHERE hash = :hash", new=new, hash=entry.hash)
    run(played, "UPDATE orders SET filled_quantity = '3' WHERE client_order_id = :id", id=entry.key)
    first, second = findings(played)
    assert (first.number, "it was changed" in first.text) == (entry.number, True)
    assert second.text == f"orders {entry.key}: the row was changed: filled_quantity"


def test_a_record_that_was_hashed_anew_is_found(played: Store) -> None:
    record = chained(played)[4]
    content = record.content.replace("42000", "42001") + " "
    mark = digest(record.prev, record.chain, record.what, record.key, record.alert_id, content)
    run(
        played,
        "UPDATE chain SET content = :c, hash = :h WHERE hash = :old",
        c=content,
        h=mark,
        old=record.hash,
    )
    assert [str(each) for each in findings(played) if "does not follow" in each.text] == [
        f"{LANE} 6: it does not follow record 5: that was replaced, or one between was removed"
    ]


@pytest.mark.parametrize("number", [1, 7, -1])
def test_a_removed_record_is_found(played: Store, number: int) -> None:
    gone = chained(played)[number - 1 if number > 0 else number]
    run(played, "DELETE FROM chain WHERE hash = :hash", hash=gone.hash)
    assert findings(played)
    if number > 0:
        assert (findings(played)[0].number, findings(played)[0].text) == (number, "removed")
        shift(played, since=number, by=-1)
    end(played)
    named = {each.number for each in findings(played) if each.chain == LANE}
    assert named & {gone.number, gone.number - 1}


def test_a_removed_row_is_found(played: Store) -> None:
    run(played, "DELETE FROM events WHERE event = 'sized'")
    run(played, "DELETE FROM fills")
    told = [each.text for each in findings(played)]
    assert len(told) > 3
    assert all(each.endswith("the row was removed") for each in told)


def test_an_alert_that_was_removed_with_all_that_speaks_of_it_is_found(played: Store) -> None:
    """Its lane had nothing else: only the anchor knows it."""
    (alone,) = {record.chain for record in all_of(played, records)} - {LANE, OTHER, DESK, ANCHORS}
    alert = chained(played, alone)[0].alert_id
    with played.write() as tx:
        for column in (events.c.alert_id, notices.c.alert_id, intents.c.id, alerts.c.id):
            tx.execute(delete(column.table).where(column == alert))
        for table in (records, chain_heads):
            tx.execute(delete(table).where(table.c.chain == alone))
    assert [each.chain for each in findings(played)] == [alone]
    assert "removed since anchor" in findings(played)[0].text


def test_a_tail_that_was_cut_off_is_found_by_its_anchor(played: Store) -> None:
    run(played, "DELETE FROM chain WHERE chain = :name AND number > 1", name=DESK)
    end(played, DESK)
    assert [str(each) for each in findings(played)] == [f"{DESK} 2: removed since anchor 5 saw it"]


def test_an_inserted_record_is_found(played: Store) -> None:
    before = chained(played)[8]
    shift(played, since=10, by=1)
    put(played, forged(played, before))
    end(played)
    assert "inserted" in next(each.text for each in findings(played) if each.number == 10)


def test_a_record_added_at_the_end_is_found(played: Store) -> None:
    put(played, forged(played, chained(played)[-1]))
    assert "added" in findings(played)[-1].text


def test_a_row_that_was_put_in_past_the_chain_is_found(played: Store) -> None:
    run(played, "INSERT INTO events (alert_id, at, event, detail) VALUES ('a', 0, 'filled', '')")
    (found,) = findings(played)
    assert (found.chain, "inserted past the chain" in found.text) == ("events", True)


def test_records_that_changed_places_are_found(played: Store) -> None:
    for old, new in ((5, -1), (9, 5), (-1, 9)):
        run(
            played,
            "UPDATE chain SET number = :new WHERE chain = :name AND number = :old",
            new=new,
            old=old,
            name=LANE,
        )
    assert "out of order" in next(each.text for each in findings(played) if each.number == 5)


# Many writers


def test_writers_at_once_make_one_chain(database_url: str, rig: Rig) -> None:
    ids = [rig.store_only("tp1", ticker=f"COIN{number % 2}USDT.P") for number in range(4)]
    stores = [open_store(database_url) for _ in range(3)]

    def write(number: int) -> None:
        with stores[number % 3].write() as tx:
            journal.tell(tx, ids[number % 4], "note", f"{number}", rig.clock())
            journal.tell(tx, ids[(number + 1) % 4], "note", f"{number} again", rig.clock())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(48)))
    verdict = audit.verify(rig.store)
    assert verdict.findings == []
    with rig.store.read() as tx:
        told = select(func.count()).select_from(events)
        assert tx.execute(told.where(events.c.event == "note")).scalar_one() == 96
    for each in stores:
        each.close()


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_lane_does_not_wait_for_another(rig: Rig, database_url: str) -> None:
    """On SQLite all writers wait for each other, whatever they write."""
    # Gives up before the database would end the one that holds the lock for its silence.
    impatient = Store(_engine.resolve(database_url), _engine.build(database_url, patience=0.3))
    one, other = rig.store_only("tp1"), rig.store_only("tp1", ticker="ETHUSDT.P")
    with rig.store.write() as held:
        journal.tell(held, one, "note", "said first", rig.clock())
        chain.close(held)  # as at the commit: from here on its chain is locked
        with rig.store.write() as tx:
            journal.tell(tx, other, "note", "said meanwhile", rig.clock())
        with pytest.raises(StoreUnavailable, match="lock"), impatient.write() as tx:
            journal.tell(tx, one, "note", "has to wait", rig.clock())
        rig.runner.anchor()  # nor do anchors wait for a lane
        chain.begin(held)
    impatient.close()
    assert findings(rig.store) == []


# An older database


@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)
def test_what_an_older_database_holds_is_chained_by_its_upgrade(rig: Rig, database_url: str) -> None:
    rig.send("entry", **LONG, **LADDER)
    rig.price("42500")
    rig.vote(rig.send("entry", route=Route.STUDY, subaccount="OTHER", **LONG), approve=True)
    control.halt(rig.store, reason="lunch", by="zoe", now=rig.clock())
    played = rig.store
    command.downgrade(config(database_url), "0003")
    upgrade(database_url)
    assert findings(played) == []
    kept = chained(played)
    whats = {what: len(all_of(played, covered.table)) for what, covered in COVERED.items()}
    everything = [record for record in all_of(played, records) if record.chain != DESK]
    assert len(everything) == sum(whats.values())
    assert kept[0].prev == GENESIS
    assert kept[0].what == alerts.name
    rig.send("tp1")
    assert findings(played) == []
    run(played, "UPDATE fills SET price = '1'")
    assert findings(played)


# The command


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """The command, at the database of this test."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/played.db")
    monkeypatch.setenv("WEBHOOK_PASSPHRASE", PASSPHRASE)
    return lambda *arguments: tool.main(arguments)


def test_the_command_verifies(played: Store, asked: Any, capsys: Any) -> None:
    known = chained(played, ANCHORS)[0].hash
    assert asked() == 0
    assert asked("--anchor", known) == 0
    out = capsys.readouterr().out
    assert out.startswith("sound: ")
    assert out.rstrip().endswith(f"newest anchor: {chained(played, ANCHORS)[-1].hash}")

    assert asked("--anchor", "0" * 64) == 1
    run(played, "DELETE FROM fills")
    run(played, "DELETE FROM events")
    assert asked() == 1
    said = capsys.readouterr().out
    assert "the anchor 000" in said
    assert "NOT sound" in said
    assert "… and " in said


def test_the_command_tells_a_story(played: Store, asked: Any, capsys: Any) -> None:
    alert = all_of(played, alerts)[0].id
    assert asked(alert) == 0
    out = capsys.readouterr().out
    for word in (
        "entry BTCUSDT.P from tradingview",
        "sized",
        f"{alert}-e FILLED",
        "fill ",
        "DONE",
        "sound: ",
    ):
        assert word in out
    voted = all_of(played, votes)[0].intent_id
    assert asked(voted) == 0
    assert "approve by web" in capsys.readouterr().out
    assert asked("nobody") == 1
    assert capsys.readouterr().err == "there is no alert nobody\n"


def test_the_command_says_why_it_cannot_read(asked: Any, capsys: Any, monkeypatch: Any) -> None:
    assert asked() == 1
    assert "desk.migrate" in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", "mysql://x")
    assert asked() == 1
    assert "DATABASE_URL" in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", "postgres://127.0.0.1:1/desk")
    assert asked() == 1
    assert "database" in capsys.readouterr().err
