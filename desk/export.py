"""Everything as CSV, line by line: alerts, orders, fills and stories from the database, trades and executions
from the results.

Never shows a passphrase, and never lets a cell begin a formula in a spreadsheet.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from desk.report import instant
from desk.results import Closed, Execution, Takings
from store import Store, feed
from trading.model import plain

#: What stands in the database as it is exported.
STORED = ("alerts", "orders", "fills", "events")
COUNTED = ("trades", "executions")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def stored(store: Store, name: str) -> Iterator[str]:
    """The lines of one of STORED, oldest first, read in pages. Raises StoreUnavailable."""
    columns = feed.columns_of(name)
    yield _line(columns)
    for row in feed.rows(store, name):
        yield _line(row[column] for column in columns)


def counted(results: Takings, name: str) -> Iterator[str]:
    """The lines of one of COUNTED."""
    rows: Iterable[Closed | Execution] = results.trades if name == "trades" else results.executions
    yield _line(Closed._fields if name == "trades" else Execution._fields)
    for row in rows:
        yield _line(row)


def _line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([_cell(cell) for cell in cells])
    return line.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return instant(value) or ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
