"""One spot account of the emulated exchange: balances, what its orders lock, orders and lists of two.

A sale that rests locks what it sells, a pair of target and stop the same coins once. It must never let a
balance go below zero, a fill sell what is locked elsewhere, or balances and fills disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from tests.emulator.nouns import Fill, Kind, Reason, Record, Refusal, State
from trading.model import ZERO, OrderType, Position, Side, TimeInForce
from trading.rounding import MONEY


@dataclass(slots=True, kw_only=True)
class CoinRecord(Record):
    """`list_id` names a pair; `holds`: it locks its coins while it waits for its trigger."""

    list_id: int | None = None
    holds: bool = True
    maker_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CoinFill(Fill):
    fee_currency: str


class Coins:
    """`coins` is what is held by currency, locked or not; `deposits` what was paid in."""

    def __init__(
        self,
        key: str,
        secret: str,
        *,
        coins: dict[str, Decimal],
        may_trade: bool = True,
        fee_coin: str | None = None,
    ) -> None:
        self.key, self.secret, self.subaccount = key, secret, ""
        self.hedge, self.may_withdraw, self.may_trade = False, False, may_trade
        self.coins = dict(coins)
        self.deposits = dict(coins)
        self.fee_coin = fee_coin
        self.records: dict[int, CoinRecord] = {}
        self.fills: list[CoinFill] = []
        self.engine: Any = None
        self._at: dict[str, Decimal] = {}

    # -- reading ---------------------------------------------------------------------------------------

    def total(self, coin: str) -> Decimal:
        return self.coins.get(coin, ZERO)

    def locked(self, coin: str) -> Decimal:
        """By what rests; of a pair each leg locks the same."""
        by_list: dict[int, Decimal] = {}
        with localcontext(MONEY):
            for record in self.orders(open=True):
                mine, quantity = self._lock(record)
                if mine == coin:
                    key = record.list_id or -record.id
                    by_list[key] = max(by_list.get(key, ZERO), quantity)
            return sum(by_list.values(), ZERO)

    def free(self, coin: str) -> Decimal:
        return self.total(coin) - self.locked(coin)

    def position(self, symbol: str) -> Position:
        """What was bought and not sold since the deposits; a person's own is not in it."""
        base = self._instrument(symbol).base
        return Position(symbol=symbol, quantity=self.total(base) - self.deposits.get(base, ZERO))

    def orders(
        self, symbol: str | None = None, *, open: bool | None = None, conditional: bool | None = None
    ) -> list[CoinRecord]:
        """Oldest first."""
        return [
            record
            for record in self.records.values()
            if symbol in (None, record.symbol)
            and open in (None, record.is_open)
            and conditional in (None, record.conditional)
        ]

    def find(self, *, order_id: int | None = None, client_id: str | None = None) -> CoinRecord | None:
        """One order, open or ended, by either id."""
        for record in reversed(self.records.values()):
            if order_id in (None, record.id) and client_id in (None, record.client_id):
                return record
        return None

    def pair(self, record: CoinRecord) -> list[CoinRecord]:
        """The order and, where it is one of two, the other."""
        if record.list_id is None:
            return [record]
        return [other for other in self.records.values() if other.list_id == record.list_id]

    # -- acts ------------------------------------------------------------------------------------------

    def submit(
        self,
        symbol: str,
        side: Side,
        type: OrderType,
        quantity: Decimal,
        *,
        client_id: str | None = None,
        price: Decimal | None = None,
        trigger: Decimal | None = None,
        rises: bool | None = None,
        time_in_force: TimeInForce = TimeInForce.GTC,
        holds: bool = True,
        maker_only: bool = False,
        reduce_only: bool = False,
    ) -> CoinRecord:
        """Takes one order, or raises Refusal and changes nothing; there is no reduce-only, nobody asks."""
        with self._act():
            record = self._made(symbol, side, type, quantity, client_id, price, trigger, rises)
            record.time_in_force, record.holds, record.maker_only = time_in_force, holds, maker_only
            self._judge(record)
            self._need_free(record)
            self._keep(record)
            if not record.conditional:
                self._trade_at_once(record)
            return record

    def submit_pair(
        self,
        symbol: str,
        quantity: Decimal,
        *,
        price: Decimal,
        trigger: Decimal,
        target_id: str | None,
        stop_id: str | None,
    ) -> tuple[CoinRecord, CoinRecord]:
        """A target above and a stop below the price, of which one ends the other."""
        with self._act():
            target = self._made(symbol, Side.SELL, OrderType.LIMIT, quantity, target_id, price, None, None)
            stop = self._made(symbol, Side.SELL, OrderType.MARKET, quantity, stop_id, None, trigger, False)
            target.maker_only = True
            for leg in (target, stop):
                self._judge(leg)
            self._need_free(target)
            self._keep(stop)
            self._keep(target)
            target.list_id = stop.list_id = self.engine.next_id()
            return target, stop

    def cancel(self, order_id: int) -> CoinRecord:
        """Ends one open order, and with it the other of its pair; Refusal NOT_FOUND or ENDED."""
        with self._act():
            record = self.records.get(order_id)
            if record is None:
                raise Refusal(Kind.NOT_FOUND)
            if not record.is_open:
                raise Refusal(Kind.ENDED)
            for each in self.pair(record):
                if each.is_open:
                    self._end(each, State.CANCELED, Reason.REQUEST)
            return record

    def cancel_all(self, symbol: str) -> list[CoinRecord]:
        with self.engine.lock:
            wanted = self.orders(symbol, open=True)
            return [self.cancel(record.id) for record in wanted if record.is_open]

    def take(self, coin: str, quantity: Decimal) -> None:
        """A person moves coins away (or, negative, brings some)."""
        with self._act():
            self.coins[coin] = self.total(coin) - quantity
            self.deposits[coin] = self.deposits.get(coin, ZERO) - quantity

    def move(self, symbol: str, target: Decimal) -> None:
        """The price goes to `target` and meets limits and triggers in the order of its path."""
        start = self._at.get(symbol, target)
        self._at[symbol] = target
        with self._act():
            met = [
                (abs(level - start), record.id, record, level)
                for record in self.orders(symbol, open=True)
                if (level := _met(record, start, target)) is not None
            ]
            for _, _, record, level in sorted(met, key=lambda each: each[:2]):
                if not record.is_open:
                    continue
                if record.is_waiting:
                    self._fire(record, level)
                else:
                    self._fill(record, level, maker=True, most=self.engine.liquidity.get(symbol))

    def check(self) -> None:
        """Raises AssertionError unless balances, locks and fills agree."""
        with localcontext(MONEY):
            held = dict(self.deposits)
            for fill in self.fills:
                base, quote = self._instrument(fill.symbol).base, self._instrument(fill.symbol).quote
                sign = fill.side.sign
                held[base] = held.get(base, ZERO) + sign * fill.quantity
                held[quote] = held.get(quote, ZERO) - sign * fill.quantity * fill.price
                held[fill.fee_currency] = held.get(fill.fee_currency, ZERO) - fill.fee
            for coin in {*held, *self.coins}:
                assert held.get(coin, ZERO) == self.total(coin), f"fills and balance of {coin}"
                assert self.locked(coin) <= self.total(coin), f"more {coin} is locked than there is"

    # -- the machinery ---------------------------------------------------------------------------------

    @contextmanager
    def _act(self) -> Iterator[None]:
        with self.engine.lock, localcontext(MONEY):
            yield
            self.check()

    def _instrument(self, symbol: str) -> Any:
        return self.engine.listing(symbol).instrument

    def _made(
        self,
        symbol: str,
        side: Side,
        type: OrderType,
        quantity: Decimal,
        client_id: str | None,
        price: Decimal | None,
        trigger: Decimal | None,
        rises: bool | None,
    ) -> CoinRecord:
        now = self.engine.now()
        self._at.setdefault(symbol, self.engine.price(symbol))
        return CoinRecord(
            id=0,
            symbol=symbol,
            side=side,
            type=type,
            quantity=quantity,
            created_at=now,
            updated_at=now,
            client_id=client_id,
            conditional=trigger is not None,
            price=price,
            trigger=trigger,
            rises=(side is Side.BUY) if rises is None else rises,
        )

    def _judge(self, record: CoinRecord) -> None:
        """Raises Refusal for what is wrong with the order itself."""
        instrument, last = self._instrument(record.symbol), self.engine.price(record.symbol)
        for level in (record.price, record.trigger):
            if level is not None and (level <= 0 or level % instrument.tick_size):
                raise Refusal(Kind.TICK)
        if record.quantity < instrument.min_quantity or record.quantity <= 0:
            raise Refusal(Kind.MIN_QUANTITY)
        if record.quantity % instrument.lot_size:
            raise Refusal(Kind.LOT)
        if instrument.max_quantity is not None and record.quantity > instrument.max_quantity:
            raise Refusal(Kind.MAX_QUANTITY)
        if record.quantity * (record.price or record.trigger or last) < instrument.min_notional:
            raise Refusal(Kind.MIN_NOTIONAL)
        if record.trigger is not None and (
            last >= record.trigger if record.rises else last <= record.trigger
        ):
            raise Refusal(Kind.TRIGGERS_AT_ONCE)
        waiting = sum(other.is_waiting for other in self.orders(record.symbol))
        if record.conditional and instrument.max_stops is not None and waiting >= instrument.max_stops:
            raise Refusal(Kind.TOO_MANY)
        takes = record.price is not None and self._takes(record, last)
        if record.maker_only and takes:
            raise Refusal(Kind.PARAMETER, "it would take")

    def _need_free(self, record: CoinRecord) -> None:
        coin, quantity = self._lock(record)
        if record.type is OrderType.MARKET and not record.conditional and record.side is Side.BUY:
            quantity = record.quantity * self.engine.price(record.symbol)
        if quantity > self.free(coin):
            raise Refusal(Kind.MARGIN, f"{quantity} {coin} is needed, {self.free(coin)} is free")

    def _lock(self, record: CoinRecord) -> tuple[str, Decimal]:
        instrument = self._instrument(record.symbol)
        if record.is_waiting and not record.holds:
            return instrument.base, ZERO
        left = record.quantity - record.filled
        if record.side is Side.SELL:
            return instrument.base, left
        return instrument.quote, left * (record.price or record.trigger or ZERO)

    def _keep(self, record: CoinRecord) -> None:
        record.id = self.engine.next_id()
        self.records[record.id] = record

    def _takes(self, record: CoinRecord, last: Decimal) -> bool:
        assert record.price is not None
        return record.price >= last if record.side is Side.BUY else record.price <= last

    def _trade_at_once(self, record: CoinRecord) -> None:
        last = self.engine.price(record.symbol)
        if record.type is OrderType.MARKET or self._takes(record, last):
            self._fill(record, last, maker=False, most=self.engine.liquidity_of(record))
        if record.is_open and (record.type is OrderType.MARKET or record.time_in_force is TimeInForce.IOC):
            self._end(record, State.EXPIRED, Reason.NO_LIQUIDITY)

    def _fire(self, record: CoinRecord, level: Decimal) -> None:
        """A trigger is met: the other of its pair ends, and it trades at the market, which is there."""
        for other in self.pair(record):
            if other is not record and other.is_open:
                self._end(other, State.EXPIRED, Reason.REPLACED)
        if not record.holds and record.quantity > self.free(self._lock_coin(record)):
            self._end(record, State.CANCELED, Reason.MARGIN)
            return
        record.triggered_at = self.engine.now()
        self._fill(record, record.price or level, maker=False, most=self.engine.liquidity.get(record.symbol))
        if record.is_open:
            self._end(record, State.EXPIRED, Reason.NO_LIQUIDITY)

    def _lock_coin(self, record: CoinRecord) -> str:
        instrument = self._instrument(record.symbol)
        return str(instrument.base if record.side is Side.SELL else instrument.quote)

    def _fill(self, record: CoinRecord, price: Decimal, *, maker: bool, most: Decimal | None) -> None:
        quantity = record.remaining if most is None else min(record.remaining, most)
        if quantity <= 0:
            return
        instrument, sign = self._instrument(record.symbol), record.side.sign
        base, quote = instrument.base, instrument.quote
        worth = quantity * price
        fees = self.engine.rules.fees
        rate = fees.maker if maker else fees.taker
        # The fee is taken out of what is received, or in the venue's own coin.
        fee, currency = (quantity * rate, base) if record.side is Side.BUY else (worth * rate, quote)
        if self.fee_coin is not None:
            fee, currency = worth * rate / 500, self.fee_coin
        before = record.filled * (record.average or ZERO)
        record.filled += quantity
        record.average = (before + worth) / record.filled
        record.updated_at = self.engine.now()
        record.state = State.FILLED if record.filled == record.quantity else State.PARTIALLY_FILLED
        self.coins[base] = self.total(base) + sign * quantity
        self.coins[quote] = self.total(quote) - sign * worth
        self.coins[currency] = self.total(currency) - fee
        self.fills.append(
            CoinFill(
                id=self.engine.next_fill_id(),
                order_id=record.id,
                symbol=record.symbol,
                side=record.side,
                quantity=quantity,
                price=price,
                fee=fee,
                fee_currency=currency,
                realised=ZERO,
                closed=ZERO,
                maker=maker,
                at=self.engine.now(),
            )
        )
        # What begins to trade ends the other of its pair.
        for other in self.pair(record):
            if other is not record and other.is_open:
                self._end(other, State.EXPIRED, Reason.REPLACED)

    def _end(self, record: CoinRecord, state: State, reason: str) -> None:
        record.state, record.reason, record.updated_at = state, reason, self.engine.now()


def _met(record: CoinRecord, start: Decimal, end: Decimal) -> Decimal | None:
    """Where the path from `start` to `end` first meets an order that rests; None if it does not."""
    level = record.trigger if record.is_waiting else record.price
    assert level is not None
    rises = record.rises if record.is_waiting else record.side is Side.SELL
    for price, met_at in ((start, start if record.is_waiting else level), (end, level)):
        if price >= level if rises else price <= level:
            return met_at
    return None
