"""The paper venue's bench of the contract suite: a real database, brought into each state in steps.

A step is a verb and what it acts on: place, cancel (an act's order), price, liquidity, wait (seconds), break.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from exchanges import Exchange
from exchanges.paper import PaperExchange, PaperLedger, observe
from store import Store, paper
from store.paper import SqlPaperLedger
from tests.exchanges.contract import NOW, Clock, Fixture, resting
from trading.errors import StoreUnavailable


class PaperBench:
    """The paper venue on its database: what a fixture asks for is done in steps."""

    def __init__(self, fixture: Fixture, clock: Clock, store: Store) -> None:
        self.fixture, self.clock = fixture, clock
        clock.set(NOW)
        self._store = store
        self._ledger = _Ledger(SqlPaperLedger(store))
        self.exchange: Exchange = PaperExchange(
            venue=fixture["venue"],
            account="MAIN",
            ledger=self._ledger,
            clock=clock,
            starting_balance=Decimal(fixture["starting_balance"]),
        )
        self._step("price", "61000")

    def state(self, name: str) -> None:
        self._steps(self.fixture["states"][name])

    def arrange(self, case: Mapping[str, Any]) -> None:
        self._steps(case.get("steps", ()))

    def refuse(self, refusal: Mapping[str, Any]) -> None:
        self.arrange(refusal)

    def forget(self) -> None:
        """Nothing is sent."""

    def verify(self, act: str) -> None:
        """What rests afterwards, where the fixture says it."""
        left = self.fixture["acts"][act].get("left")
        if left is not None:
            assert sorted(map(str, resting(self))) == sorted(left)

    def writes(self) -> int | None:
        return None

    @contextmanager
    def together(self, act: str) -> Iterator[None]:
        """One transaction is one act."""
        yield

    def fault(self, kind: str, act: str) -> None:
        self._step("break", "")

    def _steps(self, steps: Sequence[Sequence[str]]) -> None:
        for verb, what in steps:
            self._step(verb, what)

    def _step(self, verb: str, what: str) -> None:
        symbol, now = self.fixture.symbol, self.clock()
        if verb == "place":
            self.exchange.place(self.fixture.order(what), signed_at=now)
        elif verb == "cancel":
            self.exchange.cancel(self.fixture.order(what))
        elif verb == "price":
            observe(self._ledger, symbol=symbol, price=Decimal(what), at=now)
        elif verb == "liquidity":
            with self._store.write() as tx:
                paper.set_liquidity(tx, symbol=symbol, quantity=Decimal(what), now=now)
        elif verb == "wait":
            self.clock.advance(float(what))
        else:
            assert verb == "break", f"no such step: {verb}"
            self._ledger.broken = True


class _Ledger:
    """The real ledger until it is `broken`: then the database is gone."""

    def __init__(self, ledger: PaperLedger) -> None:
        self._ledger = ledger
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        if self.broken:
            raise StoreUnavailable("the database is gone")
        return getattr(self._ledger, name)
