"""Sessions of the dashboard: a random token for the browser, its digest in the database.

A session ends with its time, with a logout, in every process at once, and when the password changes. Never
stores a token, nor anything from which the password could be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from store import Store, sessions

LIFETIME = timedelta(days=7)
#: More than a token that we made ever has.
_LONGEST = 128


class Sessions:
    """Opens, knows and closes sessions. Every method may raise StoreUnavailable."""

    def __init__(self, store: Store, password: str | None, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._password = password
        self._clock = clock

    def open(self) -> str:
        """A new session's token. Only for whom the password has let in."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._store.write() as tx:
            sessions.add(tx, digest=_digest(token), mark=self._mark(token), until=now + LIFETIME, now=now)
        return token

    def knows(self, token: str | None) -> bool:
        """Whether a token belongs to a session that goes on."""
        if not token or len(token) > _LONGEST or not self._password:
            return False
        with self._store.read() as tx:
            mark = sessions.mark_of(tx, digest=_digest(token), now=self._clock())
        return mark is not None and hmac.compare_digest(mark, self._mark(token))

    def close(self, token: str) -> None:
        """Ends a session."""
        with self._store.write() as tx:
            sessions.drop(tx, digest=_digest(token))

    def _mark(self, token: str) -> str:
        """Ties a session to the password: keyed with the token, which the database does not have."""
        return hmac.new(token.encode(), (self._password or "").encode(), hashlib.sha256).hexdigest()


def form_key(token: str) -> str:
    """What a form of this session has to bring along, so that no other site's page can send it."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
