"""The paper market by hand: `python -m desk.paper price BTC-USDT-PERP 42000`, `… liquidity …`, `… show`.

Moves simulated prices and tells what traded. Never reaches a real venue, and never places an order.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from desk.settings import from_environment
from exchanges.paper import CURRENCY, FEES
from store import Store, journal, open_store, paper
from trading import matching
from trading.errors import AlertInvalid, SettingsError, StoreUnavailable
from trading.matching import Holding, Outcome
from trading.model import Order
from trading.rounding import need_positive
from trading.symbols import symbol_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when it was done, 1 with a reason when it was not, 2 for a wrong command line."""
    asked = _parser().parse_args(arguments)
    try:
        store = open_store(from_environment().database_url)
    except SettingsError as error:
        return _failed(error)
    try:
        lines = _do(store, asked, datetime.now(UTC))
    except StoreUnavailable as error:
        return _failed(error)
    finally:
        store.close()
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m desk.paper", description="The paper market by hand.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    price = commands.add_parser("price", help="set the last price, and let the orders on its way trade")
    price.add_argument("symbol", type=_symbol, help="BTC-USDT-PERP, or as TradingView writes it: BTCUSDT.P")
    price.add_argument("price", type=_amount, help="in the quote currency")
    cap = commands.add_parser("liquidity", help="cap what one act may trade, to see partial fills")
    cap.add_argument("symbol", type=_symbol)
    cap.add_argument("quantity", type=_amount_or_off, help="in the base currency; off takes the cap off")
    commands.add_parser("show", help="prices, and every account with its positions and open orders")
    return parser


def _symbol(text: str) -> str:
    try:
        return symbol_of(text)
    except AlertInvalid as error:
        raise argparse.ArgumentTypeError(error.reason) from None


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
        need_positive(amount=amount)
    except (InvalidOperation, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero, such as 42000") from None
    return amount


def _amount_or_off(text: str) -> Decimal | None:
    return None if text == "off" else _amount(text)


def _do(store: Store, asked: argparse.Namespace, now: datetime) -> list[str]:
    """Does what is asked, and says so once it is committed."""
    if asked.command == "price":
        return _move(store, asked.symbol, asked.price, now)
    if asked.command == "liquidity":
        with store.write() as tx:
            paper.set_liquidity(tx, symbol=asked.symbol, quantity=asked.quantity, now=now)
        cap = "without limit" if asked.quantity is None else f"at most {asked.quantity:f} in one act"
        return [f"{asked.symbol} trades {cap}"]
    return _show(store)


def _move(store: Store, symbol: str, price: Decimal, now: datetime) -> list[str]:
    with store.write() as tx:
        moved = paper.observe(tx, symbol=symbol, price=price, at=now, now=now, fees=FEES)
        journal.wake(tx, symbol=symbol, now=now)
    lines = [f"{symbol} is {price:f}"]
    for venue, account, outcome in moved:
        lines += [f"{venue} {account}: {line}" for line in _trades(outcome)]
    return lines


def _show(store: Store) -> list[str]:
    lines = []
    with store.read() as tx:
        for row in paper.prices(tx):
            cap = "" if row.liquidity is None else f", at most {row.liquidity:f} in one act"
            lines.append(f"{row.symbol} {row.price:f} since {row.at:%Y-%m-%d %H:%M:%S} UTC{cap}")
        for account in paper.accounts(tx):
            cash, holdings = account.cash(), account.holdings()
            equity = matching.equity(cash=cash, holdings=holdings)
            free = matching.free_collateral(cash=cash, holdings=holdings)
            lines.append(f"{account.name}: equity {_money(equity)}, free {_money(free)} {CURRENCY}")
            for holding in holdings:
                lines += [f"  {line}" for line in _held(holding)]
    return lines or ["no price is known yet: python -m desk.paper price BTC-USDT-PERP 42000"]


def _held(holding: Holding) -> Iterator[str]:
    position = holding.book.position
    if position.is_flat:
        yield f"{position.symbol} FLAT"
    else:
        average = _money(position.average_price or Decimal(0))
        size = f"{position.direction} {abs(position.quantity):f} at {average}"
        yield f"{position.symbol} {size}, leverage {holding.leverage:f}"
    for order in holding.book.orders:
        yield f"  {_described(order)}"


def _trades(outcome: Outcome) -> Iterator[str]:
    for done in outcome.executions:
        fee = _money(done.fee)
        yield f"{done.client_order_id} {done.side} {done.quantity:f} at {done.price:f}, fee {fee}"
    for order in outcome.changed:
        yield _described(order)


def _described(order: Order) -> str:
    level = order.trigger_price if order.price is None else order.price
    at = "" if level is None else f" at {level:f}"
    left = f"{order.filled_quantity:f} of {order.quantity:f}"
    reason = f" ({order.reason})" if order.reason else ""
    return f"{order.client_order_id} {order.type} {order.side} {left}{at}: {order.status}{reason}"


def _money(amount: Decimal) -> str:
    """To eight digits, without the zeros at the end."""
    text = f"{amount:.8f}"
    return text.rstrip("0").rstrip(".")


def _failed(error: Exception) -> int:
    sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
