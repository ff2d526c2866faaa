"""Verifies the journal, or tells an alert's story out of it: `python -m desk.audit [ALERT_ID]`.

Exit status 0 where every record is as it was written, 1 where one was changed, removed, inserted or moved,
or where nothing could be read.
May run beside a server at work; never writes.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from desk.footing import NEWER
from desk.report import instant
from desk.settings import from_environment
from store import Store, audit, chain, open_store
from store.audit import Verdict
from store.schema import SchemaState, check
from trading.errors import SettingsError, StoreUnavailable

_SHOWN = 20


def main(argv: Sequence[str] | None = None) -> int:
    """0 sound, 1 not, or it could not be read."""
    asked = _arguments().parse_args(argv)
    try:
        store = open_store(from_environment().database_url)
    except SettingsError as error:
        return _not_read(str(error))
    try:
        state = check(store)
        if state is SchemaState.NEWER:
            return _not_read(f"DATABASE_URL: {NEWER}")
        if state is not SchemaState.CURRENT:
            return _not_read("the database has another schema than this release: python -m desk.migrate")
        if asked.alert_id:
            return _story(store, asked.alert_id)
        return _all(store, asked.anchor)
    except StoreUnavailable as error:
        return _not_read(str(error))
    finally:
        store.close()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m desk.audit", description="Verifies the journal.")
    parser.add_argument("alert_id", nargs="?", help="tell this alert's story instead, and verify its lane")
    parser.add_argument("--anchor", help="an anchor that was noted earlier: it must still be there")
    return parser


def _all(store: Store, anchor: str | None) -> int:
    verdict = audit.verify(store)
    findings = [str(finding) for finding in verdict.findings]
    if anchor is not None and not audit.knows_anchor(store, anchor):
        findings.insert(0, f"{chain.ANCHORS}: the anchor {anchor} is not there any more")
    newest = "none yet" if verdict.anchor == chain.GENESIS else verdict.anchor
    return _conclude(verdict, findings, f"newest anchor: {newest}")


def _story(store: Store, alert_id: str) -> int:
    with store.read() as tx:
        records = audit.story(tx, alert_id)
    if not records:
        return _not_read(f"there is no alert {alert_id}")
    for record in records:
        at = instant(audit.time_of(record)) or ""
        print(f"{record.number:>7}  {at:27}  {_told(record.what, json.loads(record.content))}")
    lanes = sorted({record.chain for record in records})
    verdict = Verdict()
    for lane in lanes:
        one = audit.verify_chain(store, lane)
        verdict.chains += one.chains
        verdict.records += one.records
        verdict.findings += one.findings
    return _conclude(verdict, [str(finding) for finding in verdict.findings], f"lane: {', '.join(lanes)}")


def _conclude(verdict: Verdict, findings: Sequence[str], last: str) -> int:
    extent = f"{_count(verdict.records, 'record')} in {_count(verdict.chains, 'chain')}"
    if not findings:
        print(f"sound: {extent}, each as it was written; {last}")
        return 0
    print(f"NOT sound: {len(findings)} of {extent} or their rows. The first:")
    for finding in findings[:_SHOWN]:
        print(f"  {finding}")
    if len(findings) > _SHOWN:
        print(f"  … and {len(findings) - _SHOWN} more")
    return 1


def _told(what: str, content: dict[str, Any]) -> str:
    """One record in one line, for people."""
    say = _SAID.get(what)
    if say is None:
        return f"{what} " + _pairs(content)
    return f"{what.removesuffix('s'):7} {say(content)}"


def _pairs(content: dict[str, Any], names: Iterable[str] | None = None) -> str:
    wanted = sorted(content) if names is None else names
    return " ".join(f"{name}={content[name]}" for name in wanted if content.get(name) not in (None, ""))


_SAID: dict[str, Callable[[dict[str, Any]], str]] = {
    "alerts": lambda of: f"{of['message']} {of['ticker']} from {of['source']}, body sha256 {of['body']}",
    "intents": lambda of: _pairs(of, ("status", "reason", "quantity", "worst_loss", "notional", "risk")),
    "votes": lambda of: f"{'approve' if of['approve'] else 'decline'} by {of['name'] or of['voter']}",
    "events": lambda of: f"{of['event']}: {of['detail']}" if of["detail"] else of["event"],
    "orders": lambda of: (
        f"{of['client_order_id']} {of['status']} "
        + _pairs(of, ("role", "side", "type", "quantity", "price", "trigger_price"))
        + " "
        + _pairs(of, ("filled_quantity", "average_price", "venue_order_id", "reason"))
    ),
    "fills": lambda of: _pairs(
        of, ("client_order_id", "side", "quantity", "price", "fee", "fee_currency", "trade_id")
    ),
}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _not_read(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no trouble
    sys.exit(main())
