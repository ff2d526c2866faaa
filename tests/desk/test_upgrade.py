"""A database of each earlier schema with a trade open in it: every row is kept, and the trade goes on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from alembic import command
from sqlalchemy import MetaData, select

from desk import control
from desk.migrate import upgrade
from store import Store, audit, schema, switches
from store.schema import SchemaState, check
from tests.desk.conftest import LADDER, LONG, Rig
from tests.store.test_migrations import config
from trading.model import Route

#: The one before is asked each time, those before it when there is time.
*OLDER, BEFORE = schema.REVISIONS[:-1]
EARLIER = [*(pytest.param(each, marks=pytest.mark.slow) for each in OLDER), BEFORE]


def rows(store: Store) -> dict[str, list[dict[str, Any]]]:
    """All that stands in each table, as it stands there, in an order of its own."""
    with store.read() as tx:
        found = MetaData()
        found.reflect(tx)
        return {
            name: sorted((dict(row._mapping) for row in tx.execute(select(table))), key=repr)
            for name, table in found.tables.items()
            if name != "alembic_version"
        }


@pytest.mark.parametrize("earlier", EARLIER)
@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)
def test_an_upgrade_keeps_every_row_and_the_trade_goes_on(rig: Rig, database_url: str, earlier: str) -> None:
    rig.send("entry", **LONG, **LADDER)
    rig.price("42500")
    asked = rig.send("entry", route=Route.STUDY, subaccount="OTHER", **LONG)
    rig.send("entry", subaccount="nobody", **LONG)
    control.halt(rig.store, reason="lunch", by="zoe", now=rig.clock())
    command.downgrade(config(database_url), earlier)
    before = rows(rig.store)
    assert check(rig.store) is SchemaState.OLDER
    assert len(before["alerts"]) == 3
    assert before["fills"]

    upgrade(database_url)

    assert check(rig.store) is SchemaState.CURRENT
    after = rows(rig.store)
    for name, kept in before.items():
        columns = kept[0].keys() if kept else ()
        assert sorted(({key: row[key] for key in columns} for row in after[name]), key=repr) == kept, name

    # What was open has its stop; what waited is asked still; HALT holds; and all of it goes on.
    rig.die()
    rig.settle()
    assert rig.position().quantity == Decimal("1.500")
    rig.check()
    assert rig.status(asked) == "AWAITING_APPROVAL"
    with rig.store.read() as tx:
        assert switches.halted(tx) is not None
    rig.send("long_breakeven", **{"long Breakeven": "42050"})
    control.resume(rig.store, by="zoe", now=rig.clock())
    rig.vote(asked, approve=True)
    assert rig.status(asked) == "DONE"
    closed = rig.send("exit", action="sell")
    assert rig.status(closed) == "DONE"
    assert rig.position().is_flat
    rig.check()
    assert audit.verify(rig.store).findings == []
