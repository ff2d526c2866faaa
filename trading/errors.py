"""The error tree. A branch is the caller's next move; a test compares this drawing with the classes.

DeskError
├─ SettingsError
├─ AlertInvalid
├─ Denied
├─ StoreUnavailable
│  └─ CommitInDoubt
├─ BackupFailed
├─ LostClaim
└─ VenueError
   ├─ Rejected
   │  ├─ InsufficientFunds
   │  ├─ InvalidOrder
   │  ├─ OrderNotFound
   │  ├─ DuplicateOrder
   │  ├─ StaleRequest
   │  └─ BadCredentials
   ├─ Unreachable
   ├─ Throttled
   └─ Ambiguous
"""

from __future__ import annotations

from datetime import timedelta


class DeskError(Exception):
    """Root of everything that this project raises on purpose."""


class SettingsError(DeskError):
    """Stop the process and name the variable."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"{variable}: {reason}")
        self.variable = variable
        self.reason = reason


class AlertInvalid(DeskError):
    """Answer with `code`, keep the body, tell people, never retry.

    `code` is 400 when the body is not JSON, else 422; `field` is the alert's key as
    alertmodel.txt spells it, None for a 400. `mend` says what to write instead.
    """

    def __init__(self, reason: str, *, field: str | None = None, code: int = 422, mend: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason
        self.code = code
        self.mend = mend


class Denied(DeskError):
    """We refuse before anything is sent; the reason says what to change."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StoreUnavailable(DeskError):
    """The database did not take it: nothing was stored, nothing may be acknowledged or sent."""


class CommitInDoubt(StoreUnavailable):
    """The database was lost while it committed: all of it may be stored, or nothing. Look it up."""


class BackupFailed(DeskError):
    """Tell the person and stop: nothing was written under the name that was asked for."""


class LostClaim(DeskError):
    """Another process has taken this lane since: stop at once, send nothing, write nothing."""


class VenueError(DeskError):
    """A venue did not do what was asked; the subclass says what that proves."""

    def __init__(self, venue: str, endpoint: str, message: str, *, code: str | None = None) -> None:
        known = f" [{code}]" if code else ""
        super().__init__(f"{venue} {endpoint}{known}: {message}")
        self.venue = venue
        self.endpoint = endpoint
        self.message = message
        self.code = code


class Rejected(VenueError):
    """The venue proved that it did not accept: nothing of this request exists there."""


class InsufficientFunds(Rejected):
    """Not enough margin or balance."""


class InvalidOrder(Rejected):
    """The order breaks one of the venue's rules; the same order will be refused again."""


class OrderNotFound(Rejected):
    """The venue knows no such order (at the moment of the answer)."""


class DuplicateOrder(Rejected):
    """The client order id is taken: look the order up, it may be ours."""


class StaleRequest(Rejected):
    """The request arrived after its receive window; nothing was done."""


class BadCredentials(Rejected):
    """Key, signature, permission or address refused: a person must act."""


class Unreachable(VenueError):
    """Nothing left this machine; sending again is safe."""


class Throttled(VenueError):
    """Refused for rate; wait `after` before the next request."""

    def __init__(
        self,
        venue: str,
        endpoint: str,
        message: str,
        *,
        after: timedelta,
        code: str | None = None,
    ) -> None:
        super().__init__(venue, endpoint, message, code=code)
        self.after = after


class Ambiguous(VenueError):
    """Sent, and no proof of what became of it: leave it SUBMITTED, reconcile, never resend blindly."""
