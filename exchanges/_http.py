"""The way to a venue: signed requests over kept-alive connections, and what each outcome proves.

A Host is shared by all accounts that talk to it: connections, rate limits, clock, instruments. A Wire is one
account's. They must never send anything twice that may have changed something, follow a redirect, wait
without an end, or let a key, a secret or a signature into an error.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Lock
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import Timeout
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from exchanges._catalogue import Catalogue, Listing
from exchanges._limits import Budget, Limiter
from trading.errors import (
    Ambiguous,
    BadCredentials,
    Rejected,
    StaleRequest,
    Throttled,
    Unreachable,
    VenueError,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

READ_TRIES = 3
#: A reply larger than this is not what was asked for.
LARGEST = 64 * 1024 * 1024
#: How old the offset to a host's clock may grow before an entry learns it anew.
CLOCK_FRESH = timedelta(minutes=10)
_THREADS = 64
_CONNECTIONS = 32
_LONGEST_MESSAGE = 200
#: Of an answer as text: more than is shown, so that a secret is never cut before it is found.
_LONGEST_TEXT = 5 * _LONGEST_MESSAGE
#: Statuses that speak of the address, not of one order.
_WHOLE_HOST = (403, 418, 429)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds: to connect, of silence on the line, and for one request as a whole.

    Together short enough that a position whose entry was answered by nobody still gets its stop in time.
    """

    connect: float = 1.5
    silence: float = 2.0
    total: float = 2.5
    #: Lists of instruments are long.
    long: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request before it is signed. `params` in the order in which they are sent.

    `costs` are what it takes from the host's budgets; `urgent` may use their reserve, `bulky` take longer.
    """

    method: str
    path: str
    params: tuple[tuple[str, Any], ...] = ()
    signed: bool = True
    costs: Mapping[str, int] = field(default_factory=dict)
    urgent: bool = False
    bulky: bool = False

    @property
    def endpoint(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What goes over the wire: the path with its query, the headers, the body, to the byte."""

    target: str
    headers: Mapping[str, str]
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back. `body` is the parsed JSON, amounts as Decimal; None if it was none."""

    status: int
    headers: Mapping[str, str]
    body: Any
    text: str
    request: Request


class Dialect(Protocol):
    """How one account speaks to one host."""

    @property
    def venue(self) -> str: ...

    @property
    def secrets(self) -> Sequence[str]:
        """What no error may show."""

    def seal(self, request: Request, at: datetime) -> Sealed:
        """Signs a request with exactly `at`, or only spells it, if it is public."""

    def judge(self, reply: Reply) -> VenueError | None:
        """What an answer proves if it is no success. None for a success, and where plain HTTP says enough."""

    def heard(self, reply: Reply, limiter: Limiter) -> None:
        """Lets the limiter know what an answer's headers say about the budgets."""

    def clock_request(self) -> Request:
        """The public request that tells the host's clock."""

    def read_clock(self, body: Any) -> datetime:
        """The host's clock out of the answer."""


class Hosts:
    """The hosts of one process, by base URL. `transport` makes what carries the requests."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        *,
        patience: Patience | None = None,
        transport: Callable[[], BaseAdapter] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock = clock
        self._patience = patience or Patience()
        self._transport = transport or _transport
        self._pause = pause
        self._hosts: dict[str, Host] = {}
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="venue")

    def host(self, url: str, budgets: Mapping[str, Budget]) -> Host:
        """The one Host of a base URL; `budgets` count for the first who asks."""
        with self._lock:
            if url not in self._hosts:
                session = requests.Session()
                session.trust_env = False
                session.mount("https://", self._transport())
                session.mount("http://", self._transport())
                limiter = Limiter(budgets, self.clock, self._pause)
                self._hosts[url] = Host(url, session, limiter, self.clock, self._patience, self._pool)
            return self._hosts[url]


class Host:
    """One base URL: connections, limits, clock and instruments, for all accounts that use it."""

    def __init__(
        self,
        url: str,
        session: requests.Session,
        limiter: Limiter,
        clock: Callable[[], datetime],
        patience: Patience,
        pool: ThreadPoolExecutor,
    ) -> None:
        parts = urlsplit(url)
        self.url = f"{parts.scheme}://{parts.netloc}"
        self.limiter = limiter
        self.patience = patience
        self.clock = clock
        self._session = session
        self._pool = pool
        self._offset = timedelta()
        self._learnt_at: datetime | None = None
        self._catalogues: dict[str, Catalogue] = {}
        self._lock = Lock()

    def now(self) -> datetime:
        """The host's clock as far as it is known."""
        return self.clock() + self._offset

    def knows_time(self, age: timedelta | None = None) -> bool:
        """Whether the offset was learnt, within `age` if that is given."""
        learnt = self._learnt_at
        return learnt is not None and (age is None or timedelta() <= self.clock() - learnt < age)

    def learn_time(self, theirs: datetime, sent_at: datetime) -> None:
        """Takes the host's clock, which it told between `sent_at` and now by ours."""
        now = self.clock()
        self._offset, self._learnt_at = theirs - (sent_at + (now - sent_at) / 2), now

    def catalogue(self, venue: str, product: str, load: Callable[[], Iterable[Listing]]) -> Catalogue:
        """The one catalogue of a product; `load` counts for the first who asks."""
        with self._lock:
            if product not in self._catalogues:
                self._catalogues[product] = Catalogue(venue, load, self.clock)
            return self._catalogues[product]

    def together(self, *calls: Callable[[], T]) -> list[T]:
        """The results of calls that go out side by side; all have ended before one's error is raised."""
        # Each in a copy of the caller's context: the alert's id stands on every line of the log.
        waiting = [self._pool.submit(copy_context().run, call) for call in calls[1:]]
        try:
            first = calls[0]()
        finally:
            wait(waiting)
        return [first, *(future.result() for future in waiting)]

    def exchange(self, venue: str, request: Request, sealed: Sealed) -> Reply:
        """Sends a request once and reads its answer. Unreachable: it never left. Ambiguous: no answer."""
        patience = self.patience
        silence, total = (
            (patience.long, patience.long) if request.bulky else (patience.silence, patience.total)
        )
        ends_at = time.monotonic() + total
        try:
            prepared = self._prepared(request, sealed)
            # Not through the session, which would follow and read what a redirect says.
            response = self._session.get_adapter(self.url).send(
                prepared,
                timeout=Timeout(connect=patience.connect, read=silence, total=total),  # type: ignore[arg-type]  # documented
                stream=True,
            )
            try:
                raw = _read(response, ends_at)
            finally:
                response.close()
        except _TooMuch as error:
            raise Ambiguous(venue, request.endpoint, str(error)) from None
        except (requests.exceptions.InvalidHeader, UnicodeError):
            text = "nothing was sent: the key or the subaccount's name holds a character that no header can"
            raise BadCredentials(venue, request.endpoint, text) from None
        except (requests.RequestException, HTTPError, OSError) as error:
            # The exception's own text holds the URL, and that the signature.
            if _never_left(error):
                raise Unreachable(venue, request.endpoint, "no connection could be made") from None
            raise Ambiguous(venue, request.endpoint, f"no answer: {type(error).__name__}") from None
        text = raw.decode("utf-8", "replace")
        return Reply(
            status=response.status_code,
            headers=response.headers,
            body=_parsed(text),
            text=text[:_LONGEST_TEXT],
            request=request,
        )

    def _prepared(self, request: Request, sealed: Sealed) -> requests.PreparedRequest:
        prepared = requests.Request(
            request.method,
            self.url + sealed.target,
            headers={"Accept-Encoding": "gzip, deflate"} | dict(sealed.headers),
            data=sealed.body,
        ).prepare()
        # requests would spell the target in its own way; what was signed is what is sent.
        prepared.url = self.url + sealed.target
        return prepared


class Wire:
    """One account at one host."""

    def __init__(self, host: Host, dialect: Dialect) -> None:
        self.host = host
        self._dialect = dialect

    def read(self, request: Request) -> Any:
        """The answer to a question, asked up to READ_TRIES times; a wrong clock is set right on the way."""
        for _ in range(READ_TRIES - 1):
            try:
                return self._once(request, self.host.now())
            except StaleRequest:
                self.set_clock()
            except (Unreachable, Ambiguous) as error:
                log.warning("asked again: %s", error)
        return self._once(request, self.host.now())

    def write(self, request: Request, *, signed_at: datetime | None = None) -> Any:
        """The answer to something that changes the account: sent once, signed with exactly `signed_at`."""
        try:
            return self._once(request, signed_at or self.host.now())
        except StaleRequest:
            # Nothing was done. Whoever sends it again is to find the right time.
            self._try_clock()
            raise

    def time(self) -> datetime:
        """The host's clock; it is asked only if it is not known yet."""
        if not self.host.knows_time():
            self.set_clock()
        return self.host.now()

    def set_clock(self) -> None:
        """Learns the host's clock."""
        sent_at = self.host.clock()
        body = self._once(self._dialect.clock_request(), sent_at)
        try:
            theirs = self._dialect.read_clock(body)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            text = f"an answer that tells no time: {type(error).__name__}"
            raise Ambiguous(self._dialect.venue, "clock", text) from None
        self.host.learn_time(theirs, sent_at)

    def _try_clock(self) -> None:
        try:
            self.set_clock()
        except VenueError as error:
            log.warning("the venue's clock is not known: %s", error)

    def _once(self, request: Request, at: datetime) -> Any:
        venue = self._dialect.venue
        wait = self.host.limiter.take(request.costs, urgent=request.urgent)
        if wait is not None:
            raise Throttled(venue, request.endpoint, "held back here to keep the venue's limits", after=wait)
        started = time.monotonic()
        reply = self.host.exchange(venue, request, self._dialect.seal(request, at))
        log.debug(
            "%s %s %d in %.0f ms", venue, request.endpoint, reply.status, 1000 * (time.monotonic() - started)
        )
        self._dialect.heard(reply, self.host.limiter)
        error = self._dialect.judge(reply) or _by_status(venue, reply)
        if error is None:
            return reply.body
        error = _redacted(error, self._dialect.secrets)
        if isinstance(error, Throttled) and reply.status in _WHOLE_HOST:
            self.host.limiter.shut(error.after)
        raise error


def plain_number(value: Decimal) -> str:
    """A Decimal as venues take it: plain digits, no exponent.

    >>> plain_number(Decimal("1E-7")), plain_number(Decimal("1E+3"))
    ('0.0000001', '1000')
    """
    return format(value, "f")


class _TooMuch(Exception):
    """An answer that does not end in time, or at all."""


def _transport() -> BaseAdapter:
    # No retries here: a POST whose connection closed may have arrived.
    return HTTPAdapter(pool_connections=4, pool_maxsize=_CONNECTIONS, max_retries=0, pool_block=False)


def _read(response: requests.Response, ends_at: float) -> bytes:
    chunks, size = [], 0
    # read1: what has come, instead of waiting for a whole chunk of an answer that drips.
    while chunk := response.raw.read1(64 * 1024, decode_content=True):
        size += len(chunk)
        if size > LARGEST:
            raise _TooMuch("the answer is too long")
        if time.monotonic() > ends_at:
            raise _TooMuch("the answer does not end")
        chunks.append(chunk)
    return b"".join(chunks)


def _never_left(error: BaseException) -> bool:
    """True if no connection was made, so that nothing can have arrived."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    if not isinstance(error, requests.ConnectionError):
        return False
    cause = getattr(error.args[0] if error.args else None, "reason", None)
    # Of the errors of TLS only a refused certificate is sure to come before the request.
    certificate = cause.args[0] if isinstance(cause, SSLError) and cause.args else None
    return isinstance(cause, (NewConnectionError, ConnectTimeoutError)) or isinstance(
        certificate, ssl.SSLCertVerificationError
    )


def _parsed(text: str) -> Any:
    """JSON with Decimal amounts, or None: what is cut, or HTML, says nothing."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _by_status(venue: str, reply: Reply) -> VenueError | None:
    """What plain HTTP says where the dialect says nothing."""
    endpoint, code = reply.request.endpoint, str(reply.status)
    if reply.status == 429:
        return Throttled(venue, endpoint, "too many requests", after=retry_after(reply), code=code)
    if 200 <= reply.status < 300 and reply.body is not None:
        return None
    if 400 <= reply.status < 500 and reply.status != 408:
        return Rejected(venue, endpoint, f"refused: {reply.text}", code=code)
    return Ambiguous(venue, endpoint, "an answer that says nothing", code=code)


def retry_after(reply: Reply, default: timedelta = timedelta(seconds=1)) -> timedelta:
    """The Retry-After header, in seconds, or `default`."""
    said = reply.headers.get("Retry-After", "")
    return timedelta(seconds=min(int(said), 3 * 86400)) if said.isascii() and said.isdigit() else default


def _redacted(error: VenueError, secrets: Sequence[str]) -> VenueError:
    message = error.message
    for secret in filter(None, secrets):
        message = message.replace(secret, "***")
    # Line breaks of a stranger have no place in a log.
    message = " ".join(message.split())[:_LONGEST_MESSAGE]
    if message == error.message:
        return error
    more = {"after": error.after} if isinstance(error, Throttled) else {}
    return type(error)(error.venue, error.endpoint, message, code=error.code, **more)
