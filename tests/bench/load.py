"""A client that measures: many connections from one thread, requests made beforehand."""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds from a request's last byte to its answer's last, each, and all of it together; and when each
    was sent, by time.perf_counter.
    """

    each: Sequence[float]
    seconds: float
    sent_at: Sequence[float]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.each) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds: `share` of the answers took no longer."""
        ordered = sorted(self.each)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def post(path: str, body: bytes) -> bytes:
    """A POST as it goes over the wire, on a connection that stays."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def run(
    port: int, requests: Iterable[bytes], *, connections: int, expect: int = 202, pause: float = 0.0
) -> Took:
    """Sends all of them, one at a time on each connection. AssertionError for any other status.

    `pause` is in seconds, from one request to the next over all connections; 0 is as fast as can be.
    """
    waiting = iter(requests)
    selector = selectors.DefaultSelector()
    began_at: dict[socket.socket, float] = {}
    heard: dict[socket.socket, bytes] = {}
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    for each in idle:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(each, selectors.EVENT_READ)
    took: list[float] = []
    sent_at: list[float] = []
    began = time.perf_counter()
    due, is_left = began, True
    try:
        while is_left or began_at:
            now = time.perf_counter()
            while is_left and idle and now >= due:
                request = next(waiting, None)
                if request is None:
                    is_left = False
                    break
                door = idle.pop()
                door.sendall(request)
                began_at[door], heard[door] = time.perf_counter(), b""
                sent_at.append(began_at[door])
                due += pause
            timeout = max(0.0, due - now) if is_left and idle else None
            for key, _ in selector.select(timeout if began_at else max(0.0, due - now)):
                door = key.fileobj  # type: ignore[assignment]  # what was registered
                heard[door] += door.recv(_CHUNK)
                if _is_whole(heard[door]):
                    took.append(time.perf_counter() - began_at.pop(door))
                    assert int(heard[door][9:12]) == expect, heard[door]
                    idle.append(door)
    finally:
        for door in [*idle, *began_at]:
            door.close()
        selector.close()
    return Took(took, time.perf_counter() - began, sent_at)


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        assert answer != b"", "the server hung up"
        return False
    found = _LENGTH.search(head + b"\r\n")
    assert found is not None, head
    return len(body) >= int(found[1])
