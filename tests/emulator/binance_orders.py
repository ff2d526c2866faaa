"""Regular orders of the emulated Binance: LIMIT and MARKET, placed, amended, cancelled, asked for.

What the venue looks at in an order is looked at here in its order; the engine has the last word.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.emulator.binance_calls import Call, Desk, Note, call, made_at, notional, with_symbol
from tests.emulator.binance_rules import MAX_ORDERS, MULTIPLIER_DOWN, MULTIPLIER_UP, Contract
from tests.emulator.binance_words import Params, Wrong, decimals, missing, ms, stepped
from tests.emulator.engine import Account, Reason, Record, State, Unique
from trading.model import ZERO, OrderType, Side, TimeInForce, plain

CONDITIONAL_TYPES = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
SIDES = ("BUY", "SELL")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX")
ALL_DONE = "The operation of cancel all open order is done."

_OF_ALGO = "stopPrice closePosition activationPrice callbackRate workingType priceProtect"
_PLACE = (
    "symbol side type quantity price timeInForce positionSide reduceOnly newClientOrderId "
    f"newOrderRespType selfTradePreventionMode {_OF_ALGO}"
)
_ONE = "symbol orderId origClientOrderId"


class Orders:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._generated = 0

    def calls(self) -> dict[tuple[str, str], Call]:
        order = "/fapi/v1/order"
        return {
            ("POST", order): call(self.place, _PLACE, 0, trade=True, orders=1),
            ("POST", f"{order}/test"): call(self.test, _PLACE, 1, trade=True),
            ("PUT", order): call(
                self.amend, f"{_ONE} side quantity price reduceOnly", 1, trade=True, orders=1
            ),
            ("DELETE", order): call(self.cancel, _ONE, 1, trade=True),
            ("GET", order): call(self.one, _ONE, 1),
            ("GET", "/fapi/v1/openOrder"): call(self.open_one, _ONE, 1),
            ("GET", "/fapi/v1/openOrders"): call(self.open, "symbol", with_symbol(1, 40)),
            ("GET", "/fapi/v1/allOrders"): call(self.all, "symbol orderId startTime endTime limit", 5),
            ("DELETE", "/fapi/v1/allOpenOrders"): call(self.cancel_all, "symbol", 1, trade=True),
        }

    # -- acts ------------------------------------------------------------------------------------------

    def place(self, account: Account, params: Params) -> dict[str, Any]:
        order, note, contract = self._wanted(account, params)
        is_ack = params.text("newOrderRespType") == "ACK" if "newOrderRespType" in params else True
        if order["client_id"] is None:
            self._generated += 1
            order["client_id"] = f"auto{self._generated:018d}"
        record = account.submit(contract.listing.symbol, **order, unique=Unique.OPEN)
        self.desk.notes[record.id] = note
        row = self.row(record, whole=self.desk.flags.whole_answers)
        ends_at_once = record.type is OrderType.MARKET or note.time_in_force in ("IOC", "FOK")
        if is_ack or not ends_at_once:
            row |= {"status": "NEW", "executedQty": "0", "cumQty": "0"}
        return row

    def test(self, account: Account, params: Params) -> dict[str, Any]:
        """Looks at everything but margin, and places nothing."""
        self._wanted(account, params)
        return {}

    def amend(self, account: Account, params: Params) -> dict[str, Any]:
        contract = self.desk.contract(params)
        side = params.choice("side", SIDES, -1117)
        quantity, price = params.amount("quantity"), params.amount("price")
        record = self._find(account, params, contract)
        if record is None or not record.is_open:
            raise Wrong(-2013)
        if record.type is not OrderType.LIMIT or record.side != side:
            raise Wrong(-1130, "Data sent for parameter 'side' is not valid.")
        if params.flag("reduceOnly") and not record.reduce_only:
            raise Wrong(-5047)
        quantity = checked_quantity(contract, quantity, market=False)
        price = checked_price(contract, price)
        self._percent(contract, record.side, price)
        if not record.reduce_only:
            checked_notional(contract, quantity * price)
        if self.desk.note(record).time_in_force == "GTX" and self._takes(contract, record.side, price):
            account.cancel(record.id)
        else:
            account.amend(record.id, quantity=quantity, price=price)
        return self.row(record, whole=self.desk.flags.whole_answers)

    def cancel(self, account: Account, params: Params) -> dict[str, Any]:
        record = self._find(account, params, self.desk.contract(params))
        if record is None or not record.is_open:
            raise Wrong(-2011)
        account.cancel(record.id)
        return self.row(record, whole=self.desk.flags.whole_answers)

    def cancel_all(self, account: Account, params: Params) -> dict[str, Any]:
        """Regular orders only."""
        account.cancel_all(self.desk.contract(params).listing.symbol, conditional=False)
        return {"code": 200, "msg": ALL_DONE}

    # -- reading ---------------------------------------------------------------------------------------

    def one(self, account: Account, params: Params) -> dict[str, Any]:
        record = self._find(account, params, self.desk.contract(params))
        if record is None or self.desk.is_forgotten(record):
            raise Wrong(-2013)
        return self.row(record, whole=True)

    def open_one(self, account: Account, params: Params) -> dict[str, Any]:
        record = self._find(account, params, self.desk.contract(params))
        if record is None or not record.is_open:
            raise Wrong(-2013)
        return self.row(record, whole=True)

    def open(self, account: Account, params: Params) -> list[dict[str, Any]]:
        rows = []
        for contract in self.desk.wanted(params):
            records = account.orders(contract.listing.symbol, open=True, conditional=False)
            rows += [self.row(record, whole=True) for record in records]
        if self.desk.flags.coin_margined and "symbol" not in params:
            rows.append(_COIN_ORDER)
        return rows

    def all(self, account: Account, params: Params) -> list[dict[str, Any]]:
        listed = {contract.listing.symbol for contract in self.desk.wanted(params)}
        since = params.whole("orderId")
        records = [
            record
            for record in account.orders(conditional=False)
            if record.symbol in listed
            and (since is None or record.id >= since)
            and not self.desk.is_forgotten(record)
        ]
        page = self.desk.page(params, records, made_at, default=500, most=1000)
        return [self.row(record, whole=True) for record in page]

    def row(self, record: Record, *, whole: bool) -> dict[str, Any]:
        contract, note = self.desk.contract_of(record.symbol), self.desk.note(record)
        instrument = contract.instrument
        kind = record.type.value
        row = {
            "orderId": record.id,
            "symbol": contract.name,
            "status": _status(record),
            "clientOrderId": self._client_id(record),
            "price": stepped(record.price, instrument.tick_size),
            "origQty": stepped(record.quantity, instrument.lot_size),
            "executedQty": stepped(record.filled, instrument.lot_size),
            "timeInForce": note.time_in_force,
            "type": kind,
            "origType": kind,
            "reduceOnly": record.reduce_only,
            "closePosition": False,
            "side": record.side.value,
            "positionSide": "BOTH",
            "stopPrice": "0",
            "workingType": "CONTRACT_PRICE",
            "priceProtect": False,
            "priceMatch": "NONE",
            "selfTradePreventionMode": note.prevention,
            "goodTillDate": 0,
            "updateTime": ms(record.updated_at),
        }
        if whole:
            row["avgPrice"] = f"{record.average or ZERO:.{contract.price_precision + 3}f}"
            row["cumQuote"] = plain(notional(record))
            row["time"] = ms(record.created_at)
        else:
            row["cumQty"] = row["executedQty"]
        return row

    # -- what is asked for -----------------------------------------------------------------------------

    def _wanted(self, account: Account, params: Params) -> tuple[dict[str, Any], Note, Contract]:
        """What goes to the engine, or the first thing that is wrong with it."""
        contract = self.desk.contract(params)
        side = Side(params.choice("side", SIDES, -1117))
        kind = params.choice("type", ("LIMIT", "MARKET", *CONDITIONAL_TYPES), -1116)
        if kind in CONDITIONAL_TYPES:
            raise Wrong(-4120)
        params.forbid(*_OF_ALGO.split())
        reduce_only = position_side(account, params)
        client_id = params.client_id("newClientOrderId")
        price, time_in_force = None, "GTC"
        quantity = checked_quantity(contract, params.amount("quantity"), market=kind == "MARKET")
        if kind == "LIMIT":
            time_in_force = params.choice("timeInForce", TIMES_IN_FORCE, -1115)
            price = checked_price(contract, params.amount("price"))
            self._percent(contract, side, price)
        else:
            params.forbid("price", "timeInForce")
        last = self.desk.engine.price(contract.listing.symbol)
        if not reduce_only:
            checked_notional(contract, quantity * (price or last))
        order = {
            "side": side,
            "type": OrderType(kind),
            "quantity": quantity,
            "price": price,
            "client_id": client_id,
            "reduce_only": reduce_only,
            "time_in_force": TimeInForce.IOC if time_in_force in ("IOC", "FOK") else TimeInForce.GTC,
        }
        self._room(account, contract, order)
        self._at_once(contract, order, time_in_force)
        params.choice("newOrderRespType", ("ACK", "RESULT"), -1130, "ACK")
        prevention = params.choice("selfTradePreventionMode", _PREVENTIONS, -1130, "EXPIRE_MAKER")
        return order, Note(time_in_force=time_in_force, prevention=prevention), contract

    def _room(self, account: Account, contract: Contract, order: dict[str, Any]) -> None:
        """Client id, number of orders, and what position and leverage leave room for."""
        symbol, quantity, side = contract.listing.symbol, order["quantity"], order["side"]
        resting = account.orders(symbol, open=True, conditional=False)
        if order["client_id"] in [
            record.client_id for record in account.orders(open=True, conditional=False)
        ]:
            raise Wrong(-4116)
        if len(resting) >= MAX_ORDERS:
            raise Wrong(-2025)
        held = account.position(symbol).quantity
        if order["reduce_only"]:
            reducible = -held * side.sign
            reducing = sum(
                (record.remaining for record in resting if record.reduce_only and record.side is side), ZERO
            )
            if reducible <= 0:
                raise Wrong(-2022)
            if self.desk.flags.reduce_only_sum and reducing and quantity + reducing > reducible:
                raise Wrong(-4118)
            if quantity > reducible and not self.desk.flags.reduce_only_trims:
                raise Wrong(-2022)
            return
        after = abs(held + side.sign * quantity)
        price = order["price"] or self.desk.engine.price(symbol)
        if after > abs(held) and after * price > contract.most_at(account.leverage(symbol)):
            raise Wrong(-2027)

    def _at_once(self, contract: Contract, order: dict[str, Any], time_in_force: str) -> None:
        if time_in_force not in ("FOK", "GTX"):
            return
        takes = self._takes(contract, order["side"], order["price"])
        if time_in_force == "GTX" and takes:
            raise Wrong(-5022)
        now = self.desk.engine.now()
        asked = Record(
            id=0,
            symbol=contract.listing.symbol,
            side=order["side"],
            type=order["type"],
            quantity=order["quantity"],
            created_at=now,
            updated_at=now,
        )
        there = self.desk.engine.liquidity_of(asked)
        if time_in_force == "FOK" and not (takes and (there is None or there >= asked.quantity)):
            raise Wrong(-5021)

    def _takes(self, contract: Contract, side: Side, price: Decimal) -> bool:
        last = self.desk.engine.price(contract.listing.symbol)
        return price >= last if side is Side.BUY else price <= last

    def _percent(self, contract: Contract, side: Side, price: Decimal) -> None:
        mark, both = self.desk.engine.price(contract.listing.symbol), self.desk.flags.percent_both_ways
        high, low = mark * MULTIPLIER_UP, mark * MULTIPLIER_DOWN
        if price > high and (both or side is Side.BUY):
            raise Wrong(-4016, f"Limit price can't be higher than {plain(high)}.")
        if price < low and (both or side is Side.SELL):
            raise Wrong(-4024, f"Limit price can't be lower than {plain(low)}.")

    def _find(self, account: Account, params: Params, contract: Contract) -> Record | None:
        """The newest that fits; orderId goes before origClientOrderId."""
        order_id, client_id = params.whole("orderId"), params.client_id("origClientOrderId")
        if order_id is None and client_id is None:
            raise Wrong(
                -1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"
            )
        for record in reversed(account.orders(contract.listing.symbol, conditional=False)):
            if record.id == order_id or (order_id is None and self._client_id(record) == client_id):
                return record
        return None

    def _client_id(self, record: Record) -> str:
        """The venue names what has no client id: orders made by hand or by an algo order."""
        if record.parent_client_id and self.desk.flags.triggered_keeps_id:
            return record.parent_client_id
        return record.client_id or ("web_" if record.parent_id is None else "algo_") + f"{record.id:018d}"


def position_side(account: Account, params: Params) -> bool:
    """Whether the order is reduce-only, once its position side is right."""
    side = params.choice("positionSide", ("BOTH", "LONG", "SHORT"), -1130, "BOTH")
    if (side == "BOTH") == account.hedge:
        raise Wrong(-4061)
    if account.hedge:
        params.forbid("reduceOnly")
    return params.flag("reduceOnly")


def checked_quantity(contract: Contract, quantity: Decimal | None, *, market: bool) -> Decimal:
    if quantity is None:
        raise missing("quantity")
    if quantity <= 0:
        raise Wrong(-4003)
    if decimals(quantity) > contract.quantity_precision:
        raise Wrong(-1111)
    instrument = contract.instrument
    step = contract.market_step if market else instrument.lot_size
    least = contract.market_step if market else instrument.min_quantity
    most = contract.market_max if market else instrument.max_quantity
    assert most is not None
    if quantity < least:
        raise Wrong(-4004)
    if quantity > most:
        raise Wrong(-4005)
    if quantity % step:
        raise Wrong(-4023)
    return quantity


def checked_price(contract: Contract, price: Decimal | None, name: str = "price") -> Decimal:
    if price is None:
        raise missing(name)
    if price <= 0 and name == "triggerPrice":
        raise Wrong(-4006)
    if decimals(price) > contract.price_precision:
        raise Wrong(-1111)
    if price < contract.min_price:
        raise Wrong(-4013)
    if price > contract.max_price:
        raise Wrong(-4002)
    if price % contract.instrument.tick_size:
        raise Wrong(-4014)
    return price


def checked_notional(contract: Contract, value: Decimal) -> None:
    least = contract.instrument.min_notional
    if value < least:
        text = f"Order's notional must be no smaller than {plain(least)} (unless you choose reduce only)."
        raise Wrong(-4164, text)


_PREVENTIONS = ("EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "NONE")

_COIN_ORDER = {
    "orderId": 99,
    "symbol": "BTCUSD_PERP",
    "pair": "BTCUSD",
    "status": "NEW",
    "clientOrderId": "coin-1",
    "price": "50000.0",
    "avgPrice": "0.00000",
    "origQty": "3",
    "executedQty": "0",
    "cumBase": "0",
    "timeInForce": "GTC",
    "type": "LIMIT",
    "origType": "LIMIT",
    "reduceOnly": False,
    "closePosition": False,
    "side": "BUY",
    "positionSide": "BOTH",
    "stopPrice": "0",
    "workingType": "CONTRACT_PRICE",
    "priceProtect": False,
    "time": 1767225600000,
    "updateTime": 1767225600000,
}


def _status(record: Record) -> str:
    if record.state is State.CANCELED and record.reason != Reason.REQUEST:
        return "EXPIRED"
    return record.state.value
