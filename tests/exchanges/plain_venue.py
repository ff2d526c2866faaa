"""A venue of few words for the tests of the machinery: its dialect, and its answers by path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from exchanges._http import Reply, Request, Sealed, Wire, retry_after
from exchanges._limits import Limiter
from tests.exchanges.scripted import Answer, Scripted, Seen
from trading.errors import Rejected, StaleRequest, Throttled, VenueError

KEY, SECRET = "the-key-of-this-test", "the-secret-of-this-test"
READ = Request(method="GET", path="/read")
WRITE = Request(method="POST", path="/write", params=(("quantity", "1"),))
THEIRS = datetime(2026, 1, 5, 12, 0, 30, tzinfo=UTC)

OK = Answer(body=b'{"ok": true}')
TIME = Answer(body=b'{"now": "2026-01-05T12:00:30+00:00"}')
STALE = Answer(status=400, body=b'{"error": "stale"}')


class Dialect:
    """Signs with headers; refuses with an `error`."""

    venue = "TOY"

    def __init__(self, key: str = KEY, secrets: Sequence[str] = (KEY, SECRET)) -> None:
        self.key = key
        self.secrets = secrets

    def seal(self, request: Request, at: datetime) -> Sealed:
        query = "&".join(f"{name}={value}" for name, value in request.params)
        headers = {"X-Key": self.key, "X-At": at.isoformat()} if request.signed else {}
        if request.method == "GET":
            return Sealed(target=f"{request.path}?{query}" if query else request.path, headers=headers)
        return Sealed(target=request.path, headers=headers, body=query.encode())

    def judge(self, reply: Reply) -> VenueError | None:
        code = reply.body.get("error") if isinstance(reply.body, dict) else None
        if code == "stale":
            return StaleRequest(self.venue, reply.request.endpoint, "too late")
        if code == "slow":
            return Throttled(self.venue, reply.request.endpoint, "slow", after=retry_after(reply))
        if code is not None:
            return Rejected(self.venue, reply.request.endpoint, code, code="7")
        return None

    def heard(self, reply: Reply, limiter: Limiter) -> None:
        if used := reply.headers.get("X-Used"):
            limiter.told("all", int(used))

    def clock_request(self) -> Request:
        return Request(method="GET", path="/time", signed=False)

    def read_clock(self, body: Any) -> datetime:
        return datetime.fromisoformat(body["now"])


class Venue(Scripted):
    """Answers by path: each of its answers once, the last for ever."""

    def __init__(self, **paths: Answer | list[Answer]) -> None:
        self.script = {
            f"/{path}": [answers] if isinstance(answers, Answer) else list(answers)
            for path, answers in ({"read": OK, "write": OK, "time": TIME} | paths).items()
        }
        super().__init__(self._next)

    def _next(self, seen: Seen) -> Answer:
        answers = self.script[seen.path]
        return answers.pop(0) if len(answers) > 1 else answers[0]


#: Opens a server that answers as told, and a way to it; see conftest.py.
Open = Callable[..., tuple[Venue, Wire]]
