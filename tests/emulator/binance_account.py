"""What the emulated Binance tells of an account, and the account's settings."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.emulator.binance_calls import WEEK, Call, Desk, call
from tests.emulator.binance_rules import ORDERS_A_MINUTE, ORDERS_IN_10_S, Contract
from tests.emulator.binance_words import Params, Wrong, done, from_ms, missing, money, ms, stepped
from tests.emulator.engine import Account, Fill, Kind, Refusal
from trading.model import ZERO, Side, plain

_KEPT = timedelta(days=90)


class Funds:
    """Money, positions, fills, settings."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._multi = False

    def calls(self) -> dict[tuple[str, str], Call]:
        v1, times = "/fapi/v1", "startTime endTime limit"
        return {
            ("GET", "/fapi/v3/account"): call(self.account, "", 5),
            ("GET", "/fapi/v3/balance"): call(self.balance, "", 5),
            ("GET", "/fapi/v3/positionRisk"): call(self.risk, "symbol", 5),
            ("GET", f"{v1}/accountConfig"): call(self.config, "", 5),
            ("GET", f"{v1}/symbolConfig"): call(self.symbol_config, "symbol", 5),
            ("GET", f"{v1}/leverageBracket"): call(self.brackets, "symbol", 1),
            ("GET", f"{v1}/commissionRate"): call(self.commission, "symbol", 20),
            ("GET", f"{v1}/positionSide/dual"): call(self.dual, "", 30),
            ("POST", f"{v1}/positionSide/dual"): call(self.set_dual, "dualSidePosition", trade=True),
            ("GET", f"{v1}/multiAssetsMargin"): call(
                lambda _, __: {"multiAssetsMargin": self._multi}, "", 30
            ),
            ("POST", f"{v1}/leverage"): call(self.set_leverage, "symbol leverage", trade=True),
            ("POST", f"{v1}/marginType"): call(self.set_margin_type, "symbol marginType", trade=True),
            ("GET", f"{v1}/userTrades"): call(self.trades, f"symbol orderId fromId {times}", 5),
            ("GET", f"{v1}/income"): call(self.income, f"symbol incomeType page {times}", 30),
            ("GET", f"{v1}/rateLimit/order"): call(self.order_limits, "", 1),
            ("GET", "/sapi/v1/account/apiRestrictions"): call(self.restrictions, "", 1),
        }

    # -- money and positions ---------------------------------------------------------------------------

    def account(self, account: Account, _: Params) -> dict[str, Any]:
        equity, free, now = account.equity(), account.free(), ms(self.desk.engine.now())
        unrealised = equity - account.cash
        usable = money(max(free, ZERO))
        rows = [row for contract in self.desk.contracts.values() for row in self._rows(account, contract)]
        of_positions = sum((Decimal(row["positionInitialMargin"]) for row in rows), ZERO)
        maintenance = sum((Decimal(row["maintMargin"]) for row in rows), ZERO)
        totals = {
            "InitialMargin": equity - free,
            "MaintMargin": maintenance,
            "WalletBalance": account.cash,
            "UnrealizedProfit": unrealised,
            "MarginBalance": equity,
            "PositionInitialMargin": of_positions,
            "OpenOrderInitialMargin": equity - free - of_positions,
            "CrossWalletBalance": account.cash,
            "CrossUnPnl": unrealised,
        }
        said = {name: money(value) for name, value in totals.items()}
        usdt = {
            "asset": "USDT",
            **{name[0].lower() + name[1:]: value for name, value in said.items()},
            "availableBalance": usable,
            "maxWithdrawAmount": usable,
            "updateTime": now,
        }
        nothing = dict.fromkeys(usdt, "0.00000000") | {"asset": "BNB", "updateTime": 0}
        positions = [
            {
                "unrealizedProfit": row["unRealizedProfit"],
                **{name: row[name] for name in _OF_ACCOUNT},
            }
            for row in rows
        ]
        return {
            **{f"total{name}": value for name, value in said.items()},
            "availableBalance": usable,
            "maxWithdrawAmount": usable,
            "assets": [nothing, usdt],
            "positions": positions,
        }

    def balance(self, account: Account, params: Params) -> list[dict[str, Any]]:
        return [
            {
                "accountAlias": "SgsR",
                "asset": row["asset"],
                "balance": row["walletBalance"],
                "crossWalletBalance": row["crossWalletBalance"],
                "crossUnPnl": row["crossUnPnl"],
                "availableBalance": row["availableBalance"],
                "maxWithdrawAmount": row["maxWithdrawAmount"],
                "marginAvailable": True,
                "updateTime": row["updateTime"],
            }
            for row in self.account(account, params)["assets"]
        ]

    def risk(self, account: Account, params: Params) -> list[dict[str, Any]]:
        rows = [row for contract in self.desk.wanted(params) for row in self._rows(account, contract)]
        if self.desk.flags.coin_margined and "symbol" not in params:
            rows.append(_COIN_POSITION)
        return rows

    def _rows(self, account: Account, contract: Contract) -> list[dict[str, Any]]:
        """Of a symbol with a position or with open regular orders; flat is then a row of zeros."""
        symbol, instrument = contract.listing.symbol, contract.instrument
        resting = account.orders(symbol, open=True, conditional=False)
        position = account.position(symbol)
        if position.is_flat and not resting:
            return []
        mark, leverage = self.desk.engine.price(symbol), account.leverage(symbol)
        worth = position.quantity * mark
        asked = [(one.side, one.remaining * (one.price or mark)) for one in resting if not one.reduce_only]
        sums = {side: sum((value for of, value in asked if of is side), ZERO) for side in Side}
        of_position, of_orders = abs(worth) / leverage, sum(sums.values(), ZERO) / leverage
        entry = position.average_price or ZERO
        sign = 1 if position.quantity > 0 else -1
        isolated = self.desk.margin_type(account, contract) == "ISOLATED"
        decimals = f".{contract.price_precision + 3}f"
        row = {
            "symbol": contract.name,
            "positionSide": "BOTH",
            "positionAmt": stepped(position.quantity, instrument.lot_size)
            if position.quantity
            else stepped_zero(instrument.lot_size),
            "entryPrice": format(entry, decimals),
            "breakEvenPrice": format(entry * (1 + sign * self.desk.engine.rules.fees.taker), decimals),
            "markPrice": f"{mark:.8f}",
            "unRealizedProfit": money(account.unrealised(symbol)),
            "liquidationPrice": "0",
            "isolatedMargin": money(of_position) if isolated else "0",
            "notional": money(worth),
            "marginAsset": instrument.quote,
            "isolatedWallet": money(of_position) if isolated else "0",
            "initialMargin": money(of_position + of_orders),
            "maintMargin": money(abs(worth) * contract.brackets[0].maintenance),
            "positionInitialMargin": money(of_position),
            "openOrderInitialMargin": money(of_orders),
            "adl": 0 if position.is_flat else 2,
            "bidNotional": money(sums[Side.BUY]),
            "askNotional": money(sums[Side.SELL]),
            "updateTime": self._moved_at(account, symbol),
        }
        if account.hedge:
            flat = row | {"positionAmt": stepped_zero(instrument.lot_size)}
            return [flat | {"positionSide": "LONG"}, flat | {"positionSide": "SHORT"}]
        return [row]

    def _moved_at(self, account: Account, symbol: str) -> int:
        return max((ms(fill.at) for fill in account.fills if fill.symbol == symbol), default=0)

    # -- settings --------------------------------------------------------------------------------------

    def config(self, account: Account, _: Params) -> dict[str, Any]:
        return {
            "feeTier": 0,
            "canTrade": account.may_trade,
            "canDeposit": True,
            "canWithdraw": True,
            "dualSidePosition": account.hedge,
            "updateTime": 0,
            "multiAssetsMargin": self._multi,
            "tradeGroupId": -1,
        }

    def restrictions(self, account: Account, _: Params) -> dict[str, Any]:
        """What the key may do; of the spot host."""
        allowed = ("enableReading", "ipRestrict")
        refused = (
            "enableInternalTransfer",
            "enableMargin",
            "permitsUniversalTransfer",
            "enableVanillaOptions",
        )
        return {
            **dict.fromkeys(allowed, True),
            **dict.fromkeys(refused, False),
            "createTime": 1623840271000,
            "enableFutures": account.may_trade,
            "enableSpotAndMarginTrading": account.may_trade,
            "enablePortfolioMarginTrading": False,
            "enableWithdrawals": account.may_withdraw,
        }

    def symbol_config(self, account: Account, params: Params) -> list[dict[str, Any]]:
        return [
            {
                "symbol": contract.name,
                "marginType": self.desk.margin_type(account, contract),
                "isAutoAddMargin": False,
                "leverage": int(account.leverage(contract.listing.symbol)),
                "maxNotionalValue": plain(contract.most_at(account.leverage(contract.listing.symbol))),
            }
            for contract in self.desk.wanted(params)
        ]

    def brackets(self, _: Account, params: Params) -> list[dict[str, Any]]:
        return [
            {"symbol": contract.name, "notionalCoef": 1, "brackets": contract.bracket_rows()}
            for contract in self.desk.wanted(params)
        ]

    def commission(self, _: Account, params: Params) -> dict[str, Any]:
        fees = self.desk.engine.rules.fees
        return {
            "symbol": self.desk.contract(params).name,
            "makerCommissionRate": f"{fees.maker:.6f}",
            "takerCommissionRate": f"{fees.taker:.6f}",
        }

    def dual(self, account: Account, _: Params) -> dict[str, Any]:
        return {"dualSidePosition": account.hedge}

    def set_dual(self, account: Account, params: Params) -> dict[str, Any]:
        params.text("dualSidePosition")
        _changed(lambda: account.set_hedge(params.flag("dualSidePosition")), _OF_SIDES)
        return done()

    def set_leverage(self, account: Account, params: Params) -> dict[str, Any]:
        contract = self.desk.contract(params)
        symbol, leverage = contract.listing.symbol, params.whole("leverage")
        if leverage is None:
            raise missing("leverage")
        held = account.position(symbol)
        if not 1 <= leverage <= contract.listing.max_leverage:
            raise Wrong(-4028, f"Leverage {leverage} is not valid")
        lower = leverage < account.leverage(symbol)
        if lower and not held.is_flat and self.desk.margin_type(account, contract) == "ISOLATED":
            raise Wrong(-4161)
        most = contract.most_at(Decimal(leverage))
        if abs(held.quantity) * self.desk.engine.price(symbol) > most:
            raise Wrong(-2027)
        _changed(lambda: account.set_leverage(symbol, Decimal(leverage)), {Kind.MARGIN: -2028})
        return {"leverage": leverage, "maxNotionalValue": plain(most), "symbol": contract.name}

    def set_margin_type(self, account: Account, params: Params) -> dict[str, Any]:
        contract = self.desk.contract(params)
        wanted = params.choice("marginType", ("ISOLATED", "CROSSED"), -1130)
        if wanted == self.desk.margin_type(account, contract):
            raise Wrong(-4046)
        if account.orders(contract.listing.symbol, open=True):
            raise Wrong(-4047)
        if not account.position(contract.listing.symbol).is_flat:
            raise Wrong(-4048)
        self.desk.margin_types[(account.key, contract.name)] = wanted
        return done()

    # -- what happened ---------------------------------------------------------------------------------

    def trades(self, account: Account, params: Params) -> list[dict[str, Any]]:
        contract = self.desk.contract(params)
        order_id, since = params.whole("orderId"), params.whole("fromId")
        if since is not None:
            params.forbid("startTime", "endTime")
        oldest = self.desk.engine.now() - _KEPT
        fills = [
            fill
            for fill in account.fills
            if fill.symbol == contract.listing.symbol
            and order_id in (None, fill.order_id)
            and fill.at >= oldest
        ]
        if since is not None:
            page = [fill for fill in fills if fill.id >= since][: params.limit(500, 1000)]
        else:
            page = self.desk.page(params, fills, _filled_at, default=500, most=1000)
        return [self._trade(contract, fill) for fill in page]

    def _trade(self, contract: Contract, fill: Fill) -> dict[str, Any]:
        instrument = contract.instrument
        return {
            "symbol": contract.name,
            "id": fill.id,
            "orderId": fill.order_id,
            "side": fill.side.value,
            "positionSide": "BOTH",
            "price": stepped(fill.price, instrument.tick_size),
            "qty": stepped(fill.quantity, instrument.lot_size),
            "quoteQty": plain(fill.price * fill.quantity),
            "realizedPnl": money(fill.realised),
            "commission": money(fill.fee),
            "commissionAsset": instrument.quote,
            "maker": fill.maker,
            "buyer": fill.side is Side.BUY,
            "time": ms(fill.at),
        }

    def income(self, account: Account, params: Params) -> list[dict[str, Any]]:
        names = {contract.listing.symbol: contract.name for contract in self.desk.wanted(params)}
        now = self.desk.engine.now()
        start = from_ms(params.whole("startTime", ms(now - WEEK)) or 0)
        end = from_ms(params.whole("endTime", ms(now)) or 0)
        wanted = params.text("incomeType") if "incomeType" in params else None
        rows = [
            {
                "symbol": names[fill.symbol],
                "incomeType": kind,
                "income": money(amount),
                "asset": "USDT",
                "info": str(fill.id),
                "time": ms(fill.at),
                "tranId": fill.id * 10 + number,
                "tradeId": str(fill.id),
            }
            for fill in account.fills
            if fill.symbol in names and max(start, now - _KEPT) <= fill.at <= end
            for number, (kind, amount) in enumerate(
                (("COMMISSION", -fill.fee), ("REALIZED_PNL", fill.realised))
            )
            if amount and wanted in (None, kind)
        ]
        return rows[: params.limit(100, 1000)]

    def order_limits(self, _: Account, __: Params) -> list[dict[str, Any]]:
        counts = self.desk.order_counts()
        return [
            {"rateLimitType": "ORDERS", "interval": interval, "intervalNum": number, "limit": most}
            | {"count": counts.get(name, 0)}
            for name, interval, number, most in (
                ("10S", "SECOND", 10, ORDERS_IN_10_S),
                ("1M", "MINUTE", 1, ORDERS_A_MINUTE),
            )
        ]


def stepped_zero(step: Decimal) -> str:
    """A position's nothing: "0.000"."""
    return format(ZERO.quantize(step), "f")


_OF_ACCOUNT = (
    "symbol",
    "positionSide",
    "positionAmt",
    "isolatedMargin",
    "notional",
    "isolatedWallet",
    "initialMargin",
    "maintMargin",
    "updateTime",
)

_OF_SIDES = {Kind.NOT_MODIFIED: -4059, Kind.ORDERS_OPEN: -4067, Kind.POSITION_OPEN: -4068}

_COIN_POSITION = {
    "symbol": "BTCUSD_PERP",
    "pair": "BTCUSD",
    "positionSide": "BOTH",
    "positionAmt": "3",
    "entryPrice": "60500.0",
    "breakEvenPrice": "60530.2",
    "markPrice": "61000.00000000",
    "unRealizedProfit": "0.00004065",
    "liquidationPrice": "0",
    "isolatedMargin": "0",
    "notional": "0.00491803",
    "marginAsset": "BTC",
    "isolatedWallet": "0",
    "initialMargin": "0.00024590",
    "maintMargin": "0.00001967",
    "positionInitialMargin": "0.00024590",
    "openOrderInitialMargin": "0",
    "adl": 2,
    "bidNotional": "0",
    "askNotional": "0",
    "updateTime": 1767225600000,
}


def _changed(act: Any, codes: dict[Kind, int]) -> None:
    """Does it, and says a refusal of it with these codes."""
    try:
        act()
    except Refusal as refusal:
        if refusal.kind not in codes:
            raise
        raise Wrong(codes[refusal.kind]) from None


def _filled_at(fill: Fill) -> datetime:
    return fill.at
