"""The first schema.

Column types are copied by value: a later edit of store/tables.py never changes what this file makes.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _alerts()
    _alert_keys()
    _refusals()
    _intents()
    _positions()
    _orders()
    _fills()
    _events()
    _notices()
    _votes()
    _state()
    _auth_failures()
    _paper_prices()
    _paper_instruments()
    _paper_accounts()
    _paper_positions()
    _paper_orders()
    _paper_fills()


def downgrade() -> None:
    for name in (
        "paper_fills",
        "paper_orders",
        "paper_positions",
        "paper_accounts",
        "paper_instruments",
        "paper_prices",
        "auth_failures",
        "state",
        "votes",
        "notices",
        "events",
        "fills",
        "orders",
        "positions",
        "intents",
        "refusals",
        "alert_keys",
        "alerts",
    ):
        op.drop_table(name)


def _serial() -> sa.types.TypeEngine[int]:
    """SQLite gives rising keys to a plain INTEGER primary key only."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("seq", _serial(), primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("subaccount", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("ticker", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("action", sa.Text()),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.BigInteger()),
        sa.Column("price", sa.Text()),
        sa.Column("body", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )


def _alert_keys() -> None:
    op.create_table(
        "alert_keys",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
    )


def _refusals() -> None:
    op.create_table(
        "refusals",
        sa.Column("seq", _serial(), primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("field", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )


def _intents() -> None:
    op.create_table(
        "intents",
        sa.Column("id", sa.Text(), sa.ForeignKey("alerts.id"), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False, unique=True),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("effective_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("free_collateral", sa.Text()),
        sa.Column("risk", sa.Text()),
        sa.Column("quantity", sa.Text()),
        sa.Column("worst_loss", sa.Text()),
        sa.Column("notional", sa.Text()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_intents_lane", "intents", ["venue", "account", "symbol", "status", "seq"])
    op.create_index("ix_intents_status", "intents", ["status", "seq"])


def _positions() -> None:
    op.create_table(
        "positions",
        sa.Column("venue", sa.Text(), primary_key=True),
        sa.Column("account", sa.Text(), primary_key=True),
        sa.Column("symbol", sa.Text(), primary_key=True),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("average_price", sa.Text()),
        sa.Column("realised_pnl", sa.Text(), nullable=False),
        sa.Column("fees", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Text()),
        sa.Column("reference_price", sa.Text()),
        sa.Column("stop_price", sa.Text()),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("wakes", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("naked_since", sa.BigInteger()),
        sa.Column("drift_since", sa.BigInteger()),
        sa.Column("last_entry_at", sa.BigInteger()),
        sa.Column("last_entry_effective_at", sa.BigInteger()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_positions_due", "positions", ["due_at"])


def _orders() -> None:
    op.create_table(
        "orders",
        sa.Column("seq", _serial(), primary_key=True, autoincrement=True),
        sa.Column("client_order_id", sa.Text(), nullable=False, unique=True),
        sa.Column("intent_id", sa.Text(), sa.ForeignKey("intents.id"), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("price", sa.Text()),
        sa.Column("trigger_price", sa.Text()),
        sa.Column("time_in_force", sa.Text(), nullable=False),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("venue_order_id", sa.Text()),
        sa.Column("filled_quantity", sa.Text(), nullable=False),
        sa.Column("average_price", sa.Text()),
        sa.Column("signed_at", sa.BigInteger()),
        sa.Column("retry_at", sa.BigInteger()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_orders_account_at", "orders", ["venue", "account", "created_at"])
    op.create_index("ix_orders_intent", "orders", ["intent_id"])
    op.create_index("ix_orders_lane", "orders", ["venue", "account", "symbol", "status"])


def _fills() -> None:
    op.create_table(
        "fills",
        sa.Column("seq", _serial(), primary_key=True, autoincrement=True),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text()),
        sa.Column("venue_order_id", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("fee", sa.Text(), nullable=False),
        sa.Column("fee_currency", sa.Text(), nullable=False),
        sa.Column("maker", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("realised_pnl", sa.Text(), nullable=False),
        sa.UniqueConstraint("venue", "account", "symbol", "trade_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fills_account_at", "fills", ["venue", "account", "at"])
    op.create_index("ix_fills_order", "fills", ["client_order_id"])


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("seq", _serial(), primary_key=True, autoincrement=True),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_alert", "events", ["alert_id", "seq"])


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("seq", _serial(), primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("posted_at", sa.BigInteger()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notices_unposted", "notices", ["posted_at", "seq"])


def _votes() -> None:
    op.create_table(
        "votes",
        sa.Column("seq", _serial(), primary_key=True, autoincrement=True),
        sa.Column("intent_id", sa.Text(), sa.ForeignKey("intents.id"), nullable=False),
        sa.Column("voter", sa.Text(), nullable=False),
        sa.Column("approve", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("intent_id", "voter"),
        sqlite_autoincrement=True,
    )


def _state() -> None:
    op.create_table(
        "state",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )


def _auth_failures() -> None:
    op.create_table(
        "auth_failures",
        sa.Column("address", sa.Text(), primary_key=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
    )


def _paper_prices() -> None:
    op.create_table(
        "paper_prices",
        sa.Column("symbol", sa.Text(), primary_key=True),
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )


def _paper_instruments() -> None:
    op.create_table(
        "paper_instruments",
        sa.Column("venue", sa.Text(), primary_key=True),
        sa.Column("symbol", sa.Text(), primary_key=True),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tick_size", sa.Text(), nullable=False),
        sa.Column("lot_size", sa.Text(), nullable=False),
        sa.Column("min_quantity", sa.Text(), nullable=False),
        sa.Column("min_notional", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
    )


def _paper_accounts() -> None:
    op.create_table(
        "paper_accounts",
        sa.Column("venue", sa.Text(), primary_key=True),
        sa.Column("account", sa.Text(), primary_key=True),
        sa.Column("cash", sa.Text(), nullable=False),
        sa.Column("next_id", sa.BigInteger(), nullable=False),
    )


def _paper_positions() -> None:
    op.create_table(
        "paper_positions",
        sa.Column("venue", sa.Text(), primary_key=True),
        sa.Column("account", sa.Text(), primary_key=True),
        sa.Column("symbol", sa.Text(), primary_key=True),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("average_price", sa.Text()),
        sa.Column("leverage", sa.Text(), nullable=False),
    )


def _paper_orders() -> None:
    op.create_table(
        "paper_orders",
        sa.Column("venue", sa.Text(), primary_key=True),
        sa.Column("account", sa.Text(), primary_key=True),
        sa.Column("client_order_id", sa.Text(), primary_key=True),
        sa.Column("venue_order_id", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("price", sa.Text()),
        sa.Column("trigger_price", sa.Text()),
        sa.Column("time_in_force", sa.Text(), nullable=False),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("filled_quantity", sa.Text(), nullable=False),
        sa.Column("average_price", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    op.create_index("ix_paper_orders_open", "paper_orders", ["venue", "account", "symbol", "status"])


def _paper_fills() -> None:
    op.create_table(
        "paper_fills",
        sa.Column("venue", sa.Text(), primary_key=True),
        sa.Column("account", sa.Text(), primary_key=True),
        sa.Column("trade_id", sa.BigInteger(), primary_key=True),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("venue_order_id", sa.BigInteger(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("fee", sa.Text(), nullable=False),
        sa.Column("fee_currency", sa.Text(), nullable=False),
        sa.Column("maker", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_paper_fills_symbol", "paper_fills", ["venue", "account", "symbol", "at"])
