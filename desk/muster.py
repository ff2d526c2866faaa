"""Counts an account's positions at the venue against our records: what no lane of ours would look at.

What is ours and differs has its lane looked at, which guards it. What is not ours is told to people, once,
and never touched. One list can lag behind: only what stands in two of them, seconds apart, is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from desk import strangers
from desk.venues import Venues, key_of
from store import Store, Transaction, journal, sentries
from store.sentries import Stranger
from trading.model import ZERO, Lane, Position

#: How long a position that is not ours must stand in the lists before people are told.
LAG = timedelta(seconds=4)


class Muster:
    """Looks at one account after the other."""

    def __init__(self, store: Store, venues: Venues, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._venues = venues
        self._clock = clock

    def is_due(self, venue: str, account: str) -> bool:
        """Whether there is a reason to ask: something of ours, or something that nobody was told yet."""
        with self._store.read() as tx:
            found = sentries.strangers(tx, venue=venue, account=account)
            return bool(sentries.ours(tx, venue=venue, account=account)) or any(
                not stranger.told for stranger in found.values()
            )

    def look(self, venue: str, account: str) -> None:
        """One question for each product that the account has had a lane of; none for coins, of which the
        venue knows balances alone. Raises VenueError, Denied or StoreUnavailable."""
        with self._store.read() as tx:
            lanes = [
                Lane(venue, account, each) for each in sentries.symbols(tx, venue=venue, account=account)
            ]
        held: dict[str, Position] = {}
        for lane in {key_of(lane): lane for lane in lanes}.values():
            exchange = self._venues.exchange(lane)
            if not exchange.capabilities(lane.symbol).coins:
                held |= {position.symbol: position for position in exchange.positions()}
        # Our records are read last: what we opened meanwhile is on record before it is at the venue.
        with self._store.write() as tx:
            ours = sentries.ours(tx, venue=venue, account=account)
            self._wake(tx, venue, account, ours, held)
            self._meet(tx, venue, account, {s: p for s, p in held.items() if s not in ours})

    def _wake(
        self,
        tx: Transaction,
        venue: str,
        account: str,
        ours: Mapping[str, Decimal],
        held: Mapping[str, Position],
    ) -> None:
        """Has the lanes looked at whose position is another at the venue."""
        for symbol, quantity in ours.items():
            lane = Lane(venue, account, symbol)
            if self._is_of_coins(lane):
                continue
            there = held[symbol].quantity if symbol in held else ZERO
            if there != quantity:
                journal.look_at(tx, lane=lane, now=self._clock())

    def _meet(self, tx: Transaction, venue: str, account: str, held: Mapping[str, Position]) -> None:
        """Tells what is not ours, at the second sight of it."""
        place = {"venue": venue, "account": account}
        known = sentries.strangers(tx, **place)
        for symbol in known.keys() - held.keys():
            sentries.forget(tx, symbol, **place)
        for symbol, position in held.items():
            before, now = known.get(symbol), self._clock()
            again = before is not None and (before.quantity > 0) == (position.quantity > 0)
            if before is not None and again and (before.told or now - before.at < LAG):
                continue
            if again:
                strangers.tell(tx, Lane(venue, account, symbol), position, now=now)
            else:
                stranger = Stranger(symbol=symbol, quantity=position.quantity, at=now, told=False)
                sentries.remember(tx, stranger, **place)

    def _is_of_coins(self, lane: Lane) -> bool:
        return self._venues.exchange(lane).capabilities(lane.symbol).coins
