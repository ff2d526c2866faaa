"""The bench of the contract suite: a venue, its fixture, and one way to drive both.

A venue over HTTP stands before a scripted server that replays the fixture; the paper venue (paper_bench.py)
stands on its database. What the suite asks is fixed here; a fixture says how its venue spells it. Nothing is
left out in silence: what a venue cannot do stands in its fixture under `cannot`, with the reason.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

import exchanges
from exchanges import Credentials, Exchange
from exchanges._http import Hosts, Patience
from tests.exchanges.scripted import CALM, PATIENCE, Answer, Scripted, Seen
from trading.model import Order, OrderReport, OrderStatus, OrderType, Role, Side

FOLDER = Path(__file__).resolve().parents[1] / "venues"

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIGNED = NOW + timedelta(milliseconds=123)
KEY, SECRET = "contractKey00000000000000000001", "contractSecret000000000000000002"
LEVERAGE = Decimal(5)
SINCE = datetime(2025, 12, 31, tzinfo=UTC)
#: Seconds within which requests that go out side by side are all there.
TOGETHER = 5.0
#: Where no answer comes.
SHORT = Patience(connect=PATIENCE, silence=0.5, total=0.5, long=0.5)

#: What the suite places, by act; `entry_with_stop` is `entry_market` and `stop` in one.
ORDERS: dict[str, dict[str, Any]] = {
    "entry_market": {"leg": "e", "side": "BUY", "type": "MARKET"},
    "entry_short": {"leg": "e", "side": "SELL", "type": "MARKET"},
    "entry_limit": {"leg": "e", "side": "BUY", "type": "LIMIT", "price": "60000"},
    "exponents": {"leg": "e", "side": "BUY", "type": "LIMIT", "price": "6E+4", "quantity": "10E-3"},
    "stop": {"leg": "sl", "side": "SELL", "type": "STOP", "trigger_price": "58000"},
    "stop_short": {"leg": "sl", "side": "BUY", "type": "STOP", "trigger_price": "64000"},
    "target": {"leg": "tp1", "side": "SELL", "type": "LIMIT", "price": "64000", "quantity": "0.005"},
    "close": {"leg": "x", "side": "SELL", "type": "MARKET"},
    "stranger": {"leg": "hand", "side": "BUY", "type": "LIMIT", "price": "50000", "quantity": "0.002"},
}
_ROLES = {"e": Role.ENTRY, "sl": Role.STOP, "tp1": Role.TARGET, "x": Role.CLOSE, "hand": Role.ENTRY}


class Clock(Protocol):
    def __call__(self) -> datetime: ...

    def advance(self, seconds: float | timedelta) -> datetime: ...

    def set(self, at: datetime) -> None: ...


class Number(Decimal):
    """A JSON number with a fraction or an exponent, which remembers how it was written."""

    raw: str

    def __new__(cls, raw: str) -> Number:
        made = super().__new__(cls, raw)
        made.raw = raw
        return made


def spelt(value: Any) -> str:
    """JSON, its numbers as they were written."""
    if isinstance(value, Number):
        return value.raw
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{spelt(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelt, value)) + "]"
    return json.dumps(value)


@dataclass(frozen=True, slots=True)
class Fixture:
    """One tests/venues/<name>.json."""

    data: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Fixture:
        return cls(json.loads(path.read_text(encoding="utf-8"), parse_float=Number))

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def part(self, key: str) -> Any:
        """A part that may be missing: then it is empty."""
        return self.data.get(key, {})

    @property
    def name(self) -> str:
        return str(self["name"])

    @property
    def symbol(self) -> str:
        return str(self["symbol"])

    def cannot(self, what: str) -> bool:
        """Whether the fixture says, with its reason, that the venue has no such thing."""
        return what in self.part("cannot")

    def order(self, act: str, **more: Any) -> Order:
        """What the suite means by an act, as the journal would hold it after a lost answer."""
        spec = ORDERS[act]
        leg = spec["leg"]
        made = Order(
            client_order_id=f"d7c2a9-{leg}",
            intent_id="d7c2a9",
            symbol=self.symbol,
            role=_ROLES[leg],
            side=Side(spec["side"]),
            type=OrderType(spec["type"]),
            quantity=Decimal(spec.get("quantity", "0.010")),
            price=Decimal(spec["price"]) if "price" in spec else None,
            trigger_price=Decimal(spec["trigger_price"]) if "trigger_price" in spec else None,
            reduce_only=_ROLES[leg] is not Role.ENTRY,
            status=OrderStatus.SUBMITTED,
            signed_at=SIGNED,
            retry_at=SIGNED + timedelta(seconds=3),
        )
        return replace(made, **more)


@dataclass(slots=True)
class Rule:
    """One canned answer and what it is for; `on` None is for everything."""

    answer: Answer
    on: str | None = None
    when: Mapping[str, Any] = field(default_factory=dict)
    public: bool = False
    left: int | None = None

    @classmethod
    def of(cls, spec: Mapping[str, Any], on: str | None = None) -> Rule:
        text = spelt(spec["json"]) if "json" in spec else str(spec["text"])
        answer = Answer(status=spec.get("status", 200), headers=spec.get("headers", {}), body=text.encode())
        return cls(
            answer, spec.get("on", on), spec.get("when", {}), spec.get("public", False), spec.get("times")
        )

    def fits(self, seen: Seen, sent: Mapping[str, Any]) -> bool:
        wanted = all(str(sent.get(name)) == str(value) for name, value in self.when.items())
        return self.on in (None, seen.on) and wanted and self.left != 0


class Bench(Protocol):
    """One account at one venue, in a state that a test asks for."""

    fixture: Fixture
    clock: Clock

    @property
    def exchange(self) -> Exchange: ...

    def state(self, name: str) -> None:
        """Makes the venue so, from the next call on."""

    def arrange(self, case: Mapping[str, Any]) -> None:
        """Makes the venue as one case of the fixture wants it."""

    def refuse(self, refusal: Mapping[str, Any]) -> None:
        """Makes the venue refuse the refusal's act."""

    def forget(self) -> None:
        """What was sent so far does not count."""

    def verify(self, act: str) -> None:
        """What came of an act at the venue is what the fixture says."""

    def writes(self) -> int | None:
        """How many requests that may change something came; None where there are no requests."""

    def fault(self, kind: str, act: str) -> None:
        """Makes the way to the venue fail at the act's request."""


def ready(bench: Bench) -> None:
    """Clock and instruments are known, as they are in a process that has run for a while."""
    bench.exchange.time()
    bench.exchange.instrument(bench.fixture.symbol)
    bench.forget()


def perform(bench: Bench, act: str) -> Any:
    """Calls the exchange for one act."""
    fixture, exchange, symbol = bench.fixture, bench.exchange, bench.fixture.symbol
    if act in ORDERS:
        return exchange.place(fixture.order(act), signed_at=SIGNED)
    if act == "entry_with_stop":
        stop = fixture.order("stop")
        return exchange.place(fixture.order("entry_market"), signed_at=SIGNED, stop=stop)
    calls: dict[str, Callable[[], Any]] = {
        "cancel": lambda: exchange.cancel(fixture.order("entry_limit")),
        "cancel_stop": lambda: exchange.cancel(fixture.order("stop")),
        "cancel_all": lambda: exchange.cancel_all(symbol),
        "look": lambda: exchange.look(symbol, ours=(fixture.order("stop"), fixture.order("target"))),
        "prepare": lambda: exchange.prepare(symbol, ours=(), leverage=LEVERAGE),
        "price": lambda: exchange.price(symbol),
        "balance": lambda: exchange.balance(symbol),
        "position": lambda: exchange.position(symbol),
        "order": lambda: exchange.order(fixture.order("entry_market")),
        "fills": lambda: exchange.fills(symbol, since=SINCE),
        "check": exchange.check,
    }
    return calls[act]()


def resting(bench: Bench) -> dict[str | None, OrderReport]:
    """What rests, by our id."""
    look = perform(bench, "look")
    return {report.client_order_id: report for report in look.resting}


class HttpBench:
    """A venue over HTTP: the scripted server replays the fixture and checks every signature."""

    def __init__(self, fixture: Fixture, clock: Clock) -> None:
        self.fixture, self.clock = fixture, clock
        clock.set(NOW)
        self.complaints: list[str] = []
        self._base = [Rule.of(spec) for spec in fixture["answers"]]
        self._state: list[Rule] = []
        self._case: list[Rule] = []
        self._first = 0
        self._gate: threading.Barrier | None = None
        self.server = Scripted(self._script, keep_alive=False)
        self._hosts = Hosts(clock, patience=CALM, pause=lambda seconds: _advance(clock, seconds))

    @cached_property
    def exchange(self) -> Exchange:
        """The account, opened when it is first asked for."""
        return exchanges.connect(
            self.fixture.name,
            Credentials(key=KEY, secret=SECRET),
            network=self.fixture["network"],
            hosts=self._hosts,
            urls=dict.fromkeys(self.fixture["urls"], self.server.url),
        )

    def state(self, name: str) -> None:
        self._state = [Rule.of(spec) for spec in self.fixture["states"][name]]

    def arrange(self, case: Mapping[str, Any]) -> None:
        self._case = [Rule.of(spec) for spec in case.get("answers", ())]

    def refuse(self, refusal: Mapping[str, Any]) -> None:
        usual = self.fixture["acts"].get(refusal["act"], {}).get("answers", [])
        self.arrange({"answers": [*refusal.get("answers", []), *usual]})
        if "state" in refusal:
            self.state(refusal["state"])
        if "answer" in refusal:
            self._case.insert(0, Rule.of(refusal["answer"], on=self._first_request(refusal["act"])))

    def forget(self) -> None:
        self._first = len(self.server.seen)

    def verify(self, act: str) -> None:
        expected = list(self.fixture["acts"][act]["requests"])
        assert not self.complaints, self.complaints
        for seen in self.sent:
            fits = next((one for one in expected if self._is(one, seen)), None)
            assert fits is not None, (
                f"{act}: not expected, or sent otherwise: {seen.on} {_parameters(seen)}; left: {expected}"
            )
            expected.remove(fits)
        assert not expected, f"{act}: never sent: {expected}"

    def writes(self) -> int | None:
        return len([seen for seen in self.sent if seen.method != "GET"])

    def fault(self, kind: str, act: str) -> None:
        if kind.startswith("refused"):
            self.server.refuse()
            return
        if kind == "silent":
            for host in self._hosts._hosts.values():
                host.patience = SHORT
        self.arrange(self.fixture["acts"][act])
        body = self._find(self._first_request(act)).answer.body
        answer = {
            "silent": Answer(silent=True),
            "closed": Answer(close=True),
            "http_502": Answer(status=502, body=b"<html><body>502 Bad Gateway</body></html>"),
            "echo": Answer(status=400, body=f"You said {KEY}, and know {SECRET}.".encode()),
            "html": Answer(body=b"<html><body>Back soon.</body></html>"),
            "cut": Answer(body=body[: len(body) // 2]),
            "cut_short": Answer(body=body[: len(body) // 2], promised=len(body)),
        }[kind]
        self._case = [Rule(answer, self._first_request(act))]

    @property
    def sent(self) -> Sequence[Seen]:
        return self.server.seen[self._first :]

    @contextmanager
    def together(self, act: str) -> Iterator[None]:
        """Lets no request through before all of the act's are there."""
        self._gate = threading.Barrier(len(self.fixture["acts"][act]["requests"]), timeout=TOGETHER)
        try:
            yield
        finally:
            self._gate = None

    def _script(self, seen: Seen) -> Answer:
        if self._gate is not None:
            try:
                self._gate.wait()
            except threading.BrokenBarrierError:
                self.complaints.append(f"{seen.on} did not go out side by side with the others")
        sent = _parameters(seen)
        for rule in (*self._case, *self._state, *self._base):
            if rule.fits(seen, sent):
                rule.left = None if rule.left is None else rule.left - 1
                if not self._is_public(seen):
                    self._check_signature(seen)
                return rule.answer
        self.complaints.append(f"the fixture has no answer for {seen.on} {sent}")
        return Answer(status=404, body=b"{}")

    def _find(self, on: str | None) -> Rule:
        return next(rule for rule in (*self._case, *self._state, *self._base) if rule.on == on)

    def _first_request(self, act: str) -> str | None:
        requests = self.fixture["acts"].get(act, {}).get("requests")
        return requests[0]["on"] if requests else None

    def _is_public(self, seen: Seen) -> bool:
        return any(rule.public and rule.on == seen.on for rule in (*self._case, *self._state, *self._base))

    def _check_signature(self, seen: Seen) -> None:
        signing = self.fixture["signing"]
        expected, got = signature(signing, seen, SECRET), _named(signing["signature"], seen)
        if not hmac.compare_digest(expected, got):
            self.complaints.append(f"{seen.on}: signed {got!r}, not {expected!r}")
        everything = {f"header:{name}": value for name, value in signing["headers"].items()}
        everything |= {f"param:{name}": value for name, value in signing["params"].items()}
        for where, value in everything.items():
            if not self._same(value, _named(where, seen), seen):
                self.complaints.append(f"{seen.on}: {where} is {_named(where, seen)!r}, not {value!r}")

    def _is(self, expected: Mapping[str, Any], seen: Seen) -> bool:
        own = self.fixture["signing"]["params"]
        sent = {name: value for name, value in _parameters(seen).items() if name not in own}
        return expected["on"] == seen.on and self._same(expected.get("params", {}), sent, seen)

    def _same(self, expected: Any, got: Any, seen: Seen) -> bool:
        if expected == "$any":
            return got not in (None, "")
        if isinstance(expected, str) and expected.startswith("$"):
            return str(got) == self._value(expected, seen)
        if isinstance(expected, dict) and isinstance(got, dict):
            return expected.keys() == got.keys() and all(
                self._same(expected[name], got[name], seen) for name in got
            )
        if isinstance(expected, list) and isinstance(got, list):
            return len(expected) == len(got) and all(map(self._same, expected, got, [seen] * len(got)))
        if isinstance(got, Number) and set(got.raw) & set("eE"):
            return False
        numbers = (int, Decimal)
        if isinstance(expected, bool) or isinstance(got, bool):
            return expected is got
        if isinstance(expected, numbers) and isinstance(got, numbers):
            return expected == got
        return type(expected) is type(got) and expected == got

    def _value(self, name: str, seen: Seen) -> str:
        window = self.fixture["capabilities"]["receive_window_ms"]
        place = any(
            request["on"] == seen.on
            for act, spec in self.fixture["acts"].items()
            if act in ORDERS
            for request in spec["requests"]
        )
        signed = int((SIGNED if place else self.clock()).timestamp() * 1000)
        known = {"$signed_ms": signed, "$deadline_ms": signed + window, "$window_ms": window, "$key": KEY}
        return str(known[name])


def signature(signing: Mapping[str, Any], seen: Seen, secret: str) -> str:
    """What a request must be signed with, by the fixture's recipe."""
    kind, _, name = signing["signature"].partition(":")
    query = seen.query
    if kind == "param":
        query = "&".join(part for part in query.split("&") if not part.startswith(f"{name}="))
    parts = {
        "method": seen.method,
        "path": seen.path,
        "query": query,
        "target": f"{seen.path}?{query}" if query else seen.path,
        "body": seen.body.decode(),
    }
    payload = re.sub(
        r"\{([^}]+)\}",
        lambda match: parts[match[1]] if match[1] in parts else _named(match[1], seen),
        signing["payload"],
    )
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def _advance(clock: Clock, seconds: float) -> None:
    clock.advance(seconds)


def _parameters(seen: Seen) -> dict[str, Any]:
    """Query and body in one."""
    found: dict[str, Any] = dict(parse_qsl(seen.query, keep_blank_values=True))
    text = seen.body.decode()
    if text.startswith("{"):
        return found | dict(json.loads(text, parse_float=Number))
    return found | dict(parse_qsl(text, keep_blank_values=True))


def _named(where: str, seen: Seen) -> str:
    kind, _, name = where.partition(":")
    return str((seen.headers if kind == "header" else _parameters(seen)).get(name, ""))
