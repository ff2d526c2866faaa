"""What an alert found when its turn came, beside what it expects.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("intents", sa.Column("found", sa.Text()))


def downgrade() -> None:
    op.drop_column("intents", "found")
