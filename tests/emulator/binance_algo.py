"""Conditional ("algo") orders of the emulated Binance: stops and take-profits.

When one triggers it makes a regular order with an id of its own, and is never itself filled.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.emulator.binance_calls import Call, Desk, Note, call, made_at, with_symbol
from tests.emulator.binance_orders import (
    ALL_DONE,
    SIDES,
    TIMES_IN_FORCE,
    checked_notional,
    checked_price,
    checked_quantity,
    position_side,
)
from tests.emulator.binance_rules import MAX_ALGO_ORDERS, Contract
from tests.emulator.binance_words import Params, Wrong, ms, stepped
from tests.emulator.engine import Account, Reason, Record, State, Unique
from trading.model import ZERO, OrderType, Side, TimeInForce, plain

_TYPES = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET")
_PLACE = (
    "algoType symbol side type positionSide timeInForce quantity price triggerPrice workingType "
    "closePosition priceProtect reduceOnly selfTradePreventionMode clientAlgoId newOrderRespType"
)


class Algos:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._generated = 0

    def calls(self) -> dict[tuple[str, str], Call]:
        one, ids = "/fapi/v1/algoOrder", "algoId clientAlgoId"
        return {
            ("POST", one): call(self.place, _PLACE, 0, trade=True, orders=1),
            ("GET", one): call(self.one, ids, 1),
            ("DELETE", one): call(self.cancel, ids, 1, trade=True),
            ("DELETE", "/fapi/v1/algoOpenOrders"): call(self.cancel_all, "symbol", 1, trade=True),
            ("GET", "/fapi/v1/openAlgoOrders"): call(self.open, "symbol algoType algoId", with_symbol(1, 40)),
            ("GET", "/fapi/v1/allAlgoOrders"): call(
                self.all, "symbol algoId startTime endTime limit page", 5
            ),
        }

    # -- acts ------------------------------------------------------------------------------------------

    def place(self, account: Account, params: Params) -> dict[str, Any]:
        params.choice("algoType", ("CONDITIONAL",), -1130)
        contract = self.desk.contract(params)
        side = Side(params.choice("side", SIDES, -1117))
        kind = params.choice("type", _TYPES, -1116)
        params.choice("newOrderRespType", ("ACK", "RESULT"), -1130, "ACK")
        client_id = params.client_id("clientAlgoId")
        closes = params.flag("closePosition")
        order = self._sized(account, contract, kind, params)
        time_in_force = params.choice("timeInForce", TIMES_IN_FORCE, -1115, "GTC")
        note = Note(
            time_in_force="GTE_GTC" if closes else time_in_force,
            order_type=kind,
            working_type=params.choice(
                "workingType", ("CONTRACT_PRICE", "MARK_PRICE"), -1130, "CONTRACT_PRICE"
            ),
            price_protect=params.flag("priceProtect"),
        )
        if len(account.orders(open=True, conditional=True)) >= MAX_ALGO_ORDERS:
            raise Wrong(-4045)
        if client_id is None:
            self._generated += 1
            client_id = f"auto{self._generated:018d}"
        record = account.submit(
            contract.listing.symbol,
            side,
            client_id=client_id,
            rises=kind.startswith("STOP") == (side is Side.BUY),
            time_in_force=TimeInForce.IOC if time_in_force in ("IOC", "FOK") else TimeInForce.GTC,
            unique=Unique.EVER if self.desk.flags.algo_ids_for_ever else Unique.OPEN,
            **order,
        )
        self.desk.notes[record.id] = note
        return self.row(account, record, whole=False)

    def cancel(self, account: Account, params: Params) -> dict[str, Any]:
        record = self._find(account, params)
        if record is None or not record.is_waiting:
            raise Wrong(self.desk.flags.algo_gone)
        account.cancel(record.id)
        return {"algoId": record.id, "clientAlgoId": record.client_id, "code": "200", "msg": "success"}

    def cancel_all(self, account: Account, params: Params) -> dict[str, Any]:
        account.cancel_all(self.desk.contract(params).listing.symbol, regular=False)
        return {"code": 200, "msg": ALL_DONE}

    # -- reading ---------------------------------------------------------------------------------------

    def one(self, account: Account, params: Params) -> dict[str, Any]:
        record = self._find(account, params)
        if record is None or self.desk.is_forgotten(record):
            raise Wrong(-2013)
        return self.row(account, record, whole=True)

    def open(self, account: Account, params: Params) -> list[dict[str, Any]]:
        wanted = params.whole("algoId")
        return [
            self.row(account, record, whole=True)
            for contract in self.desk.wanted(params)
            for record in account.orders(contract.listing.symbol, open=True, conditional=True)
            if wanted in (None, record.id)
        ]

    def all(self, account: Account, params: Params) -> list[dict[str, Any]]:
        symbol, since = self.desk.contract(params).listing.symbol, params.whole("algoId")
        records = [
            record
            for record in account.orders(symbol, conditional=True)
            if (since is None or record.id >= since) and not self.desk.is_forgotten(record)
        ]
        page = self.desk.page(params, records, made_at, default=500, most=1000)
        return [self.row(account, record, whole=True) for record in page]

    def row(self, account: Account, record: Record, *, whole: bool) -> dict[str, Any]:
        contract, note = self.desk.contract_of(record.symbol), self.desk.note(record)
        instrument = contract.instrument
        row = {
            "algoId": record.id,
            "clientAlgoId": record.client_id or f"web_{record.id:018d}",
            "algoType": "CONDITIONAL",
            "orderType": note.order_type or "STOP_MARKET",
            "symbol": contract.name,
            "side": record.side.value,
            "positionSide": "BOTH",
            "timeInForce": note.time_in_force,
            "quantity": "0" if record.whole_position else stepped(record.quantity, instrument.lot_size),
            "algoStatus": _status(account, record),
            "triggerPrice": stepped(record.trigger, instrument.tick_size),
            "price": stepped(record.price, instrument.tick_size),
            "icebergQuantity": None,
            "selfTradePreventionMode": note.prevention,
            "workingType": note.working_type,
            "priceMatch": "NONE",
            "closePosition": record.whole_position,
            "priceProtect": note.price_protect,
            "reduceOnly": record.reduce_only,
            "activatePrice": "",
            "callbackRate": "",
            "createTime": ms(record.created_at),
            "updateTime": ms(record.updated_at),
            "triggerTime": ms(record.triggered_at) if record.triggered_at else 0,
            "goodTillDate": 0,
        }
        if whole:
            row |= self._made(account, record, contract)
        return row

    def _made(self, account: Account, record: Record, contract: Contract) -> dict[str, str]:
        """Of the regular order that it made; empty before."""
        made = account.find(order_id=record.triggered_order_id)
        if made is None:
            return {"actualOrderId": "", "actualPrice": "0.00000", "actualType": "", "actualQty": "0"}
        return {
            "actualOrderId": str(made.id),
            "actualPrice": f"{made.average or ZERO:.{contract.price_precision + 3}f}",
            "actualType": made.type.value,
            "actualQty": plain(made.filled),
        }

    # -- what is asked for -----------------------------------------------------------------------------

    def _sized(self, account: Account, contract: Contract, kind: str, params: Params) -> dict[str, Any]:
        """Quantity, prices and what they are for, or the first thing that is wrong with them."""
        reduce_only, closes = position_side(account, params), params.flag("closePosition")
        market = kind.endswith("_MARKET")
        quantity: Decimal | None = None
        price: Decimal | None = None
        if closes:
            if not market:
                raise Wrong(-4136)
            if "quantity" in params:
                raise Wrong(-4137)
            params.forbid("reduceOnly")
        else:
            quantity = checked_quantity(contract, params.amount("quantity"), market=market)
        if market:
            params.forbid("price")
        else:
            price = checked_price(contract, params.amount("price"))
        trigger = checked_price(contract, params.amount("triggerPrice"), "triggerPrice")
        if quantity is not None and not reduce_only:
            checked_notional(contract, quantity * (price or trigger))
        if reduce_only and not self.desk.flags.early_reduce_only:
            side = Side(params.text("side"))
            if account.position(contract.listing.symbol).quantity * side.sign >= 0:
                raise Wrong(-2022)
        return {
            "type": OrderType.MARKET if market else OrderType.LIMIT,
            "quantity": quantity,
            "price": price,
            "trigger": trigger,
            "reduce_only": reduce_only,
            "whole_position": closes,
        }

    def _find(self, account: Account, params: Params) -> Record | None:
        algo_id, client_id = params.whole("algoId"), params.client_id("clientAlgoId")
        if algo_id is None and client_id is None:
            raise Wrong(-1102, "Param 'algoId' or 'clientAlgoId' must be sent, but both were empty/null!")
        return account.find(
            order_id=algo_id, client_id=client_id if algo_id is None else None, conditional=True
        )


def _status(account: Account, record: Record) -> str:
    """A triggered one is FINISHED when what it made has ended, filled or not."""
    if record.state is State.TRIGGERED:
        made = account.find(order_id=record.triggered_order_id)
        return "TRIGGERED" if made is not None and made.is_open else "FINISHED"
    if record.reason == Reason.MARGIN:
        return "REJECTED"
    if record.reason in (Reason.POSITION_GONE, Reason.NOTHING_TO_REDUCE):
        return "EXPIRED"
    return record.state.value
