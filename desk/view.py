"""A lane as journal and venue have it, after both agree; and how long they may disagree.

Holds what was read; must never ask or write by itself, but for telling a fill.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from store import Transaction, journal
from store.orders import LaneState
from trading.model import Fill, OrderReport, OrderStatus, Position, Role, plain

#: How long a position may be open without a proved stop before it is closed.
NAKED_LIMIT = timedelta(seconds=5)
#: How long the venue's position may be another than our fills make it before it is believed.
DRIFT_LIMIT = timedelta(seconds=5)
#: How often an open position or a resting order is looked at.
WATCH = timedelta(seconds=2)
#: An answer that is about to come.
SOON = timedelta(milliseconds=250)
#: No venue is left alone for longer: a ban may be lifted, or be another address's after a restart. Until it
#: ends, the host holds requests back here, where they cost nothing.
LONGEST_REST = timedelta(minutes=1)
#: Fills are asked for from a little before the last known one: clocks and lists are not exact.
OVERLAP = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A lane as journal and venue have it, after both agree.

    `absent` are ids of entries whose request is proved not to have arrived; `resting` is everything
    on the venue, ours or not. `drifting`: venue and books disagree, and the position is the larger of both.
    `owing`: it is the venue's, and fills that the books lack are still to be asked for.
    """

    state: LaneState
    position: Position
    resting: tuple[OrderReport, ...]
    absent: frozenset[str]
    drifting: bool = False
    owing: bool = False

    def doubt(self, *roles: Role) -> datetime | None:
        """When, by the venue's clock, the last doubt about orders of these roles can be settled; None if
        there is none."""
        times = [
            order.retry_at
            for order in self.state.unsettled
            if order.status is OrderStatus.SUBMITTED and order.role in roles and order.retry_at
            if order.client_order_id not in self.absent
        ]
        return max(times, default=None)


def tell_fill(tx: Transaction, fill: Fill, now: datetime) -> None:
    """On the timeline of the alert whose order it was."""
    if fill.client_order_id is None:
        return
    intent_id = fill.client_order_id.split("-")[0]
    fee = f"fee {plain(fill.fee)} {fill.fee_currency}"
    text = f"{fill.side} {plain(fill.quantity)} at {plain(fill.price)}, {fee}"
    journal.tell(tx, intent_id, "fill", text, now)
