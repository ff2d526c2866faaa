"""An alert's read model -> the card that shows it. It must never decide, nor let foreign text
through raw.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

import discord

from discord_bot.texts import MOST_DESCRIPTION, MOST_TITLE, Tongue, shortened
from trading.model import IntentStatus

Model = dict[str, Any]

_GREY, _BLUE, _GREEN, _RED, _AMBER = 0x8A93A6, 0x4F8CFF, 0x26A69A, 0xEF5350, 0xF5A623
_LOOKS: dict[IntentStatus, tuple[str, int, str]] = {
    IntentStatus.RECEIVED: ("📥", _GREY, "received"),
    IntentStatus.AWAITING_APPROVAL: ("🔔", _AMBER, "waits for a yes"),
    IntentStatus.APPROVED: ("✅", _BLUE, "approved"),
    IntentStatus.EXECUTING: ("⚙️", _BLUE, "at work"),
    IntentStatus.DONE: ("✅", _GREEN, "done"),
    IntentStatus.DENIED: ("🚫", _RED, "refused, not traded"),
    IntentStatus.DECLINED: ("❌", _GREY, "declined, not traded"),
    IntentStatus.EXPIRED: ("⌛", _GREY, "expired, not traded"),
    IntentStatus.FAILED: ("🔥", _RED, "failed"),
    IntentStatus.IGNORED: ("💬", _GREY, "told, asks for nothing"),
}
_WORDS = {"BUY": "LONG", "SELL": "SHORT"}
_NOTES = 5


def card(model: Model, question: Model, tongue: Tongue) -> discord.Embed:
    """The card of an alert: `model` is report.card's, `question` what was put to people, or empty."""
    status = IntentStatus(model["status"])
    icon, colour, words = _LOOKS[status]
    trade = model["trade"] or {}
    if trade.get("closed") and model["kind"] == "entry":
        won = not str(trade["pnl"]).startswith("-")
        icon, colour, words = ("🏁", _GREEN if won else _RED, "closed")
    elif status is IntentStatus.DONE and trade and model["kind"] == "entry":
        words = "open"
    side = _WORDS.get(model["side"] or "", "")
    title = f"{icon} {tongue.clean(model['message'])} {side} {model['symbol']}".replace("  ", " ")
    embed = discord.Embed(
        title=shortened(f"{title}: {words}", MOST_TITLE),
        colour=colour,
        url=tongue.link(model["chart_url"]),
        description=_description(model, question, status, tongue),
    )
    embed.add_field(name="Venue", value=tongue.clean(f"{model['venue']}\n{model['account']}"))
    if model["kind"] == "entry":
        _entry(embed, model, question, tongue)
    _went(embed, model, tongue)
    embed.set_footer(text=f"alert {model['id']}")
    return embed


def digest(embed: discord.Embed) -> str:
    """What tells two cards apart."""
    return hashlib.sha256(json.dumps(embed.to_dict(), sort_keys=True).encode()).hexdigest()


def stamp(at: datetime, style: str = "R") -> str:
    """A time as Discord shows it to each reader; R counts down."""
    return f"<t:{int(at.timestamp())}:{style}>"


def _description(model: Model, question: Model, status: IntentStatus, tongue: Tongue) -> str | None:
    lines = []
    if status is IntentStatus.AWAITING_APPROVAL:
        if model["expires_at"] is not None:
            lines.append(f"✅ trades it, ❌ declines it; expires {stamp(model['expires_at'])}")
        if question.get("warning"):
            lines.append(f"⚠️ {tongue.clean(question['warning'])}")
        if question.get("no_bars"):
            lines.append(f"No chart: {tongue.clean(question['no_bars'])}")
        lines += [f"Note: {tongue.clean(note)}" for note in question.get("notes", [])[:_NOTES]]
    else:
        said = dict.fromkeys(each for each in (model["approved"], model["reason"]) if each)
        lines += [tongue.clean(each) for each in said]
    link = tongue.link(model["chart_url"])
    if link is not None:
        lines.append(f"[chart on TradingView]({link.replace('(', '%28').replace(')', '%29')})")
    return shortened("\n".join(lines), MOST_DESCRIPTION) or None


def _entry(embed: discord.Embed, model: Model, question: Model, tongue: Tongue) -> None:
    """Price and stop, targets, size and risk: as sized for real, else as the question told them."""
    price = model["price"] or question.get("price")
    at = f"{str(model['type']).lower()} {'at ' + price if price else ''}".strip()
    embed.add_field(name="Entry", value=tongue.clean(at))
    embed.add_field(name="Stop", value=tongue.clean(model["stop"] or "none"))
    targets = _targets(model, question)
    if targets:
        embed.add_field(name="Targets", value=tongue.clean("\n".join(targets)), inline=False)
    quantity = model["quantity"] or question.get("quantity")
    if quantity is None:
        return
    quote = model["quote"]
    embed.add_field(name="Quantity", value=tongue.clean(f"{quantity} {model['base']}"))
    notional = model["notional"] or question.get("notional")
    embed.add_field(name="Notional", value=tongue.clean(f"{notional} {quote}"))
    worst = model["worst_loss"] or question.get("worst_loss")
    share = model["worst_percent"] or question.get("worst_percent")
    embed.add_field(name="Worst loss", value=tongue.clean(f"{worst} {quote} ({share} %)"))


def _targets(model: Model, question: Model) -> list[str]:
    """As they rest where they were sent, else as the question told them."""
    told = question.get("targets") or []
    rewards = {each["price"]: each["reward"] for each in told}
    # One that was sent again counts once, as it is now.
    sent = {order["price"]: order for order in model["orders"] if order["role"] == "target"}
    return [
        f"{number}.  {each['price']}  ×  {each['quantity']}"
        + (f"  ({rewards[each['price']]} R)" if rewards.get(each["price"]) else "")
        for number, each in enumerate(list(sent.values()) or told, start=1)
    ]


def _went(embed: discord.Embed, model: Model, tongue: Tongue) -> None:
    """How the trade went so far."""
    trade = model["trade"]
    if trade is None:
        return
    quote, pnl = model["quote"], _signed(trade["pnl"])
    if model["kind"] != "entry":
        embed.add_field(name="Closed", value=tongue.clean(f"{trade['entered']} at {trade['exit_price']}"))
        embed.add_field(
            name="P&L of it", value=tongue.clean(f"{pnl} {quote} after its fee of {trade['fees']}")
        )
        return
    filled = f"{trade['entered']} at {trade['entry_price']}"
    if "slippage" in trade:
        filled += f"\nslippage {_signed(trade['slippage'])} ({_signed(trade['slippage_percent'])} %)"
    embed.add_field(name="Filled", value=tongue.clean(filled))
    if trade["closed"]:
        embed.add_field(name="Closed at", value=tongue.clean(trade["exit_price"]))
        embed.add_field(name="P&L", value=tongue.clean(f"{pnl} {quote} after fees of {trade['fees']}"))
        return
    embed.add_field(name="Open", value=tongue.clean(trade["open"]))
    if trade["stop"] is not None:
        embed.add_field(name="Stop now", value=tongue.clean(trade["stop"]))


def _signed(amount: str) -> str:
    """With a minus that no markup takes for a list."""
    return amount.replace("-", "−")
