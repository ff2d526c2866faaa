"""What the emulated FTX does for one account: orders, conditional orders, cancellations, and their lists.

Each act is the engine's; here it is only read, judged by the venue's own rules, and answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

from tests.emulator import ftx_answers as answers
from tests.emulator.engine import Account, Engine, Fill, Kind, Listing, Record, Refusal
from tests.emulator.ftx_answers import Page
from tests.emulator.ftx_asked import Asked, No, milliseconds
from trading.model import ZERO, OrderType, Side, TimeInForce

if TYPE_CHECKING:
    from tests.emulator.ftx import Doubts

QUEUED, ALL_QUEUED, CANCELLED = (
    "Order queued for cancelation",
    "Orders queued for cancelation",
    "Order cancelled",
)
_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_MOST = 100  # rows of an order history


class Acts:
    def __init__(self, engine: Engine, *, min_provide: Mapping[str, Decimal], doubts: Doubts) -> None:
        self.engine = engine
        self.doubts = doubts
        self._min_provide = min_provide
        self._post_only: set[int] = set()
        self._queued: dict[int, int] = {}  # how often a cancelled order still shows as open, by its id
        self._sent: list[tuple[Account, datetime]] = []

    def shown_id(self, record: Record) -> int:
        """The venue's id of an order; conditional ones have a space of their own."""
        return record.id + self.doubts.shift if record.conditional else record.id

    # -- account ---------------------------------------------------------------------------------------

    def _account(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(asked)
        return answers.account(account, settled=self.doubts.settled)

    def _set_leverage(self, account: Account, asked: Asked) -> None:
        self._known(asked, "leverage")
        leverage = asked.need_number("leverage")
        if not isinstance(asked.values["leverage"], int):
            raise No("Invalid parameter leverage")
        account.set_leverage(None, leverage)

    def _positions(self, account: Account, asked: Asked) -> list[dict[str, Any]]:
        self._known(asked, "showAvgPrice")
        return answers.positions(account, average=asked.flag("showAvgPrice"), settled=self.doubts.settled)

    def _balances(self, account: Account, asked: Asked) -> list[dict[str, Any]]:
        return answers.balances(account)

    def _all_balances(self, account: Account, asked: Asked) -> dict[str, Any]:
        mine = [one for one in self.engine.accounts if one.key == account.key]
        return {one.subaccount or "main": answers.balances(one) for one in mine}

    def _funding_payments(self, account: Account, asked: Asked) -> list[dict[str, Any]]:
        self._known(asked, "future", "start_time", "end_time")
        return []

    # -- orders ----------------------------------------------------------------------------------------

    def _place(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(
            asked,
            *("market", "side", "type", "price", "size", "reduceOnly", "ioc", "postOnly", "clientId"),
            *("rejectOnPriceBand", "rejectAfterTs"),
        )
        self._not_too_fast(account)
        listing = self._listing(asked.need_text("market"))
        side = _SIDES[asked.choice("side", *_SIDES)]
        type = OrderType(asked.choice("type", "limit", "market").upper())
        asked.present("price")
        price, size = asked.number("price"), self._size(listing, asked.need_number("size"))
        if type is OrderType.MARKET and price is not None:
            raise No("Invalid parameter price")
        if type is OrderType.LIMIT:
            price = self._price(listing, asked.need_number("price"))
            price = self._within_band(listing, side, price, reject=asked.flag("rejectOnPriceBand"))
        latest = asked.number("rejectAfterTs")
        if latest is not None and milliseconds(self.engine.now()) > latest:
            raise No(self.doubts.late_text)
        record = self._submit(
            account,
            listing,
            side,
            price,
            size,
            client_id=asked.client_id(),
            reduce_only=asked.flag("reduceOnly"),
            ioc=asked.flag("ioc"),
            post_only=asked.flag("postOnly"),
        )
        return answers.order(listing, record, new=True, post_only=record.id in self._post_only)

    def _submit(
        self,
        account: Account,
        listing: Listing,
        side: Side,
        price: Decimal | None,
        size: Decimal,
        *,
        client_id: str | None,
        reduce_only: bool,
        ioc: bool,
        post_only: bool,
    ) -> Record:
        last, symbol = self.engine.price(listing.symbol), listing.symbol
        crosses = price is None or (price >= last if side is Side.BUY else price <= last)
        lot = listing.instrument.min_quantity
        if not crosses and not ioc and lot <= size < self._provide(listing):
            raise No("Size too small for provide")
        before = self.engine.liquidity.get(symbol)
        # One that would cross is taken and closed at once: it finds nothing to trade with.
        turned_away = post_only and crosses
        if turned_away:
            self.engine.liquidity[symbol] = ZERO
        try:
            record = account.submit(
                symbol,
                side,
                OrderType.MARKET if price is None else OrderType.LIMIT,
                size,
                client_id=client_id,
                price=price,
                time_in_force=TimeInForce.IOC if ioc or turned_away else TimeInForce.GTC,
                reduce_only=reduce_only,
            )
        finally:
            self.engine.liquidity[symbol] = before
        if post_only:
            self._post_only.add(record.id)
        return record

    def _modify(self, account: Account, asked: Asked, **ids: str) -> dict[str, Any]:
        """Cancels it and places another, which has another id (and no client id unless one is given)."""
        self._known(asked, "price", "size", "clientId")
        old = self._regular(account, **ids)
        listing = self.engine.listing(old.symbol)
        price, size = asked.number("price"), asked.number("size")
        client_id = asked.client_id()
        self._need_open(old)
        rest = old.remaining
        if self.doubts.modify_loses:
            account.cancel(old.id)
        new = self._submit(
            account,
            listing,
            old.side,
            old.price if price is None else self._price(listing, price),
            rest if size is None else self._size(listing, size),
            client_id=client_id,
            reduce_only=old.reduce_only,
            ioc=False,
            post_only=old.id in self._post_only,
        )
        if old.is_open:
            account.cancel(old.id)
        return answers.order(listing, new, new=True, post_only=new.id in self._post_only)

    def _order(self, account: Account, asked: Asked, **ids: str) -> dict[str, Any]:
        return self._shown(self._regular(account, **ids))

    def _open_orders(self, account: Account, asked: Asked) -> list[dict[str, Any]]:
        self._known(asked, "market")
        symbol = self._symbol(asked)
        return [
            self._shown(record)
            for record in reversed(account.orders(symbol, conditional=False))
            if record.is_open or self._queued.get(record.id)
        ]

    def _order_history(self, account: Account, asked: Asked) -> Page:
        self._known(asked, "market", "side", "orderType", "start_time", "end_time", "limit")
        rows = [
            record
            for record in self._history(account, asked, conditional=False)
            if not self._is_forgotten(record)
        ]
        most = asked.rows(default=_MOST, most=_MOST)
        return Page(result=[self._shown(row) for row in rows[:most]], hasMoreData=len(rows) > most)

    def _cancel(self, account: Account, asked: Asked, **ids: str) -> str:
        self._known(asked)
        record = self._regular(account, **ids)
        self._need_open(record)
        account.cancel(record.id)
        self._queued[record.id] = self.doubts.queued_reads
        return QUEUED

    def _cancel_all(self, account: Account, asked: Asked) -> str:
        """Of every market, unless one is named; conditional ones too, unless told otherwise."""
        self._known(asked, "market", "side", "conditionalOrdersOnly", "limitOrdersOnly")
        symbol, side = self._symbol(asked), self._side(asked)
        only_conditional, only_limit = asked.flag("conditionalOrdersOnly"), asked.flag("limitOrdersOnly")
        for record in account.orders(symbol, open=True):
            if side not in (None, record.side):
                continue
            if not (only_limit if record.conditional else only_conditional):
                account.cancel(record.id)
                self._queued[record.id] = self.doubts.queued_reads
        return ALL_QUEUED

    # -- conditional orders ----------------------------------------------------------------------------

    def _place_conditional(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(
            asked,
            *("market", "side", "size", "type", "triggerPrice", "orderPrice", "trailValue", "reduceOnly"),
            "retryUntilFilled",
        )
        self._not_too_fast(account)
        listing = self._listing(asked.need_text("market"))
        side = _SIDES[asked.choice("side", *_SIDES)]
        type = asked.choice("type", "stop", "takeProfit", default="stop")
        size = self._size(listing, asked.need_number("size"))
        trigger, price = asked.need_number("triggerPrice"), asked.number("orderPrice")
        retry = asked.flag("retryUntilFilled", default=price is None)
        if asked.number("trailValue") is not None:
            raise No("Invalid parameter trailValue")
        if retry and price is not None:
            raise No("Invalid parameter retryUntilFilled")
        record = self._submit_conditional(
            account,
            listing,
            side,
            size,
            self._price(listing, trigger),
            None if price is None else self._price(listing, price),
            rises=(side is Side.BUY) == (type == "stop"),
            reduce_only=asked.flag("reduceOnly"),
            retry=retry,
        )
        return self._shown_conditional(account, record)

    def _submit_conditional(
        self,
        account: Account,
        listing: Listing,
        side: Side,
        size: Decimal,
        trigger: Decimal,
        price: Decimal | None,
        *,
        rises: bool,
        reduce_only: bool,
        retry: bool,
    ) -> Record:
        try:
            return account.submit(
                listing.symbol,
                side,
                OrderType.MARKET if price is None else OrderType.LIMIT,
                size,
                price=price,
                trigger=trigger,
                rises=rises,
                reduce_only=reduce_only,
                retry=retry,
            )
        except Refusal as refusal:
            if refusal.kind is Kind.TRIGGERS_AT_ONCE:
                raise No(f"Trigger price too {'low' if rises else 'high'}") from None
            raise

    def _modify_conditional(self, account: Account, asked: Asked, id: str) -> dict[str, Any]:
        self._known(asked, "size", "triggerPrice", "orderPrice")
        old = self._conditional(account, id)
        listing = self.engine.listing(old.symbol)
        size, trigger, price = (asked.number(name) for name in ("size", "triggerPrice", "orderPrice"))
        if not old.is_waiting:
            raise No("Order already closed")
        if self.doubts.modify_loses:
            account.cancel(old.id)
        assert old.trigger is not None
        new = self._submit_conditional(
            account,
            listing,
            old.side,
            old.quantity if size is None else self._size(listing, size),
            old.trigger if trigger is None else self._price(listing, trigger),
            old.price if price is None else self._price(listing, price),
            rises=old.rises,
            reduce_only=old.reduce_only,
            retry=old.retry,
        )
        if old.is_open:
            account.cancel(old.id)
        return self._shown_conditional(account, new)

    def _open_conditional(self, account: Account, asked: Asked) -> list[dict[str, Any]]:
        self._known(asked, "market", "type")
        symbol, kind = self._symbol(asked), asked.text("type")
        rows = [
            self._shown_conditional(account, record)
            for record in reversed(account.orders(symbol, conditional=True))
            if record.is_waiting or self._queued.get(record.id)
        ]
        return [row for row in rows if kind in (None, row["type"], _camel(row["type"]))]

    def _conditional_history(self, account: Account, asked: Asked) -> Page:
        self._known(asked, "market", "side", "type", "orderType", "start_time", "end_time", "limit")
        kind, most = asked.text("type"), asked.rows(default=_MOST, most=_MOST)
        rows = [
            record
            for record in self._history(account, asked, conditional=True)
            if kind in (None, "stop" if record.is_stop else "takeProfit")
        ]
        shown = [self._shown_conditional(account, row, history=True) for row in rows[:most]]
        return Page(result=shown, hasMoreData=len(rows) > most)

    def _triggers(self, account: Account, asked: Asked, id: str) -> list[dict[str, Any]]:
        record = self._conditional(account, id)
        if answers.error(record) is not None:
            return [answers.failed_trigger(record)]
        return [answers.trigger(made) for made in account.made_by(record)]

    def _cancel_conditional(self, account: Account, asked: Asked, id: str) -> str:
        self._known(asked)
        record = self._conditional(account, id)
        if self._queued.get(record.id):
            raise No("Order already queued for cancellation")
        account.cancel(record.id)
        return CANCELLED

    # -- fills -----------------------------------------------------------------------------------------

    def _fills(self, account: Account, asked: Asked) -> list[dict[str, Any]]:
        self._known(asked, "market", "start_time", "end_time", "limit", "order", "orderId")
        symbol, order_id = self._symbol(asked), asked.text("orderId")
        within, newest_first = _within(asked), asked.choice("order", "asc", "desc", default="desc") == "desc"
        rows = [
            done
            for done in account.fills
            if symbol in (None, done.symbol) and order_id in (None, str(done.order_id)) and within(done.at)
        ]
        rows = rows[::-1] if newest_first else rows
        most = asked.rows(default=self.doubts.fills_rows, most=self.doubts.fills_most)
        return [self._shown_fill(done) for done in rows[:most]]

    # -- what is shown, and what is found --------------------------------------------------------------

    def _shown(self, record: Record) -> dict[str, Any]:
        return answers.order(
            self.engine.listing(record.symbol),
            record,
            queued=self._still_open(record),
            post_only=record.id in self._post_only,
        )

    def _shown_conditional(
        self, account: Account, record: Record, *, history: bool = False
    ) -> dict[str, Any]:
        return answers.conditional(
            self.engine.listing(record.symbol),
            record,
            shown_id=self.shown_id(record),
            queued=self._still_open(record),
            made=account.made_by(record) if history else None,
        )

    def _shown_fill(self, done: Fill) -> dict[str, Any]:
        return answers.fill(self.engine.listing(done.symbol), done)

    def _still_open(self, record: Record) -> bool:
        """A queued cancellation does not show at once; each look brings it nearer."""
        left = self._queued.get(record.id, 0)
        self._queued[record.id] = max(0, left - 1)
        return left > 0

    def _regular(self, account: Account, id: str | None = None, **client: str) -> Record:
        found = account.find(
            order_id=None if id is None else _id(id), client_id=client.get("clientId"), conditional=False
        )
        if found is None or self._is_forgotten(found):
            raise No("Order not found")
        return found

    def _conditional(self, account: Account, id: str) -> Record:
        found = account.find(order_id=_id(id) - self.doubts.shift, conditional=True)
        if found is None:
            raise No("Order not found")
        return found

    def _need_open(self, record: Record) -> None:
        if self._queued.get(record.id):
            raise No("Order already queued for cancellation")
        if not record.is_open:
            raise No("Order already closed")

    def _is_forgotten(self, record: Record) -> bool:
        after = self.doubts.forgets_unfilled_after
        if after is None or record.is_open or record.filled:
            return False
        return self.engine.now() - record.updated_at > after

    def _history(self, account: Account, asked: Asked, *, conditional: bool) -> Iterable[Record]:
        """Newest first."""
        symbol, side, type = self._symbol(asked), self._side(asked), asked.text("orderType")
        within = _within(asked)
        for record in reversed(account.orders(symbol, conditional=conditional)):
            if (
                side in (None, record.side)
                and type in (None, record.type.value.lower())
                and within(record.created_at)
            ):
                yield record

    # -- the venue's own rules -------------------------------------------------------------------------

    def _known(self, asked: Asked, *names: str) -> None:
        if self.doubts.refuses_unknown:
            asked.known(*names)

    def _listing(self, name: str, kind: str = "market") -> Listing:
        if name in answers.FOREIGN:
            raise No("Not approved to trade this product")
        try:
            return self.engine.by_venue_symbol(name)
        except Refusal:
            raise No(f"No such {kind}: {name}") from None

    def _symbol(self, asked: Asked) -> str | None:
        name = asked.text("market")
        return None if name is None else self._listing(name).symbol

    def _side(self, asked: Asked) -> Side | None:
        return None if asked.text("side") is None else _SIDES[asked.choice("side", *_SIDES)]

    def _provide(self, listing: Listing) -> Decimal:
        return self._min_provide.get(listing.symbol, listing.instrument.lot_size)

    def _price(self, listing: Listing, price: Decimal) -> Decimal:
        return self._stepped(price, listing.instrument.tick_size)

    def _size(self, listing: Listing, size: Decimal) -> Decimal:
        return self._stepped(size, listing.instrument.lot_size)

    def _stepped(self, amount: Decimal, step: Decimal) -> Decimal:
        if not self.doubts.rounds:
            return amount
        return (amount / step).to_integral_value(rounding=ROUND_HALF_EVEN) * step

    def _within_band(self, listing: Listing, side: Side, price: Decimal, *, reject: bool) -> Decimal:
        """One that reaches too far through the book is brought back to the band, or refused."""
        last, tick = self.engine.price(listing.symbol), listing.instrument.tick_size
        bound = last * (1 + side.sign * self.doubts.band) // tick * tick
        if (price - bound) * side.sign <= 0:
            return price
        if reject:
            raise No("Invalid price")
        return bound

    def _not_too_fast(self, account: Account) -> None:
        most = self.doubts.orders_per_200ms
        if most is None:
            return
        now = self.engine.now()
        self._sent = [one for one in self._sent if now - one[1] < timedelta(milliseconds=200)]
        if sum(one[0] is account for one in self._sent) >= most:
            raise No(f"Do not send more than {most} orders per 200ms", 429)
        self._sent.append((account, now))


def _within(asked: Asked) -> Callable[[datetime], bool]:
    """Whether a time is in [start_time, end_time]."""
    start, end = asked.at("start_time"), asked.at("end_time")
    return lambda at: (start is None or at >= start) and (end is None or at <= end)


def _id(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise No("Order not found")
    return int(text)


def _camel(type: str) -> str:
    return "takeProfit" if type == "take_profit" else type
