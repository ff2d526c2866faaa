"""Works of any kind in one commit: what the door does for alerts alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from store import Store, Transaction

T = TypeVar("T")


def shared_write(store: Store, work: Callable[[Transaction], T], place: tuple[str, ...] = ()) -> T:
    """`work` in company of the works that other threads bring meanwhile; `place` names the rows it locks."""
    return store.shared_writes(_each, work, place)


def _each(tx: Transaction, works: Sequence[Callable[[Transaction], T]]) -> list[T]:
    return [work(tx) for work in works]
