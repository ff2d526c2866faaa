"""What the server and a dialect say to each other, and the log of what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import parse_qsl

from requests.structures import CaseInsensitiveDict

from trading.model import plain

#: A request, as a test names it: ("POST /api/orders", 2) is the second of its kind since `reset_log`.
Key = tuple[str, int]

#: Names (in lower case) whose values a log must not show.
_SECRET = ("key", "sign", "secret", "passphrase", "authorization")
#: Parameters that say nothing about what was asked for.
_NOISE = ("timestamp", "recvwindow", "signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`target` is path and query as sent, `query_text` is without the question mark; both are not decoded."""

    method: str
    path: str
    query_text: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query_text}" if self.query_text else self.path

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of a name that comes twice, the last."""
        return dict(parse_qsl(self.query_text, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        """The parameters of an urlencoded body."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    def json(self) -> Any:
        """The body; numbers with a point are Decimals. ValueError if it is no JSON."""
        return json.loads(self.body, parse_float=Decimal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """`body`: bytes go out as they are, anything else as JSON (a Decimal as a number, all its digits)."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, str]:
        """The bytes and their content type, unless `headers` names another."""
        if isinstance(self.body, bytes):
            return self.body, "text/html; charset=utf-8"
        return to_json(self.body).encode(), "application/json"


class Dialect(Protocol):
    """How one venue speaks: a class that inherits from this one.

    Its methods are called under `engine.lock`; the venue's time is `engine.now()`.
    """

    name: str

    def handle(self, request: Request) -> Response:
        """Judges (signature, time, parameters) and applies one request. It raises nothing."""

    def throttled(self, retry_after_s: int) -> Response:
        """Too many requests, not applied: 429 as this venue says it."""

    def banned(self, until: datetime) -> Response:
        """Nothing is applied until then, by the venue's clock: 418, 403."""

    def unknown(self) -> Response:
        """The venue's own answer for "it may have been done, or not"."""

    def route(self, path: str) -> str:
        """The path with ids taken out, so that a test can name the request: `/api/orders/{id}`."""
        return path


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request and what became of it.

    `key` names it for a fault, the ids in its path taken out. `applied`: the dialect was asked (it may have
    refused). `status` is None if the client got no answer. `at`: when it came, by time.perf_counter.
    """

    number: int
    method: str
    path: str
    query: str
    body: bytes
    headers: Mapping[str, str]
    key: Key
    at: float = 0.0
    applied: bool = False
    status: int | None = None
    fault: str | None = None

    def __str__(self) -> str:
        """One line that a person can read."""
        parts = [f"{self.number:3}", f"{self.method} {self.path}", *self._parameters()]
        parts += ["->", "no answer" if self.status is None else str(self.status)]
        if self.fault:
            parts.append(f"[{self.fault}, {'applied' if self.applied else 'not applied'}]")
        return " ".join(parts)

    def _parameters(self) -> list[str]:
        said = parse_qsl(self.query)
        if self.body[:1] in (b"{", b"["):
            try:
                body = json.loads(self.body, parse_float=Decimal)
            except ValueError:
                body = {"body": "no JSON"}
            said += body.items() if isinstance(body, dict) else [("body", body)]
        else:
            said += parse_qsl(self.body.decode(errors="replace"))
        return [f"{name}={value}" for name, value in said if name.lower() not in _NOISE and value is not None]


def without_secrets(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The same headers, with three stars for whatever opens a door."""
    return CaseInsensitiveDict(
        (name, "***" if any(word in name.lower() for word in _SECRET) else value)
        for name, value in headers.items()
    )


def to_json(value: Any) -> str:
    """JSON in which a Decimal is a number with exactly its digits: json.dumps has no word for that."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Mapping):
        return (
            "{" + ",".join(f"{json.dumps(str(name))}:{to_json(item)}" for name, item in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ",".join(to_json(item) for item in value) + "]"
    return json.dumps(value, allow_nan=False)
