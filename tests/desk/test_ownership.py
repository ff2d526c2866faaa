"""Which executions are ours, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import delete

from store import orders, ownership, tables, views
from tests.desk.conftest import LADDER, LONG
from trading.model import Lane, Role


def test_executions_that_are_missing_are_told_and_a_persons_are_not_ours(make_rig: Any) -> None:
    rig = make_rig()
    rig.send("entry", **LONG, **LADDER)
    with rig.store.read() as tx:
        (at,) = views.position_list(tx)
    lane = Lane(at["venue"], at["account"], at["symbol"])
    with rig.store.read() as tx:
        assert ownership.untold(tx, lane) == []
        known = orders.fills_of(tx, lane)
        entry = next(o for o in orders.lane_state(tx, lane).trade.orders if o.role is Role.ENTRY)
    theirs = replace(known[0], trade_id="another", venue_order_id="of a person")
    with rig.store.read() as tx:
        named = ownership.own(tx, lane, [replace(known[0], client_order_id=None), theirs])
    assert [(fill.trade_id, fill.client_order_id) for fill in named] == [
        (known[0].trade_id, entry.client_order_id)
    ]
    with rig.store.write() as tx:
        tx.execute(delete(tables.fills))
    with rig.store.read() as tx:
        ((order, missing),) = ownership.untold(tx, lane)
    assert (order.client_order_id, missing) == (entry.client_order_id, Decimal(2))
    assert order.signed_at is not None
    assert order.signed_at <= rig.clock() + timedelta(seconds=1)
