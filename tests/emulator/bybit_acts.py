"""What the emulated Bybit does for one account: orders, the position's stop, leverage, modes.

Each act is the engine's; here it is only read, judged by the venue's own rules, and answered. Every answer
to an order act says that it was taken, never what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

from tests.emulator import bybit_answers as answers
from tests.emulator import checks
from tests.emulator.bybit_answers import SIDES, Note
from tests.emulator.bybit_asked import (
    BAD_MODE,
    FLAT,
    NO_POSITION,
    NOT_MODIFIED,
    PARAMETER,
    PRICE,
    QTY,
    REDUCE_ONLY,
    REFUSALS,
    Asked,
    No,
    invalid,
)
from tests.emulator.bybit_market import MOST_AT_MARKET, MOST_TICKS
from tests.emulator.engine import Account, Engine, Kind, Listing, Record, Refusal
from trading.model import ZERO, OrderType, Side, TimeInForce, plain
from trading.rounding import MONEY

if TYPE_CHECKING:
    from tests.emulator.bybit import Doubts

_TRIGGERS_BY = ("LastPrice", "MarkPrice", "IndexPrice")
_MODES = ("ISOLATED_MARGIN", "REGULAR_MARGIN", "PORTFOLIO_MARGIN")
_MOST_AT_ONCE = 500


class Acts:
    #: What the venue calls the product.
    category = "linear"

    def __init__(self, engine: Engine, *, doubts: Doubts) -> None:
        self.engine = engine
        self.doubts = doubts
        self.margin_modes: dict[int, str] = {}  # by the account's place
        self._notes: dict[int, Note] = {}
        self._queued: dict[int, int] = {}  # how often a cancelled order still shows as open, by its id
        self._unseen: dict[int, int] = {}  # how often a new order does not show yet, by its id
        self._burned: set[tuple[int, str]] = set()

    # -- orders ----------------------------------------------------------------------------------------

    def _create(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(
            asked,
            *("category", "symbol", "side", "orderType", "qty", "price", "timeInForce", "positionIdx"),
            *("reduceOnly", "closeOnTrigger", "orderLinkId", "triggerPrice", "triggerDirection", "triggerBy"),
            *("takeProfit", "stopLoss", "tpslMode", "tpTriggerBy", "slTriggerBy", "tpOrderType"),
            *("slOrderType", "tpLimitPrice", "slLimitPrice", "slippageToleranceType", "slippageTolerance"),
            *("isLeverage", "marketUnit", "orderFilter", "smpType", "mmp", "orderIv"),
        )
        listing = self._listing(asked)
        link = asked.link_id()
        number = self.engine.accounts.index(account)
        if link is not None and (account.find(client_id=link) or (number, link) in self._burned):
            raise No(*REFUSALS[Kind.DUPLICATE])
        try:
            record = self._placed(account, asked, listing, link)
        except (No, Refusal):
            if link is not None and self.doubts.burns_refused:
                self._burned.add((number, link))
            raise
        self._unseen[record.id] = self.doubts.unseen_reads
        return {"orderId": answers.order_id(record), "orderLinkId": link or ""}

    def _placed(self, account: Account, asked: Asked, listing: Listing, link: str | None) -> Record:
        symbol, last = listing.symbol, self.engine.price(listing.symbol)
        side = SIDES[asked.choice("side", *SIDES)]
        kind = OrderType(asked.choice("orderType", "Market", "Limit").upper())
        market = kind is OrderType.MARKET
        words = asked.choice("timeInForce", "GTC", "IOC", "FOK", "PostOnly", default="GTC")
        quantity = asked.need_amount("qty", QTY)
        price = asked.amount("price", PRICE)
        trigger = asked.amount("triggerPrice", "trigger_price invalid")
        direction = asked.whole("triggerDirection", 1, 2)
        reduce_only, close = asked.flag("reduceOnly"), asked.flag("closeOnTrigger")
        trigger_by = asked.choice("triggerBy", *_TRIGGERS_BY, default="LastPrice")
        stop = self._attached(asked, reduce_only=reduce_only)
        self._index(account, asked)
        if market:
            price = None  # it is not looked at
        elif price is None:
            raise No(PARAMETER, PRICE)
        else:
            self._band(listing, side, price, last)
        if trigger is not None and direction is None:
            raise No(PARAMETER, "triggerDirection invalid")
        if asked.text("slippageTolerance") is not None and (not market or trigger is not None):
            raise invalid("slippageTolerance")
        if reduce_only and (trigger is None or self.doubts.conditional_needs_position):
            self._reduces(account, symbol, side)
        if quantity == 0 and reduce_only and close:
            quantity = abs(account.position(symbol).quantity)
        most = listing.instrument.max_quantity
        if market and most is not None and quantity > most * MOST_AT_MARKET:
            raise No(PARAMETER, f"{QTY}: the number of contracts exceeds maximum limit allowed")
        crosses = price is None or (price >= last if side is Side.BUY else price <= last)
        refused = ""
        if trigger is None and words == "PostOnly" and not market and crosses:
            refused = "EC_PostOnlyWillTakeLiquidity"
        if trigger is None and words == "FOK" and not (crosses and self._all_of(listing, side, quantity)):
            refused = "EC_NoImmediateQtyToFill"
        with (
            self._nothing_to_trade(symbol, really=bool(refused)),
            self._in_words(asked, last, side=side, rises=direction == 1),
        ):
            record = account.submit(
                symbol,
                side,
                kind,
                quantity,
                client_id=link,
                price=price,
                trigger=trigger,
                rises=None if trigger is None else direction == 1,
                time_in_force=TimeInForce.IOC if refused or words in ("IOC", "FOK") else TimeInForce.GTC,
                reduce_only=reduce_only,
                attached_stop=stop,
            )
        self._notes[record.id] = Note(
            time_in_force=words,
            trigger_by="" if trigger is None else trigger_by,
            close_on_trigger=close,
            stop_by=asked.choice("slTriggerBy", *_TRIGGERS_BY, default="LastPrice"),
            refused=refused,
            last=last,
        )
        return record

    def _amend(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(
            asked,
            *("category", "symbol", "orderId", "orderLinkId", "qty", "price", "triggerPrice", "triggerBy"),
            *("takeProfit", "stopLoss", "tpslMode", "tpTriggerBy", "slTriggerBy"),
        )
        listing = self._listing(asked)
        record = self._open(account, asked, listing)
        last = self.engine.price(listing.symbol)
        quantity = asked.amount("qty", QTY) or record.quantity
        price = asked.amount("price", PRICE) or record.price
        trigger = asked.amount("triggerPrice", "trigger_price invalid") or record.trigger
        stop = self._attached(asked, reduce_only=record.reduce_only)
        stop = stop if "stopLoss" in asked.values else record.attached_stop
        same = (record.quantity, record.price, record.trigger, record.attached_stop)
        if same == (quantity, price, trigger, stop):
            raise No(PARAMETER, "order not modified")
        with self._in_words(asked, last, side=record.side, rises=record.rises):
            if record.is_waiting:
                self._amend_waiting(account, record, quantity, price, trigger)
            else:
                if trigger is not None and trigger != record.trigger:
                    raise No(PARAMETER, "trigger_price invalid")
                if stop != record.attached_stop:
                    account.amend_stop(record.id, stop)
                if (quantity, price) != (record.quantity, record.price):
                    if price is None:
                        raise No(*REFUSALS[Kind.ENDED])
                    self._band(listing, record.side, price, last)
                    account.amend(record.id, quantity=quantity, price=price)
        return {"orderId": answers.order_id(record), "orderLinkId": record.client_id or ""}

    def _amend_waiting(
        self,
        account: Account,
        record: Record,
        quantity: Decimal,
        price: Decimal | None,
        trigger: Decimal | None,
    ) -> None:
        assert trigger is not None
        if record.attached:
            if quantity != record.quantity or price is not None:
                raise invalid("qty")
            account.set_stop(record.symbol, trigger)
            return
        rules, last = self.engine.listing(record.symbol).instrument, self.engine.price(record.symbol)
        for level in (price, trigger):
            if level is not None:
                checks.price(rules, level)
        if last >= trigger if record.rises else last <= trigger:
            raise Refusal(Kind.TRIGGERS_AT_ONCE)
        with localcontext(MONEY):
            if quantity < rules.min_quantity or quantity % rules.lot_size:
                raise No(PARAMETER, QTY)
        if price is not None and record.price is None:
            raise No(PARAMETER, PRICE)
        record.quantity, record.price, record.trigger = quantity, price, trigger
        record.updated_at = self.engine.now()

    def _cancel(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(asked, "category", "symbol", "orderId", "orderLinkId", "orderFilter")
        record = self._open(account, asked, self._listing(asked))
        self._end(account, record)
        return {"orderId": answers.order_id(record), "orderLinkId": record.client_id or ""}

    def _cancel_all(self, account: Account, asked: Asked) -> dict[str, Any]:
        """Without a filter all kinds; the position's own stop is among them."""
        self._known(asked, "category", "symbol", "baseCoin", "settleCoin", "orderFilter", "stopOrderType")
        wanted = asked.choice("orderFilter", "", "Order", "StopOrder", "OpenOrder", default="")
        kind = asked.choice("stopOrderType", "", "Stop", default="")
        symbols = self._symbols(asked)
        ended: list[dict[str, str]] = []
        for record in account.orders(open=True):
            if record.symbol not in symbols or len(ended) == _MOST_AT_ONCE:
                continue
            if wanted == "StopOrder" and (not record.is_waiting or (kind and record.attached)):
                continue
            if wanted in ("Order", "OpenOrder") and record.is_waiting:
                continue
            self._end(account, record)
            ended.append({"orderId": answers.order_id(record), "orderLinkId": record.client_id or ""})
        return {"list": ended, "success": "1"}

    # -- the position ----------------------------------------------------------------------------------

    def _trading_stop(self, account: Account, asked: Asked) -> dict[str, Any]:
        """Full only, and of the stop only: what takes a profit or trails is not emulated."""
        self._known(
            asked,
            *("category", "symbol", "tpslMode", "positionIdx", "takeProfit", "stopLoss", "trailingStop"),
            *("activePrice", "tpTriggerBy", "slTriggerBy", "tpSize", "slSize", "tpOrderType", "slOrderType"),
            *("tpLimitPrice", "slLimitPrice"),
        )
        listing = self._listing(asked)
        symbol, last = listing.symbol, self.engine.price(listing.symbol)
        asked.choice("tpslMode", "Full")
        self._index(account, asked, needed=True)
        by = asked.choice("slTriggerBy", *_TRIGGERS_BY, default="LastPrice")
        for name in ("takeProfit", "trailingStop"):
            if asked.amount(name):
                raise No(PARAMETER, f"{name} is not emulated")
        for name in ("activePrice", "tpSize", "slSize", "tpLimitPrice", "slLimitPrice"):
            if asked.amount(name):
                raise invalid(name)
        level, held = asked.amount("stopLoss", "StopLoss invalid"), account.position(symbol)
        if held.is_flat:
            raise No(PARAMETER, NO_POSITION)
        if level is None:
            raise No(NOT_MODIFIED, "not modified")
        with self._in_words(asked, last, side=held.closing_side.opposite):
            stop = account.set_stop(symbol, level or None)
        if stop is not None:
            self._notes[stop.id] = Note(trigger_by=by, close_on_trigger=True, last=last)
        return {}

    def _set_leverage(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(asked, "category", "symbol", "buyLeverage", "sellLeverage")
        listing = self._listing(asked)
        buy, sell = asked.need_amount("buyLeverage"), asked.need_amount("sellLeverage")
        if buy != sell:
            raise No(PARAMETER, "buy leverage not equal sell leverage")
        if buy < 1 or buy % Decimal("0.01"):
            raise No(PARAMETER, "leverage invalid")
        if buy > listing.max_leverage:
            raise No(110013, "Cannot set leverage due to risk limit level")
        if buy == account.leverage(listing.symbol):
            raise No(110043, "Set leverage has not been modified")
        try:
            account.set_leverage(listing.symbol, buy)
        except Refusal as refusal:
            if refusal.kind is Kind.MARGIN:
                raise No(110044, "Available margin is insufficient") from None
            raise
        return {}

    def _switch_mode(self, account: Account, asked: Asked) -> dict[str, Any]:
        """Here a mode is the whole account's."""
        self._known(asked, "category", "symbol", "coin", "mode")
        self._category(asked)
        if asked.text("coin") != "USDT":
            self._listing(asked)
        mode = asked.whole("mode", 0, 3)
        if mode is None:
            raise invalid("mode")
        if account.hedge == (mode == 3):
            raise No(110025, "Position mode is not modified")
        account.set_hedge(mode == 3)
        return {}

    def _set_margin_mode(self, account: Account, asked: Asked) -> dict[str, Any]:
        self._known(asked, "setMarginMode")
        mode = asked.choice("setMarginMode", *_MODES)
        if account.positions() or account.orders(open=True):
            reason = {
                "reasonCode": "3400000",
                "reasonMsg": "Equity needs to be equal to or greater than 1000",
            }
            raise No(3400045, "Set margin mode failed", {"reasons": [reason]})
        self.margin_modes[self.engine.accounts.index(account)] = mode
        return {"reasons": []}

    # -- what they share -------------------------------------------------------------------------------

    def note(self, record: Record) -> Note:
        """Of an order that came without this dialect: a hand's, or the stop that an entry brought."""
        parent = self._notes.get(record.parent_id or 0)
        by = parent.stop_by if parent and record.attached else "LastPrice" if record.conditional else ""
        return self._notes.get(record.id) or Note(trigger_by=by, close_on_trigger=record.attached)

    def _known(self, asked: Asked, *names: str) -> None:
        if self.doubts.refuses_unknown:
            asked.known(*names)

    def _category(self, asked: Asked) -> None:
        if asked.need_text("category") != self.category:
            raise No(PARAMETER, "Illegal category")

    def _listing(self, asked: Asked) -> Listing:
        self._category(asked)
        return self.engine.by_venue_symbol(asked.need_text("symbol"))

    def _symbols(self, asked: Asked) -> list[str]:
        """Those that `symbol`, `baseCoin` or `settleCoin` names: one of them is needed."""
        self._category(asked)
        symbol, base, settle = (asked.text(name) for name in ("symbol", "baseCoin", "settleCoin"))
        if symbol is not None:
            return [self.engine.by_venue_symbol(symbol).symbol]
        if base is None and settle is None:
            raise No(
                PARAMETER, "Missing some parameters that must be filled in, symbol or settleCoin or baseCoin"
            )
        return [
            listing.symbol
            for listing in self.engine.listings()
            if base in (None, listing.instrument.base) and settle in (None, listing.instrument.quote)
        ]

    def _index(self, account: Account, asked: Asked, *, needed: bool = False) -> None:
        """A hedge account's orders are not emulated: they are refused, as one that says 0 is."""
        index = asked.whole("positionIdx", 0, 1, 2)
        if index is None and needed:
            raise invalid("positionIdx")
        if account.hedge or index:
            raise No(PARAMETER, BAD_MODE)

    def _attached(self, asked: Asked, *, reduce_only: bool) -> Decimal | None:
        asked.choice("tpslMode", "Full", default="Full")
        asked.choice("slTriggerBy", *_TRIGGERS_BY, default="LastPrice")
        asked.choice("slOrderType", "Market", default="Market")
        if asked.amount("takeProfit"):
            raise No(PARAMETER, "takeProfit is not emulated")
        if asked.amount("slLimitPrice") or asked.amount("tpLimitPrice"):
            raise invalid("slLimitPrice")
        stop = asked.amount("stopLoss", "StopLoss invalid") or None
        if stop is not None and reduce_only:
            raise No(PARAMETER, "reduce-only order can not have takeProfit or stopLoss")
        return stop

    def _band(self, listing: Listing, side: Side, price: Decimal, last: Decimal) -> None:
        if price > listing.instrument.tick_size * MOST_TICKS:
            raise No(PARAMETER, PRICE)
        most = 1 + side.sign * self.doubts.band
        if price > last * most if side is Side.BUY else price < last * most:
            raise No(110003, "Order price exceeds the allowable range.")

    def _reduces(self, account: Account, symbol: str, side: Side) -> None:
        held = account.position(symbol).quantity
        if held == 0:
            raise No(REDUCE_ONLY, FLAT)
        if held * side.sign > 0:
            raise No(REDUCE_ONLY, "Reduce-only order has same side with current position")

    def _all_of(self, listing: Listing, side: Side, quantity: Decimal) -> bool:
        now = self.engine.now()
        wanted = Record(
            id=0,
            symbol=listing.symbol,
            side=side,
            type=OrderType.MARKET,
            quantity=quantity,
            created_at=now,
            updated_at=now,
        )
        most = self.engine.liquidity_of(wanted)
        return most is None or most >= quantity

    @contextmanager
    def _nothing_to_trade(self, symbol: str, *, really: bool) -> Iterator[None]:
        """What the venue takes and closes at once finds nothing to trade with."""
        before = self.engine.liquidity.get(symbol)
        if really:
            self.engine.liquidity[symbol] = ZERO
        try:
            yield
        finally:
            self.engine.liquidity[symbol] = before

    @contextmanager
    def _in_words(self, asked: Asked, last: Decimal, *, side: Side, rises: bool = False) -> Iterator[None]:
        """Some refusals of the engine have a text that depends on what was asked."""
        try:
            yield
        except Refusal as refusal:
            if refusal.kind is Kind.STOP_SIDE:
                word, level = ("Buy", "lower") if side is Side.BUY else ("Sell", "higher")
                stop = asked.text("stopLoss") or asked.text("triggerPrice") or "0"
                text = f"StopLoss:{stop} set for {word} position should {level} than base_price:"
                raise No(PARAMETER, f"{text}{plain(last)}??LastPrice") from None
            if refusal.kind is Kind.TRIGGERS_AT_ONCE:
                trigger = asked.text("triggerPrice") or "0"
                code, word, sign = (110092, "Rising", "<=") if rises else (110093, "Falling", ">=")
                text = f"expect {word}, but trigger_price[{trigger}] {sign} current[{plain(last)}]??LastPrice"
                raise No(code, text) from None
            if refusal.kind is Kind.MARGIN:
                raise No(self.doubts.margin_code, "ab not enough for new order") from None
            raise

    def _open(self, account: Account, asked: Asked, listing: Listing) -> Record:
        record = self._named(account, asked)
        if record is None or record.symbol != listing.symbol:
            raise No(*REFUSALS[Kind.NOT_FOUND])
        if not record.is_open:
            if self.doubts.tells_ended:
                raise No(110008 if record.remaining == 0 and record.filled else 110010, "Order has ended")
            raise No(*REFUSALS[Kind.ENDED])
        return record

    def _named(self, account: Account, asked: Asked) -> Record | None:
        """By `orderId`, or else by `orderLinkId`; one of them is needed."""
        name, link = asked.text("orderId"), asked.link_id()
        if name is None and link is None:
            raise No(PARAMETER, "Missing some parameters that must be filled in, orderId or orderLinkId")
        if name is not None:
            return account.find(order_id=answers.engine_id(name))
        return account.find(client_id=link)

    def _end(self, account: Account, record: Record) -> None:
        account.cancel(record.id)
        self._queued[record.id] = self.doubts.queued_reads
