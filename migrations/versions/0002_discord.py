"""Discord: what a notice carries, who voted, the price of the question, cards, charts that were asked for.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("notices", sa.Column("data", sa.Text()))
    op.add_column("votes", sa.Column("name", sa.Text()))
    op.add_column("intents", sa.Column("asked_price", sa.Text()))
    op.create_table(
        "cards",
        sa.Column("alert_id", sa.Text(), sa.ForeignKey("alerts.id"), primary_key=True),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False, unique=True),
        sa.Column("thread_id", sa.BigInteger()),
        sa.Column("told_seq", sa.BigInteger(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("data", sa.Text()),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_cards_live", "cards", ["live"])
    op.create_table(
        "chart_requests",
        sa.Column("seq", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_chart_requests_done", "chart_requests", ["done_at", "seq"])


def downgrade() -> None:
    op.drop_table("chart_requests")
    op.drop_table("cards")
    op.drop_column("intents", "asked_price")
    op.drop_column("votes", "name")
    op.drop_column("notices", "data")
