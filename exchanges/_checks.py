"""What the check of an account says alike at every venue: its clock, and what kept the check from its end.

It must never ask anybody anything, nor call a refusal one of the key's that is none.
"""

from __future__ import annotations

from datetime import timedelta

from exchanges import Finding
from exchanges._http import Host
from trading.errors import BadCredentials, StaleRequest, Throttled, VenueError

#: How far a clock may be off without a word on it.
_NEAR = timedelta(seconds=1)
_NTP = "let NTP set this machine's clock"


def clock(host: Host) -> Finding:
    """How far this machine's clock is from the host's, as far as that was learnt."""
    offset = host.now() - host.clock()
    way = "behind" if offset > timedelta() else "ahead"
    text = f"this machine's clock is {abs(offset).total_seconds():.3f} s {way}, which is made up for"
    return Finding(fatal=False, text=text, mend=_NTP if abs(offset) > _NEAR else "")


def trouble(error: VenueError, *, key: str) -> Finding:
    """What put an end to a check; its mend follows from what the error proves, `key` from a refused key."""
    if isinstance(error, BadCredentials):
        mend = key
    elif isinstance(error, StaleRequest):
        mend = f"{_NTP}: the venue takes what it dates for old, or to come"
    elif isinstance(error, Throttled):
        mend = f"run this again in {error.after.total_seconds():.0f} s"
    else:
        mend = f"check the network, the venue's status page, and {error.venue}_API_URL if it is set"
    return Finding(fatal=True, text=str(error), mend=mend)
