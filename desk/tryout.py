"""The bench for alerts: templates to begin with, every problem of a text, and a way to send one to paper.

What is sent goes through the same door as TradingView's alerts, to the paper venue alone, whatever
LIVE_TRADING says. Never shows a passphrase, and never lets a text choose a real venue.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from desk.intake import PAPER, Answer, Intake, new_id, refused
from desk.settings import ROOT, Settings
from exchanges import available
from trading.alert import account_of, decode
from trading.alertmodel import examples
from trading.body import MAX_BODY, TOO_LONG
from trading.errors import AlertInvalid
from trading.lint import lint
from trading.model import Route
from trading.template import Template

_MODEL = ROOT / "alertmodel.txt"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
#: The sender's name where others have an address.
_HERE = "dashboard"
_TRIAL = "trial "
_LONGEST_ID = 128


def templates(settings: Settings) -> Iterator[dict[str, str]]:
    """alertmodel.txt's alerts as this server would take them now: its account, the time of sending."""
    account = settings.default_subaccount or next(iter(settings.accounts), None)
    exchange = _allowed(settings)
    for example in examples(_MODEL.read_text(encoding="utf-8")):
        text = _TIME.sub("{{timenow}}", example.body_text)
        if account is not None:
            text = _member(text, "subaccount", account)
        if exchange is not None:
            text = _member(text, "exchange", exchange)
        yield {"title": example.title, "text": text}


def check(text: str, settings: Settings, *, now: datetime) -> list[dict[str, Any]]:
    """Every problem of an alert or a template, by line; `code` is what the server would answer, None for
    what it would take all the same."""
    found = lint(
        text.encode("utf-8", "replace"),
        exchanges=available(),
        default_subaccount=settings.default_subaccount,
        now=now,
    )
    return [
        {"line": each.line, "field": each.field, "reason": each.reason, "mend": each.mend, "code": each.code}
        for each in found
    ]


def send(text: str, intake: Intake, settings: Settings, *, ask: bool, now: datetime) -> Answer:
    """Sends an alert to paper, its placeholders filled as TradingView might; `ask` takes the route that asks
    a person first. The passphrase is ours: who is logged in may send."""
    if len(text.encode("utf-8", "replace")) > MAX_BODY:
        return refused(413, TOO_LONG)
    at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    filled = Template(text).filled(side="buy", exchange=_allowed(settings) or PAPER, now=at)
    try:
        fields = dict(decode(filled.encode("utf-8", "replace")).fields)
    except AlertInvalid as error:
        return refused(error.code, error.reason, field=error.field, mend=error.mend)
    # A trial must not be taken for the alert itself when that comes, nor the other way round.
    fields["id"] = f"{_TRIAL}{fields.get('id') or new_id(now)}"[:_LONGEST_ID]
    body = json.dumps(fields | {"passphrase": settings.passphrases[0]}).encode()
    return intake.receive(body, route=Route.STUDY if ask else Route.ORDER, address=_HERE, paper=True)


def _member(text: str, key: str, value: str) -> str:
    """The text with another value where a key has one of its own, and no placeholder."""
    written = json.dumps(value, ensure_ascii=False)
    return re.sub(rf'("{key}": )"[^"{{]*"', lambda found: found[1] + written, text)


def _allowed(settings: Settings) -> str | None:
    """The only exchange that the default account may use, where that is said."""
    name = settings.default_subaccount
    account = settings.accounts.get(account_of(name)) if name else None
    return account.rules.exchange if account else None
