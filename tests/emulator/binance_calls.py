"""What the nouns of the emulated Binance share: how a call is described, flags, contracts, order notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from tests.emulator.binance_rules import NOT_TRADED, Contract
from tests.emulator.binance_words import Params, Wrong, from_ms
from tests.emulator.engine import Account, Engine, Record

T = TypeVar("T")

WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Where the venue's documents leave a question open; each default is the harder answer,
    but for `early_reduce_only`, `percent_both_ways`, `lag`: there the documents lean to the milder one.

    `strict_parameters`: what nobody reads is refused (-1104). `encoded_only`: what is not
    percent-encoded is refused (-1022), as spot does since 2026. `reduce_only_sum`: resting reduce-only
    orders count against the position (-4118). `reduce_only_trims`: one that is larger than the position
    is cut to it; otherwise it is refused (-2022).
    `early_reduce_only`: a reduce-only stop may be placed before there is a position.
    `percent_both_ways`: PERCENT_PRICE bounds each side up and down; otherwise a BUY above and a SELL below.
    `algo_ids_for_ever`: a clientAlgoId is never free again. `algo_gone`: what cancelling an unknown algo
    order says. `trigger_code`: -2021 or -4142. `triggered_keeps_id`: the order that an algo order makes
    has the clientAlgoId as its clientOrderId. `coin_margined`: lists hold coin-margined rows too.
    `whole_answers`: avgPrice and cumQuote are still in the answers to POST, PUT and DELETE.
    `unknown`: "503", "-1006" or "-1007". `lag`: for so long a new order is not found by its id.
    """

    strict_parameters: bool = True
    encoded_only: bool = True
    reduce_only_sum: bool = True
    reduce_only_trims: bool = False
    early_reduce_only: bool = True
    percent_both_ways: bool = False
    algo_ids_for_ever: bool = True
    algo_gone: int = -2013
    trigger_code: int = -2021
    triggered_keeps_id: bool = False
    coin_margined: bool = True
    whole_answers: bool = False
    unknown: str = "503"
    lag: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One method and path: who answers, what it costs, which parameters are read."""

    answer: Callable[[Any, Params], Any]
    names: frozenset[str]
    cost: int | Callable[[Params], int] = 1
    signed: bool = True
    trade: bool = False
    orders: int = 0

    def weight(self, params: Params) -> int:
        return self.cost(params) if callable(self.cost) else self.cost


def call(
    answer: Callable[[Any, Params], Any],
    names: str = "",
    cost: int | Callable[[Params], int] = 1,
    **more: Any,
) -> Call:
    return Call(answer=answer, names=frozenset(names.split()), cost=cost, **more)


def with_symbol(cheap: int, dear: int) -> Callable[[Params], int]:
    """A call that costs more without a symbol."""
    return lambda params: cheap if "symbol" in params else dear


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the venue keeps of an order and the engine has no word for."""

    time_in_force: str = "GTC"
    order_type: str = ""
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    prevention: str = "EXPIRE_MAKER"


@dataclass(slots=True)
class Desk:
    """The engine with all that the nouns share."""

    engine: Engine
    flags: Flags
    contracts: dict[str, Contract]
    notes: dict[int, Note] = field(default_factory=dict)
    margin_types: dict[tuple[str, str], str] = field(default_factory=dict)
    order_counts: Callable[[], dict[str, int]] = dict

    def contract(self, params: Params) -> Contract:
        """The one that `symbol` names."""
        name = params.text("symbol")
        if name not in self.contracts:
            raise Wrong(NOT_TRADED.get(name, -1121) if "side" in params else -1121)
        return self.contracts[name]

    def contract_of(self, symbol: str) -> Contract:
        """By the house's spelling."""
        return self.contracts[self.engine.listing(symbol).venue_symbol]

    def wanted(self, params: Params) -> list[Contract]:
        """The one that is asked for, or all."""
        return [self.contract(params)] if "symbol" in params else list(self.contracts.values())

    def note(self, record: Record) -> Note:
        return self.notes.get(record.id, Note())

    def margin_type(self, account: Account, contract: Contract) -> str:
        return self.margin_types.get((account.key, contract.name), "CROSSED")

    def is_forgotten(self, record: Record) -> bool:
        """Old orders are not found: unfilled ones that ended after 3 days, all after 90."""
        age = self.engine.now() - record.created_at
        unfilled = not record.is_open and not record.filled and record.triggered_order_id is None
        return age > timedelta(days=90) or (unfilled and age > timedelta(days=3)) or age < self.flags.lag

    def page(
        self, params: Params, rows: Sequence[T], at: Callable[[T], datetime], *, default: int, most: int
    ) -> list[T]:
        """Of rows that are oldest first, those of the time asked for (the last week, at most a week).

        From a startTime on the oldest, otherwise the newest; oldest first.
        """
        limit = params.limit(default, most)
        start_ms, end_ms = params.whole("startTime"), params.whole("endTime")
        start = None if start_ms is None else from_ms(start_ms)
        end = None if end_ms is None else from_ms(end_ms)
        if start is not None and end is not None and not timedelta() <= end - start <= WEEK:
            raise Wrong(-4165)
        first = start or (end or self.engine.now()) - WEEK
        last = end or first + WEEK
        within = [row for row in rows if first <= at(row) <= last]
        return within[:limit] if start is not None else within[-limit:]


def made_at(record: Record) -> datetime:
    return record.created_at


def notional(record: Record) -> Decimal:
    """What its fills cost."""
    return record.filled * (record.average or Decimal(0))
