"""Rows for tests that do not care what stands in them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, Table, insert

from store.tables import DecimalText, UtcDateTime


def add(tx: Connection, table: Table, now: datetime, **values: object) -> None:
    """A row with any value in every column that must have one."""
    for column in table.columns:
        if column.name not in values and not column.nullable and column.autoincrement is not True:
            if isinstance(column.type, UtcDateTime):
                values[column.name] = now
            elif isinstance(column.type, DecimalText):
                values[column.name] = Decimal(0)
            else:
                values[column.name] = column.type.python_type()
    tx.execute(insert(table).values(values))
