"""Every table of the house, and the two column types that keep money and time exact.

Money is canonical decimal text and time is whole microseconds since 1970 (UTC), on SQLite and on Postgres
alike: neither database may round what a trader owns. Statuses are text, checked by `trading.lifecycle`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """An aware time as the database has it."""
    if at.tzinfo is None:
        raise ValueError(f"a time without zone: {at!r}")
    return (at - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """The time that the database has as `value`."""
    return _EPOCH + timedelta(microseconds=value)


class DecimalText(TypeDecorator[Decimal]):
    """A finite Decimal as plain text, without exponent."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if not isinstance(value, Decimal) or not value.is_finite():
            raise ValueError(f"not a finite Decimal: {value!r}")
        return format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970-01-01T00:00:00Z."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else moment(int(value))


#: SQLite gives rising keys to a plain INTEGER primary key only.
_Serial = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

#: What arrived, once each. `body` is the canonical JSON without its passphrase.
alerts = Table(
    "alerts",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("source", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("subaccount", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("ticker", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("action", Text),
    Column("message", Text, nullable=False),
    Column("sent_at", UtcDateTime),
    Column("price", DecimalText),
    Column("body", Text, nullable=False),
    sqlite_autoincrement=True,
)

#: What makes two alerts the same one; the row is taken by whoever commits first.
alert_keys = Table(
    "alert_keys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("alert_id", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("taken_at", UtcDateTime, nullable=False),
)

#: Bodies refused at the door, the newest thousand: a person wants to see why.
refusals = Table(
    "refusals",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("route", Text, nullable=False),
    Column("code", Integer, nullable=False),
    Column("field", Text),
    Column("reason", Text, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_autoincrement=True,
)

#: What we mean to do about an alert; same id. `venue` is where it trades (PAPER:… is simulated).
#: `asked_price` is where the market stood when a person was asked, `found` the direction of the position that
#: was there when its turn came, for an alert that says what it expects.
intents = Table(
    "intents",
    metadata,
    Column("id", Text, ForeignKey("alerts.id"), primary_key=True),
    Column("seq", BigInteger, nullable=False, unique=True),
    Column("venue", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("effective_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("asked_price", DecimalText),
    Column("found", Text),
    Column("attempts", Integer, nullable=False, default=0),
    Column("free_collateral", DecimalText),
    Column("risk", DecimalText),
    Column("quantity", DecimalText),
    Column("worst_loss", DecimalText),
    Column("notional", DecimalText),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_intents_lane", "venue", "account", "symbol", "status", "seq"),
    Index("ix_intents_status", "status", "seq"),
)

#: One row per venue, account and instrument: the position as we know it, and who may act on it now.
#: `token` rises with each claim; a commit that precedes a request must still hold the newest one.
#: `wakes` rises with each wish for a look, so that one that comes during a claim is not lost.
positions = Table(
    "positions",
    metadata,
    Column("venue", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("quantity", DecimalText, nullable=False),
    Column("average_price", DecimalText),
    Column("realised_pnl", DecimalText, nullable=False),
    Column("fees", DecimalText, nullable=False),
    Column("intent_id", Text),
    Column("reference_price", DecimalText),
    Column("stop_price", DecimalText),
    Column("token", BigInteger, nullable=False, default=0),
    Column("wakes", BigInteger, nullable=False, default=0),
    Column("owner", Text),
    Column("lease_until", UtcDateTime),
    Column("due_at", UtcDateTime),
    Column("naked_since", UtcDateTime),
    Column("drift_since", UtcDateTime),
    Column("last_entry_at", UtcDateTime),
    Column("last_entry_effective_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_positions_due", "due_at"),
)

#: Child orders; written before they leave.
orders = Table(
    "orders",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("client_order_id", Text, nullable=False, unique=True),
    Column("intent_id", Text, ForeignKey("intents.id"), nullable=False),
    Column("venue", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("rung", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("side", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("quantity", DecimalText, nullable=False),
    Column("price", DecimalText),
    Column("trigger_price", DecimalText),
    Column("time_in_force", Text, nullable=False),
    Column("reduce_only", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("venue_order_id", Text),
    Column("filled_quantity", DecimalText, nullable=False),
    Column("average_price", DecimalText),
    Column("signed_at", UtcDateTime),
    Column("retry_at", UtcDateTime),
    Column("reason", Text, nullable=False, default=""),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_orders_lane", "venue", "account", "symbol", "status"),
    Index("ix_orders_intent", "intent_id"),
    Index("ix_orders_account_at", "venue", "account", "created_at"),
    sqlite_autoincrement=True,
)

fills = Table(
    "fills",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("venue", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("trade_id", Text, nullable=False),
    Column("client_order_id", Text),
    Column("venue_order_id", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("quantity", DecimalText, nullable=False),
    Column("price", DecimalText, nullable=False),
    Column("fee", DecimalText, nullable=False),
    Column("fee_currency", Text, nullable=False),
    Column("maker", Boolean, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("realised_pnl", DecimalText, nullable=False),
    UniqueConstraint("venue", "account", "symbol", "trade_id"),
    Index("ix_fills_order", "client_order_id"),
    Index("ix_fills_account_at", "venue", "account", "at"),
    sqlite_autoincrement=True,
)

#: The story of an alert, in the words that a person reads.
events = Table(
    "events",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("alert_id", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("event", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_events_alert", "alert_id", "seq"),
    sqlite_autoincrement=True,
)

#: What decides and what trades, once for each change, chained by hash (`store.chain`): `what` and `key` name
#: the row, `content` is the row as it stood then, `hash` covers all of it and `prev`, the hash before.
chain = Table(
    "chain",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("what", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("alert_id", Text),
    Column("content", Text, nullable=False),
    Column("prev", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("ix_chain_row", "what", "key"),
    Index("ix_chain_alert", "alert_id"),
)

#: Where each chain stands; its row is locked from an append to the commit.
chain_heads = Table(
    "chain_heads",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)

#: Outbox: one thing to tell people; `posted_at` once the channel took it. `data` is JSON for its picture.
notices = Table(
    "notices",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", Text, nullable=False),
    Column("alert_id", Text),
    Column("text", Text, nullable=False),
    Column("data", Text),
    Column("posted_at", UtcDateTime),
    Index("ix_notices_unposted", "posted_at", "seq"),
    sqlite_autoincrement=True,
)

#: A person's word on an intent; the first valid one decides.
votes = Table(
    "votes",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("intent_id", Text, ForeignKey("intents.id"), nullable=False),
    Column("voter", Text, nullable=False),
    Column("name", Text),
    Column("approve", Boolean, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    UniqueConstraint("intent_id", "voter"),
    sqlite_autoincrement=True,
)

#: The message in which Discord shows an alert: `told_seq` is the last event that its thread has, `shown`
#: a digest of what the message says, `data` the question as it was put, `live` whether more may come.
cards = Table(
    "cards",
    metadata,
    Column("alert_id", Text, ForeignKey("alerts.id"), primary_key=True),
    Column("channel_id", BigInteger, nullable=False),
    Column("message_id", BigInteger, nullable=False, unique=True),
    Column("thread_id", BigInteger),
    Column("told_seq", BigInteger, nullable=False),
    Column("shown", Text, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("data", Text),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_cards_live", "live"),
)

#: Charts that a person asked for: the runner fetches the candles, a notice carries them back.
chart_requests = Table(
    "chart_requests",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("interval", Text, nullable=False),
    Column("channel_id", BigInteger, nullable=False),
    Column("done_at", UtcDateTime),
    Index("ix_chart_requests_done", "done_at", "seq"),
    sqlite_autoincrement=True,
)

#: Switches and heartbeats that every process reads: HALT, runner, bot.
state = Table(
    "state",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

#: Wrong passphrases and passwords by address, for the lock-out.
auth_failures = Table(
    "auth_failures",
    metadata,
    Column("address", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("since", UtcDateTime, nullable=False),
)

#: The paper venue's own memory. Nothing outside `store.paper` touches these.
paper_prices = Table(
    "paper_prices",
    metadata,
    Column("symbol", Text, primary_key=True),
    Column("price", DecimalText, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

paper_instruments = Table(
    "paper_instruments",
    metadata,
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("base", Text, nullable=False),
    Column("quote", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("tick_size", DecimalText, nullable=False),
    Column("lot_size", DecimalText, nullable=False),
    Column("min_quantity", DecimalText, nullable=False),
    Column("min_notional", DecimalText, nullable=False),
    Column("note", Text, nullable=False),
)

paper_accounts = Table(
    "paper_accounts",
    metadata,
    Column("venue", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("cash", DecimalText, nullable=False),
    Column("next_id", BigInteger, nullable=False),
)

paper_positions = Table(
    "paper_positions",
    metadata,
    Column("venue", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("quantity", DecimalText, nullable=False),
    Column("average_price", DecimalText),
    Column("leverage", DecimalText, nullable=False),
)

paper_orders = Table(
    "paper_orders",
    metadata,
    Column("venue", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("client_order_id", Text, primary_key=True),
    Column("venue_order_id", BigInteger, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("quantity", DecimalText, nullable=False),
    Column("price", DecimalText),
    Column("trigger_price", DecimalText),
    Column("time_in_force", Text, nullable=False),
    Column("reduce_only", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("filled_quantity", DecimalText, nullable=False),
    Column("average_price", DecimalText),
    Column("reason", Text, nullable=False),
    Index("ix_paper_orders_open", "venue", "account", "symbol", "status"),
)

paper_fills = Table(
    "paper_fills",
    metadata,
    Column("venue", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("trade_id", BigInteger, primary_key=True),
    Column("symbol", Text, nullable=False),
    Column("client_order_id", Text, nullable=False),
    Column("venue_order_id", BigInteger, nullable=False),
    Column("side", Text, nullable=False),
    Column("quantity", DecimalText, nullable=False),
    Column("price", DecimalText, nullable=False),
    Column("fee", DecimalText, nullable=False),
    Column("fee_currency", Text, nullable=False),
    Column("maker", Boolean, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("ix_paper_fills_symbol", "venue", "account", "symbol", "at"),
)
