"""An emulated venue with its account, and what the doctor told, as findings."""

from __future__ import annotations

import re

from tests.emulator.engine import Account
from tests.emulator.server import Server

VENUES = ("BINANCE", "BYBIT", "FTX")
PASSPHRASE = "correct-horse-battery"


class Place:
    """One emulated venue and its only account."""

    def __init__(self, name: str, server: Server) -> None:
        self.name, self.server = name, server
        self.key, self.secret = f"emulator-key-{name.lower()}", f"emulator-secret-{name.lower()}"
        found = server.engine.account(self.key)
        assert found is not None
        self.account: Account = found

    @property
    def environ(self) -> dict[str, str]:
        spot = {f"{self.name}_SPOT_API_URL": self.server.url} if self.name == "BINANCE" else {}
        return spot | {
            "LIVE_TRADING": "1",
            "API_KEY_MAIN": self.key,
            "API_SECRET_MAIN": self.secret,
            "EXCHANGE_MAIN": self.name,
            f"{self.name}_API_URL": self.server.url,
        }


class Told:
    """The exit status, and the findings by mark: pairs of text and mend."""

    def __init__(self, code: int, output: str) -> None:
        self.code, self.output = code, output
        self.found: dict[str, list[tuple[str, str]]] = {"ok": [], "warn": [], "error": []}
        self.titles: list[str] = []
        lines = output.splitlines()
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            mark = re.fullmatch(r"  (ok|warn|error) +(\S.*)", line)
            if mark:
                mend = after.strip() if after.startswith(" " * 9) else ""
                self.found[mark[1]].append((mark[2], mend))
            elif line and not line.startswith(" "):
                self.titles.append(line)
        assert bool(self.found["error"]) == bool(code), output
        assert all(mend for mark in ("warn", "error") for _, mend in self.found[mark]), output
        assert not any(mend for _, mend in self.found["ok"]), output

    @property
    def errors(self) -> list[tuple[str, str]]:
        return self.found["error"]

    def only(self) -> tuple[str, str]:
        assert len(self.errors) == 1, self.output
        return self.errors[0]

    def says(self, mark: str, words: str) -> str:
        """The mend of the one finding with these words."""
        mends = [mend for what, mend in self.found[mark] if words in what]
        assert len(mends) == 1, f"{words!r}\n{self.output}"
        return mends[0]


def changes(place: Place) -> list[str]:
    """What was asked of the venue that changes something."""
    return [f"{seen.method} {seen.path}" for seen in place.server.log if seen.method != "GET"]
