"""A process that the network cuts off from Postgres amid a transaction: what it has locked is soon free."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from sqlalchemy import bindparam, insert, select, update

from store import Store, _engine, chain, open_store
from store.tables import chain as records
from store.tables import state
from tests.scale.cable import Cable
from trading.errors import StoreUnavailable


class Tap:
    """What one connection sent to Postgres, message by message: their types, in order."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self.types = ""

    def __call__(self, data: bytes) -> None:
        self._rest += data
        while True:
            # The first message has no type, only a length.
            head = 1 if self._begun else 0
            length = head + int.from_bytes(self._rest[head : head + 4])
            if len(self._rest) < head + 4 or len(self._rest) < length:
                return
            if self._begun:
                self.types += chr(self._rest[0])
            self._begun, self._rest = True, self._rest[length:]


@pytest.fixture
def tap() -> Tap:
    return Tap()


@pytest.fixture
def cable(postgres_url: str, tap: Tap) -> Iterator[Cable]:
    folder = parse_qs(urlsplit(postgres_url).query)["host"][0]
    with Cable(f"{folder}/.s.PGSQL.5432", tap=tap) as made:
        yield made


@pytest.fixture
def far(postgres_url: str, cable: Cable) -> Iterator[Store]:
    """Its connections go through the cable."""
    name, plain = urlsplit(postgres_url).path, "sslmode=disable&gssencmode=disable"
    opened = open_store(f"postgresql://postgres:@127.0.0.1:{cable.port}{name}?{plain}")
    yield opened
    opened.close()


@pytest.fixture
def near(postgres_url: str) -> Iterator[Store]:
    opened = open_store(postgres_url)
    yield opened
    opened.close()


def put(tx: Any, value: str, clock: Any) -> None:
    tx.execute(insert(state).values(key="a", value=value, at=clock()))


def kept(store: Store) -> list[str]:
    with store.read() as tx:
        return list(tx.execute(select(state.c.value).where(state.c.key == "a")).scalars())


def test_who_waits_outlasts_one_that_was_cut_off(far: Store, near: Store, cable: Cable, clock: Any) -> None:
    def cut_off() -> None:
        with far.write() as tx:
            put(tx, "far", clock)
            cable.cut()
            with near.write() as other:
                put(other, "near", clock)
            cable.mend()

    with pytest.raises(StoreUnavailable):
        cut_off()
    assert kept(near) == ["near"]
    with far.write() as tx:
        tx.execute(update(state).values(value="back"))
    assert kept(near) == ["back"]


def test_one_that_waited_itself_when_it_was_cut_off_is_outlasted_too(
    far: Store, near: Store, postgres_url: str, cable: Cable, clock: Any
) -> None:
    """It gets the lock when nobody hears that it has it."""

    def wait_for_it() -> None:
        with suppress(StoreUnavailable), far.write() as tx:
            put(tx, "far", clock)

    with near.write() as tx:
        put(tx, "first", clock)
    with psycopg.connect(postgres_url) as holder:
        holder.execute("DELETE FROM state")
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        _until_somebody_waits(postgres_url)
        cable.cut()
    with near.write() as tx:
        put(tx, "near", clock)
    cable.mend()
    waiting.join()
    assert kept(near) == ["near"]


def test_a_transaction_never_leaves_the_server_waiting_for_the_rest(
    far: Store, near: Store, tap: Tap, clock: Any
) -> None:
    """Each statement goes out whole, and asks for its answer (Sync): until that the server knows no limit."""
    with far.write() as tx:
        put(tx, "far", clock)
        for number in range(3):
            chain.note(tx, "test", {"number": number})
        change = update(state).where(state.c.key == bindparam("which")).values(value=bindparam("now"))
        tx.execute(change, [{"which": "a", "now": "once"}, {"which": "a", "now": "twice"}])
    with near.read() as tx:
        assert len(tx.execute(select(records)).all()) == 3
    assert kept(near) == ["twice"]
    assert tap.types.count("E") > 5
    assert tap.types.replace("ES", "").count("E") == 0, tap.types


def test_a_transaction_ends_whatever_the_server_waits_for(postgres_url: str, near: Store, clock: Any) -> None:
    engine = _engine.build(postgres_url, statements=0.5)
    with engine.connect() as connection:
        connection.execution_options(**{_engine.WRITES: 2000})
        put(connection, "far", clock)
        driver: Any = connection.connection.driver_connection
        driver.pgconn.enter_pipeline_mode()
        driver.pgconn.send_query_params(b"UPDATE state SET value = $1", [b"in part"])
        driver.pgconn.send_flush_request()
        driver.pgconn.flush()
        with near.write() as tx:
            put(tx, "near", clock)
        connection.invalidate()
    engine.dispose()
    assert kept(near) == ["near"]


def _until_somebody_waits(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        asked = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while admin.execute(asked).rowcount == 0:
            admin.execute("SELECT pg_sleep(0.01)")


def test_who_only_reads_may_take_its_time(near: Store) -> None:
    """An export goes at the pace of whoever takes it, and holds nothing that others wait for."""
    names = ("idle_in_transaction_session_timeout", "transaction_timeout")

    def limits(tx: Any) -> list[str | None]:
        query = "SELECT current_setting(%s, true)"
        return [tx.exec_driver_sql(query, (name,)).scalar_one() for name in names]

    with near.read() as tx:
        assert limits(tx)[0] == "1min"
        assert limits(tx)[1] in ("0", None)
    for _ in range(2):
        with near.write() as tx:
            assert limits(tx)[0] == "1500ms"
            assert limits(tx)[1] in ("10s", None)
    with near.read() as tx:
        assert limits(tx)[0] == "1min"
