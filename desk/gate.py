"""Who may come in: secrets compared in constant time, and a lock-out for those who guess.

Failures are counted in the database, so that all processes count together; once an address is locked,
the process remembers it until the window ends and asks nothing. Never tells which part of a secret was
wrong, and never keeps a secret or more than MEMORY addresses.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from threading import Lock

from store import Store, Transaction, lockout, views

LIMIT = 10
WINDOW = timedelta(minutes=10)
MEMORY = 4096


def matches(given: str | None, good: Iterable[str]) -> bool:
    """Whether `given` is one of `good`; the time it takes depends on the number of `good` alone."""
    mine = _digest("" if given is None else given)
    found = False
    for secret in good:
        found |= hmac.compare_digest(mine, _digest(secret))
    return found and given is not None


class Gate:
    """Counts failures by address: LIMIT within WINDOW lock it until the window ends."""

    def __init__(self) -> None:
        self._locked: dict[str, datetime] = {}
        self._lock = Lock()

    def remembers(self, address: str, now: datetime) -> bool:
        """Whether this process knows, without asking, that the address is locked."""
        with self._lock:
            until = self._locked.get(address)
            if until is not None and until <= now:
                del self._locked[address]
            return until is not None and until > now

    def is_locked(self, tx: Transaction, address: str, now: datetime) -> bool:
        """Whether the address is locked, by the database's count."""
        return self.are_locked(tx, [(address, now)])[0]

    def are_locked(self, tx: Transaction, came: Sequence[tuple[str, datetime]]) -> list[bool]:
        """The same for each address at its time, with a question for each address."""
        locked = [count >= LIMIT for count in lockout.all_failures(tx, came, window=WINDOW)]
        for address, now in itertools.compress(came, locked):
            self._remember(tx, address, now)
        return locked

    def fail(self, tx: Transaction, address: str, now: datetime) -> int:
        """Counts one failure; the number within the window, this one included."""
        count = lockout.fail(tx, address, now=now, window=WINDOW)
        if count == 1:
            lockout.prune(tx, now - WINDOW)
        if count >= LIMIT:
            self._remember(tx, address, now)
        return count

    def _remember(self, tx: Transaction, address: str, now: datetime) -> None:
        until = (views.failing_since(tx, address) or now) + WINDOW
        with self._lock:
            self._locked.pop(address, None)
            if len(self._locked) >= MEMORY:
                del self._locked[next(iter(self._locked))]
            self._locked[address] = until


class Admission(Enum):
    """What a login comes to."""

    IN = "in"
    CLOSED = "closed"
    WRONG = "wrong"
    LOCKED = "locked"


class Login:
    """The dashboard's password. Its failures are counted apart from those of the alerts."""

    def __init__(self, store: Store, password: str | None, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._password = password
        self._clock = clock
        self._gate = Gate()

    def admit(self, given: str | None, address: str) -> Admission:
        """Judges one request; None means that it brought no password, which is not a guess.

        Raises StoreUnavailable.
        """
        if not self._password:
            return Admission.CLOSED
        now = self._clock()
        name = f"web:{address}"
        if self._gate.remembers(name, now):
            return Admission.LOCKED
        right = matches(given, (self._password,))
        with self._store.write() if given is not None and not right else self._store.read() as tx:
            if self._gate.is_locked(tx, name, now):
                return Admission.LOCKED
            if given is not None and not right:
                self._gate.fail(tx, name, now)
        return Admission.IN if right else Admission.WRONG


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
