"""Raw body -> stored Alert and Intent: the only door in, for the web and for Discord alike.

Says yes only to what is committed, and 5xx only to what is not: TradingView sends those again. Never
trades, never talks to a venue, and never stores or logs a passphrase.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from desk.gate import LIMIT, Gate, matches
from desk.logs import about
from desk.settings import Settings
from desk.stages import mark
from store import Store, Transaction, journal, outbox, recording, views
from store.recording import Incoming
from store.words import storable
from trading.alert import Body, decode, parse, scrub
from trading.body import NOT_LET_IN
from trading.errors import AlertInvalid, CommitInDoubt, StoreUnavailable
from trading.model import Alert, AlertKind, IntentStatus, Route, Source

#: The four addresses that TradingView publishes.
TRADINGVIEW_ADDRESSES = frozenset({"52.89.214.238", "34.212.75.30", "54.218.53.128", "52.32.178.7"})

PAPER = "PAPER"
#: Of an alert that is told and not traded.
ASKS_FOR_NOTHING = "asks for nothing: the targets rest on the venue already"

_LOCKED = "too many wrong passphrases from this address; wait ten minutes"
_UNSTORED = "it could not be stored and will not be traded; send it again"
_IN_DOUBT = "whether it was stored is not known; send it again, at once: the same alert is traded once"
_LONGEST_REASON = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the sender is told: an HTTP status and a JSON object."""

    code: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Came:
    """A body that was read, what it means, and the alert that is to be stored; None where it is turned down.

    `is_known` says that its address is never locked out.
    """

    body: Body
    meant: Alert | AlertInvalid
    alert: Incoming | None
    route: Route
    now: datetime
    address: str = ""
    is_known: bool = True

    @property
    def place(self) -> tuple[str, ...]:
        """What it locks: a lane in the order of all who lock several; before them the count of an address."""
        if self.alert is None:
            return ("", self.address)
        lane = self.alert.lane
        return (lane.venue, lane.account, lane.symbol)


class Intake:
    """The door. `exchanges` are the names that an alert may say; `wake` is called after each commit."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
        *,
        exchanges: Collection[str],
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._wake = wake
        self._exchanges = exchanges
        self._gate = Gate()
        self._scoped = {
            name: account.passphrases for name, account in settings.accounts.items() if account.passphrases
        }

    def receive(self, raw: bytes, *, route: Route, address: str, paper: bool = False) -> Answer:
        """Takes one body that came over the web from `address`; never raises.

        `paper` simulates it, whatever LIVE_TRADING says.
        """
        return self._guarded(lambda: self._receive(raw, route, address, paper))

    def submit(self, raw: bytes, *, by: str) -> Answer:
        """Takes a command that `by` gave in Discord, spelt as an alert; never raises.

        Who may command takes the passphrase's place: one that stands in it is thrown away unread.
        """
        return self._guarded(lambda: self._submit(raw, by))

    def _guarded(self, take: Callable[[], Answer]) -> Answer:
        try:
            answer = take()
        except StoreUnavailable as error:
            _log.error("an alert was not stored: %s", error)
            return refused(503, _IN_DOUBT if isinstance(error, CommitInDoubt) else _UNSTORED)
        except Exception:  # noqa: BLE001  # whatever it was, nothing is stored: the sender keeps it and asks again
            _log.exception("an alert was not stored")
            return refused(503, _UNSTORED)
        if answer.code == 202:
            mark("stored")
            self._wake_runner()
        return answer

    def _receive(self, raw: bytes, route: Route, address: str, paper: bool) -> Answer:
        now = self._clock()
        known = address in TRADINGVIEW_ADDRESSES
        if not known and self._gate.remembers(address, now):
            return refused(429, _LOCKED)
        try:
            body = decode(raw)
        except AlertInvalid as error:
            return self._unreadable(raw, error, route, address, now)
        accounts = self._accounts_of(body.passphrase)
        if accounts is not None and not accounts:
            return self._unknown(address, now)

        meant, live = self._meant(body, now), not paper
        # An alert for another account is turned down as one without a passphrase is.
        allowed = accounts is None or (isinstance(meant, Alert) and meant.account in accounts)
        alert = self._incoming(body, meant, route, Source.TRADINGVIEW, now, live=live) if allowed else None
        came = _Came(
            body=body, meant=meant, alert=alert, route=route, now=now, address=address, is_known=known
        )
        return self._proved(came, lambda: self._store.shared_writes(self._take_all, came, came.place))

    def _accounts_of(self, passphrase: str | None) -> Collection[str] | None:
        """The accounts whose alerts a passphrase is good for; None: all. Each is compared, whichever fits."""
        everywhere = matches(passphrase, self._settings.passphrases)
        scoped = {name for name, theirs in self._scoped.items() if matches(passphrase, theirs)}
        return None if everywhere else scoped

    def _submit(self, raw: bytes, by: str) -> Answer:
        try:
            body = decode(raw)
        except AlertInvalid as error:
            return refused(error.code, error.reason, field=error.field, mend=error.mend)
        now = self._clock()
        meant, route = self._meant(body, now), Route.DISCORD
        alert = self._incoming(body, meant, route, Source.DISCORD, now)
        came = _Came(body=body, meant=meant, alert=alert, route=route, now=now)
        return self._proved(came, lambda: self._command(came, by))

    def _command(self, came: _Came, by: str) -> Answer:
        with self._store.write() as tx:
            (answer,) = self._take_all(tx, [came])
            if answer.code < 300:
                journal.tell(tx, str(answer.body["alert_id"]), "commanded", f"by {storable(by)}", came.now)
            return answer

    def _proved(self, came: _Came, take: Callable[[], Answer]) -> Answer:
        """What `take` answers. Where its commit is in doubt, an alert that is there all the same is one that
        was stored: it must not be sent again.
        """
        try:
            return take()
        except CommitInDoubt:
            with suppress(StoreUnavailable):
                if came.alert is not None and self._is_there(came.alert):
                    return _stored_now(came.alert)
            raise

    def _is_there(self, alert: Incoming) -> bool:
        with self._store.read() as tx:
            return views.intent_status(tx, alert.alert_id) is not None

    def _meant(self, body: Body, now: datetime) -> Alert | AlertInvalid:
        """What a body asks for, or why it asks for nothing."""
        try:
            return parse(
                body,
                default_subaccount=self._settings.default_subaccount,
                exchanges=self._exchanges,
                received_at=now,
            )
        except AlertInvalid as error:
            return error

    def _incoming(
        self,
        body: Body,
        meant: Alert | AlertInvalid,
        route: Route,
        source: Source,
        now: datetime,
        *,
        live: bool = True,
    ) -> Incoming | None:
        if isinstance(meant, AlertInvalid):
            return None
        told = meant.kind is AlertKind.TOLD
        action = body.fields.get("action")
        return Incoming(
            alert=meant,
            alert_id=new_id(now),
            body=body.text,
            action=action if isinstance(action, str) else None,
            route=route,
            source=source,
            venue=venue_of(meant.exchange, live=live and self._settings.live_trading),
            received_at=now,
            status=IntentStatus.IGNORED if told else IntentStatus.RECEIVED,
            reason=ASKS_FOR_NOTHING if told else "",
        )

    def _take_all(self, tx: Transaction, came: Sequence[_Came]) -> list[Answer]:
        """What one after the other would be told. Stored together are those between which nobody is turned
        down.
        """
        answers: list[Answer] = []
        together: list[tuple[_Came, Incoming]] = []
        for each in came:
            if each.alert is not None:
                together.append((each, each.alert))
                continue
            answers += self._store_all(tx, together)
            together = []
            answers.append(self._turn_down(tx, each))
        return answers + self._store_all(tx, together)

    def _turn_down(self, tx: Transaction, came: _Came) -> Answer:
        if self._are_locked(tx, [came])[0]:
            return refused(429, _LOCKED)
        if isinstance(came.meant, AlertInvalid):
            return self._refuse(tx, came.body.text, came.meant, came.route, came.now)
        _log.warning("an alert for account %s came with the passphrase of another", came.meant.account)
        self._gate.fail(tx, came.address, came.now)
        return refused(401, NOT_LET_IN)

    def _store_all(self, tx: Transaction, together: Sequence[tuple[_Came, Incoming]]) -> list[Answer]:
        locked = self._are_locked(tx, [came for came, _ in together])
        let_in = [alert for (_, alert), out in zip(together, locked, strict=True) if not out]
        before = dict(zip((alert.alert_id for alert in let_in), recording.take_keys(tx, let_in), strict=True))
        answers: list[Answer] = []
        new: list[Incoming] = []
        for (came, alert), out in zip(together, locked, strict=True):
            if out:
                answers.append(refused(429, _LOCKED))
                continue
            first = before[alert.alert_id]
            if first is None:
                new.append(alert)
                answers.append(_stored_now(alert))
            elif first.is_same:
                with about(first.alert_id):
                    _log.info("came again")
                answers.append(_stored(200, "this alert was stored before", first.alert_id, "duplicate"))
            else:
                self._write(tx, new)  # the story of the first one goes on after theirs
                new = []
                answers.append(self._conflict(tx, came, alert, first.alert_id))
        self._write(tx, new)
        return answers

    def _write(self, tx: Transaction, new: Sequence[Incoming]) -> None:
        recording.write(tx, new)
        for each in new:
            with about(each.alert_id):
                _log.info("stored: %s %s", each.alert.message, each.alert.symbol)

    def _are_locked(self, tx: Transaction, came: Sequence[_Came]) -> list[bool]:
        """Whether the address is locked that each came from."""
        guessers = [(each.address, each.now) for each in came if not each.is_known]
        locked = iter(self._gate.are_locked(tx, guessers))
        return [not each.is_known and next(locked) for each in came]

    def _unreadable(
        self, raw: bytes, error: AlertInvalid, route: Route, address: str, now: datetime
    ) -> Answer:
        text = scrub(raw, self._settings.every_passphrase)
        # Who names a good passphrase wants to know what is wrong; a stranger's noise stays quiet.
        ours = any(secret.encode() in raw for secret in self._settings.every_passphrase)
        passes = ours and address in TRADINGVIEW_ADDRESSES
        with self._store.write() as tx:
            if not passes and self._gate.is_locked(tx, address, now):
                return refused(429, _LOCKED)
            if ours:
                return self._refuse(tx, text, error, route, now)
            self._keep(tx, text, error, route, now)
        return refused(error.code, error.reason, field=error.field, mend=error.mend)

    def _unknown(self, address: str, now: datetime) -> Answer:
        if self._gate.remembers(address, now):
            return refused(429, _LOCKED)
        with self._store.write() as tx:
            if self._gate.is_locked(tx, address, now):
                return refused(429, _LOCKED)
            count = self._gate.fail(tx, address, now)
        if count > LIMIT:  # others failed meanwhile, and were counted first
            return refused(429, _LOCKED)
        _log.warning("wrong or missing passphrase from %s, number %d", address, count)
        return refused(401, NOT_LET_IN)

    def _refuse(self, tx: Transaction, text: str, error: AlertInvalid, route: Route, now: datetime) -> Answer:
        self._keep(tx, text, error, route, now)
        mend = f". {error.mend[0].upper()}{error.mend[1:]}" if error.mend else ""
        said = storable(f"An alert was refused and not traded. {error}{mend}"[:_LONGEST_REASON])
        outbox.notify(tx, kind="refused", text=said, alert_id=None, now=now)
        return refused(error.code, error.reason, field=error.field, mend=error.mend)

    def _conflict(self, tx: Transaction, came: _Came, alert: Incoming, first: str) -> Answer:
        reason = f"the id {alert.alert.key} was used before by alert {first} with another body; not traded"
        error = AlertInvalid(reason, field="id", code=409)
        if not views.was_refused(tx, code=409, body=storable(came.body.text)):
            self._refuse(tx, came.body.text, error, came.route, came.now)
            journal.tell(tx, first, "conflict", "its id came again with another body; not traded", came.now)
        return Answer(code=409, body={"success": False, "message": reason, "field": "id", "alert_id": first})

    def _keep(self, tx: Transaction, text: str, error: AlertInvalid, route: Route, now: datetime) -> None:
        reason = storable(error.reason[:_LONGEST_REASON])
        _log.warning("refused with %d: %s", error.code, reason)
        journal.refuse(
            tx,
            at=now,
            route=route.value,
            code=error.code,
            field=None if error.field is None else storable(error.field),
            reason=reason,
            body=storable(text),
        )

    def _wake_runner(self) -> None:
        try:
            self._wake()
        except Exception:  # noqa: BLE001  # the alert is stored: this must not become a 5xx
            _log.exception("the runner could not be woken; it will find the alert by itself")


def new_id(now: datetime) -> str:
    """A fresh alert id: 12 hex digits of milliseconds since 1970, 8 of chance."""
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(4)}"


def venue_of(exchange: str, *, live: bool) -> str:
    """The place where an alert's exchange trades: simulated (PAPER:…) unless live."""
    name = exchange.upper()
    return name if live and name != PAPER else f"{PAPER}:{name}"


def is_paper(venue: str) -> bool:
    """Whether nothing is real there."""
    return venue.partition(":")[0] == PAPER


def refused(code: int, message: str, *, field: str | None = None, mend: str = "") -> Answer:
    """A no, with the field that caused it where one did, and what to write instead."""
    body: dict[str, object] = {"success": False, "message": message}
    if field is not None:
        body["field"] = field
    if mend:
        body["mend"] = mend
    return Answer(code=code, body=body)


def _stored_now(alert: Incoming) -> Answer:
    if alert.status is IntentStatus.IGNORED:
        return _stored(200, "stored; it asks for nothing", alert.alert_id, "ignored")
    return _stored(202, "stored, will be handled", alert.alert_id, alert.status.value)


def _stored(code: int, message: str, alert_id: str, status: str) -> Answer:
    return Answer(
        code=code, body={"success": True, "message": message, "alert_id": alert_id, "status": status}
    )
