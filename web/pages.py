"""The dashboard: now, alerts and their stories, results, a bench to try alerts on.

Pages for whom a session or HTTP Basic lets in. Never changes anything: forms and scripts ask `web.api` to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from flask import Blueprint, Response, request, url_for

from desk import board, export, report, scores, story
from desk.intake import is_paper
from desk.scores import Scope
from desk.story import Filter
from trading.errors import StoreUnavailable
from trading.model import IntentStatus
from web.access import refusal
from web.browser import away, key_of, page, session_of, the_desk

blueprint = Blueprint("pages", __name__, template_folder="templates")
blueprint.register_error_handler(StoreUnavailable, away)

#: Rows on a page.
_PAGE = 50
_REFUSALS = 10
#: Lines of an export that are sent in one go.
_LINES = 200
_PERIODS = (("7d", "7 days"), ("30d", "30 days"), ("90d", "90 days"), ("365d", "a year"), ("all", "all"))
_FILTERS = ("account", "ticker", "status", "text")
#: Seconds after which the bot is missed.
_SILENT = 60


@blueprint.before_request
def guard() -> Response | None:
    """Lets in whom a session or HTTP Basic names; anybody else is shown to the login."""
    if request.authorization is not None:
        return refusal(the_desk(), request)
    if session_of(request):
        return None
    wanted = request.full_path.rstrip("?") if request.path != "/" else None
    return _to("lobby.login", next=wanted)


@blueprint.get("/")
def now() -> Response:
    """Accounts, positions, what waits for a person, health."""
    desk = the_desk()
    at = desk.clock()
    board.watched(desk.store, at)
    model = board.board(desk.store, desk.settings, now=at)
    return framed("now.html", "now", board=model)


@blueprint.get("/frame")
def frame() -> Response:
    """What stands around every page: for one that does not renew itself, or that nobody sees."""
    return framed("frame.html", _asked("view") or "")


@blueprint.get("/alerts")
def alerts() -> Response:
    """What came, newest first, as far as it matches."""
    desk = the_desk()
    wanted = Filter(**{name: _asked(name) for name in _FILTERS})
    if wanted.status is not None and wanted.status not in IntentStatus.__members__:
        wanted = replace(wanted, status=None)
    before = _asked("before")
    seq = int(before) if before and before.isascii() and before.isdigit() and len(before) < 19 else None
    rows, more = story.found(desk.store, wanted, limit=_PAGE, before=seq)
    told = {name: value for name in _FILTERS if (value := getattr(wanted, name))}
    return framed(
        "alerts.html",
        "alerts",
        rows=rows,
        filters=told,
        accounts=sorted({*story.accounts(desk.store), *desk.settings.accounts}),
        statuses=[status.value for status in IntentStatus],
        older=None if more is None else url_for("pages.alerts", **told, before=more),
        newest=None if seq is None else url_for("pages.alerts", **told),
        refusals=report.refusals(desk.store, limit=_REFUSALS) if not told and seq is None else [],
    )


@blueprint.get("/alerts/<alert_id>")
def alert(alert_id: str) -> Response:
    """The story of one alert."""
    model = story.story(the_desk().store, alert_id)
    if model is None:
        return page("trouble.html", 404, words="There is no such alert.")
    return framed("story.html", "alerts", alert=model)


@blueprint.get("/results")
def results() -> Response:
    """What trading has brought, and how well orders were filled."""
    desk = the_desk()
    period = _asked("period") or _PERIODS[1][0]
    told = {name: value for name in ("account", "strategy", "symbol") if (value := _asked(name))}
    takings = desk.results.now()
    # What was earned on paper is never added to what was earned.
    mixed = len({is_paper(venue) for venue in takings.venues}) > 1
    money = _asked("money") or ("real" if desk.settings.live_trading else "paper")
    scope = Scope(since=scores.since(period, desk.clock()), paper=money == "paper" if mixed else None, **told)
    symbols = sorted({gain.symbol for gain in takings.gains})
    return framed(
        "results.html",
        "results",
        results=scores.results(takings, scope),
        asked={"period": period, "money": money if mixed else None, **told},
        periods=_PERIODS,
        accounts=sorted({*story.accounts(desk.store), *desk.settings.accounts}),
        strategies=sorted(takings.strategies),
        symbols=symbols,
        exports=[*export.COUNTED, *export.STORED],
    )


@blueprint.get("/export/<name>.csv")
def exported(name: str) -> Response:
    """Everything of one kind, as CSV, while it is read."""
    desk = the_desk()
    if name in export.STORED:
        lines = export.stored(desk.store, name)
    elif name in export.COUNTED:
        lines = export.counted(desk.results.now(), name)
    else:
        return page("trouble.html", 404, words="There is no such table.")
    response = Response(_blocks(lines), content_type="text/csv; charset=utf-8")
    stamp = desk.clock().strftime("%Y-%m-%d")
    response.headers["Content-Disposition"] = f'attachment; filename="desk-{name}-{stamp}.csv"'
    return response


def _blocks(lines: Iterator[str]) -> Iterator[str]:
    """A few kilobytes at a time: a line each would be a packet each."""
    while block := "".join(islice(lines, _LINES)):
        yield block


def _asked(name: str) -> str | None:
    """One word of the address; accounts and statuses are spelt in capitals."""
    text = request.args.get(name, "").strip()[:100].replace("\x00", "")
    return (text.upper() if name in ("account", "status") else text) or None


def framed(template: str, view: str, **model: Any) -> Response:
    """A page in its frame: what is halted, what waits, how the server is."""
    desk = the_desk()
    health = report.health(desk.store, now=desk.clock(), started_at=desk.started_at)
    frame = board.frame(desk.store)
    model |= {"health": health, "bot": _bot(health["bot"]), "frame": frame, "settings": desk.settings}
    return page(template, view=view, form_key=key_of(request), **model)


def _bot(beat: report.Model | None) -> tuple[str, str]:
    """The bot's lamp, and what it means."""
    if the_desk().settings.discord_token is None:
        return "off", "not set up"
    if beat is None:
        return "bad", "has never come up"
    return ("ok", "works") if beat["age_s"] < _SILENT else ("bad", "is silent")


def _to(endpoint: str, **values: Any) -> Response:
    return Response("", status=303, headers={"Location": url_for(endpoint, **values)})
