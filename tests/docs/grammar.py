"""What docs/alerts.md says of the alert, asked of the reader key by key; the words are alertmodel.txt's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from exchanges import available
from trading import alert as reader
from trading.alert import decode, parse
from trading.errors import AlertInvalid
from trading.keys import KEYS, NOTHING, member
from trading.model import Alert, AlertKind

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 2, 10, 15, 2, tzinfo=UTC)
RUNG = "tpN Mult"
#: What a template has that is no placeholder of the key's own.
_WRITTEN = {
    "chart_url": '"chart_url": "https://www.tradingview.com/chart/"',
    "id": '"id": "{{ticker}} {{interval}} {{timenow}} {{strategy.order.id}}"',
    "passphrase": '"passphrase": "your-passphrase"',
    "strategy": '"strategy": "mean reversion"',
}
ENTRY: dict[str, object] = {
    "ticker": "BTCUSDT.P",
    "exchange": "BINANCE",
    "time": "2026-11-02T10:15:00Z",
    "action": "buy",
    "price": "42000",
    "message": "entry",
    "subaccount": "MAIN",
    "passphrase": "correct-horse-battery",
    "long SL": "41500",
    "long TP": "43500",
    "tp Close": "25",
    "tp1 Mult": "1",
}
#: What is wrong, and the body that has it so: a change of ENTRY, or the text itself.
REFUSED: tuple[tuple[str, Mapping[str, object] | str], ...] = (
    ('`"ticker": {{ticker}}`, without quotes', '{"ticker": {{ticker}}, "message": "entry"}'),
    ("a placeholder that is misspelt", {"price": "{{cl0se}}"}),
    ("a plot whose title is spelt differently", {"long SL": '{{plot("long sl")}}'}),
    ("a comma is missing", '{"ticker": "BTCUSDT.P"\n "message": "entry"}'),
    ("words, not JSON", "buy BTCUSDT at 42000"),
    ("a list, or an object, in it", {"tp1 Mult": [1, 2]}),
    ("a key twice", '{"ticker": "BTCUSDT.P", "Ticker": "ETHUSDT.P"}'),
    ("no `message`", {"message": None}),
    ("a message that is not known", {"message": "entri"}),
    ("no `ticker`", {"ticker": ""}),
    ("a continuous future", {"ticker": "BTC1!"}),
    ("`true` for a text", {"ticker": True}),
    ("an exchange that is not known", {"exchange": "BINANCEUS"}),
    ("a delayed feed", {"exchange": "BINANCE_DL"}),
    ("an account that is no name", {"subaccount": "-"}),
    ("no account, and no DEFAULT_SUBACCOUNT", {"subaccount": None}),
    ("an `action` that is neither", {"action": "close"}),
    ("a `type` that is neither", {"type": "stop"}),
    ("a limit entry without its price", {"type": "limit", "price": "0"}),
    ("an entry without a stop", {"long SL": "NaN"}),
    ("a stop on the wrong side", {"long SL": "42500"}),
    ("a target on the wrong side", {"long TP": "41000"}),
    ("a thousands separator", {"price": "42,000"}),
    ("a negative size", {"size": "-1"}),
    ("targets without their percent", {"tp Close": None}),
    ("targets that close too much", {"tp Close": "60", "tp2 Mult": "2"}),
    ("a percent above 100", {"tp Close": "125"}),
    ("target number 21", {"tp21 Mult": "2"}),
    ("a time that is none", {"time": "yesterday"}),
    ("a time of tomorrow", {"time": "2026-11-04T10:15:00Z"}),
    ("an `id` that is too long", {"id": "x" * 129}),
)


def read(body: str) -> Alert:
    return parse(decode(body.encode()), default_subaccount=None, exchanges=available(), received_at=NOW)


def changed(changes: Mapping[str, object]) -> str:
    fields = ENTRY | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def means() -> dict[str, str]:
    """alertmodel.txt's definitions, by key."""
    text = (ROOT / "alertmodel.txt").read_text(encoding="utf-8").partition("\n## ")[0]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.partition("What every alert needs\n")[2].splitlines():
        if re.match(r" {4}\S", line):
            head, _, rest = line.strip().partition("  ")
            names = [name.strip() for name in re.split(r",|\.\.\.", head)]
            found |= dict.fromkeys(names, rest.strip())
        elif re.match(r" {5,}\S", line):
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
        else:
            names = []
    return found


def fields() -> str:
    """Every key: who needs it, what it takes, what it means, what a template writes."""
    words = means()
    rows = ["| Key | Needed by | Takes | Means; in a template |\n|---|---|---|---|\n"]
    for key in (*KEYS, RUNG):
        real = key.replace("N", "1") if key == RUNG else key
        written = _WRITTEN.get(key) or member(real)
        rows.append(f"| `{key}` | {_needed(real)} | {_takes(real)} | {words[real]}<br>`{written}` |\n")
    return "".join(rows)


def _needed(key: str) -> str:
    if key == "passphrase":
        return "all"  # the door asks for it, before the rest is read
    kinds: dict[str, dict[str, object]] = {"limit entry": {"type": "limit"}, "entry": {}}
    kinds |= {kind.value: {"message": message} for kind, message in _OTHERS.items()}
    by = [name for name, changes in kinds.items() if _refusal(changed(changes | {key: None}))]
    if len(by) == len(kinds):
        return "all"
    if key == "tp Close":
        return "targets"
    return "entry" if "entry" in by else ", ".join(by)


_OTHERS = {AlertKind.EXIT: "exit", AlertKind.BREAKEVEN: "breakeven", AlertKind.TOLD: "tp1"}


def _takes(key: str) -> str:
    words = {
        "message": "`entry`, `exit`, `tp1` … `tp999`, what ends in `breakeven`",
        "action": _listed(reader._SIDES),
        "type": f"{_listed(reader._TYPES)}; `market` unless it says so",
        "time": "ISO 8601, UTC unless it names a zone; or Unix seconds or milliseconds",
        "exchange": _listed(sorted(available())),
        "chart_url": "a web address",
        "subaccount": "a name of an account, in any case",
    }
    if key in words:
        return words[key]
    positions = {"market_position", "prev_market_position"}
    if key in positions:
        return _listed(sorted(reader._POSITIONS))
    refused = _refusal(changed({key: "x"}))
    if (refused and "no plain number" in refused.reason) or key in ("contracts", "prev_market_position_size"):
        return "a number, 0 or more"
    return "text"


def _listed(words: object) -> str:
    return ", ".join(f"`{word}`" for word in words)  # type: ignore[attr-defined]


def _refusal(body: str) -> AlertInvalid | None:
    try:
        read(body)
    except AlertInvalid as error:
        return error
    return None


def nothing() -> str:
    words = sorted(NOTHING - {""}, key=lambda word: (len(word), word))
    return f'`""`, `0`, {", ".join(f"`{word}`" for word in words)}, in any case, with quotes or without.\n'


def refused() -> str:
    rows = ["| Wrong | Answer | `message`, and `mend` |\n|---|---|---|\n"]
    for what, wrong in REFUSED:
        error = _refusal(wrong if isinstance(wrong, str) else changed(wrong))
        if error is None:
            raise AssertionError(f"it is taken: {what}")
        field = f"<br>`{error.field}`" if error.field else ""
        rows.append(f"| {what} | {error.code}{field} | {_plain(error.reason)}<br>*{_plain(error.mend)}* |\n")
    return "".join(rows)


def _plain(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([|*<>_`])", r"\\\1", text)
