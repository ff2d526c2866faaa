"""What the pages show, by what is in the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert, update

from store import charts, watch
from store.tables import fills, intents
from tests.web.person import Visitor
from trading.model import IntentStatus
from web import shown
from web.browser import prepare


@pytest.fixture
def visitor(make_app: Callable[..., Flask], body: Any) -> Visitor:
    visitor = Visitor(make_app(), body.password)
    visitor.log_in()
    return visitor


def test_a_new_desk_shows_three_steps_until_an_alert_has_come(visitor: Visitor, body: Any) -> None:
    assert "Three steps" in visitor.get("/").text
    visitor.alert(body)
    assert "Three steps" not in visitor.get("/").text


def test_the_first_page_says_that_it_is_watched(visitor: Visitor) -> None:
    visitor.get("/")
    with visitor.desk.store.read() as tx:
        first = watch.last_watched(tx)
    assert first is not None
    visitor.get("/")
    with visitor.desk.store.read() as tx:
        assert watch.last_watched(tx) == first


def test_a_halt_stands_on_every_page(visitor: Visitor) -> None:
    visitor.get("/")
    visitor.post("/api/halt", json={"reason": "<b>news</b>"})
    for path in ("/", "/alerts"):
        page = visitor.get(path).text
        assert "&lt;b&gt;news&lt;/b&gt;" in page
        assert 'data-ask="/api/resume"' in page


def test_alerts_by_account_ticker_status_and_text(visitor: Visitor, body: Any) -> None:
    one = visitor.alert(body, IntentStatus.DONE, id="one 100%")
    two = visitor.alert(body, id="two", ticker="ETHUSDT.P", subaccount="swing")

    def shown(query: str) -> list[str]:
        page = visitor.get("/alerts?" + query).text
        return [each for each in (one, two) if f'id="alert-{each}"' in page]

    assert shown("") == [one, two]
    assert shown("account=swing") == [two]
    assert shown("account=SWING&ticker=btc") == []
    assert shown("ticker=eth-usdt") == [two]
    assert shown("status=done") == [one]
    assert shown("status=nonsense") == [one, two]
    assert shown("text=100%25") == [one]
    assert shown("text=0%25x") == []
    assert shown(f"text={two}") == [two]
    assert shown("text=%27%22%3Cscript%3E%00") == []
    assert "Nothing matches" in visitor.get("/alerts?text=zzz").text


def test_long_lists_are_paged(visitor: Visitor, body: Any) -> None:
    ids = [visitor.alert(body, id=f"n{number}", message="tp1") for number in range(52)]
    page = visitor.get("/alerts").text
    assert page.count('id="alert-') == 50
    older = page.partition('href="/alerts?before=')[2].partition('"')[0]
    rest = visitor.get(f"/alerts?before={older}").text
    assert [each for each in ids if f'id="alert-{each}"' in rest] == ids[:2]
    assert "Newest" in rest
    assert "data-live" not in rest
    assert visitor.get("/alerts?before=nonsense").text.count('id="alert-') == 50


def test_refused_bodies_stand_below_without_their_passphrase(visitor: Visitor, body: Any) -> None:
    visitor.client.post("/tradingview-to-webhook-order", data=body.raw(ticker=None))
    page = visitor.get("/alerts").text
    assert "Refused at the door" in page
    assert body.passphrase not in page


def test_a_story_shows_the_alert_escaped_and_without_its_passphrase(visitor: Visitor, body: Any) -> None:
    alert_id = visitor.alert(body, id="<script>alert(1)</script>")
    page = visitor.get(f"/alerts/{alert_id}").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert body.passphrase not in page
    assert visitor.get("/alerts/unknown").status_code == 404


def test_a_chart_of_known_prices_until_candles_come(visitor: Visitor, body: Any) -> None:
    alert_id = visitor.alert(body, id="a", price="50000")
    visitor.alert(body, id="b", price="50100", message="tp1")
    chart = visitor.get(f"/api/alerts/{alert_id}/chart").get_json()
    assert chart["bars"] == []
    assert [price for _, price in chart["prices"]] == ["50000", "50100"]
    assert chart["levels"] == [{"role": "entry", "title": "alert", "price": "50000"}]
    assert chart["wanted"] is True

    visitor.get("/")
    assert visitor.post(f"/api/alerts/{alert_id}/chart").status_code == 202
    now = visitor.desk.clock()
    with visitor.desk.store.write() as tx:
        (request,) = charts.open_requests(tx, 9)
        bars: list[charts.Bar] = [[1, "1", "2", "0.5", "1.5", "9"]]
        charts.keep(tx, request, bars=bars, missing="", now=now)
    told = visitor.get(f"/api/alerts/{alert_id}/chart").get_json()
    assert told["bars"] == [[1, "1", "2", "0.5", "1.5"]]
    assert told["wanted"] is False

    assert visitor.get("/api/alerts/unknown/chart").status_code == 404
    assert visitor.post("/api/alerts/unknown/chart").status_code == 404


def test_candles_that_begin_after_the_alert_are_not_its_chart(visitor: Visitor, body: Any) -> None:
    alert_id = visitor.alert(body, interval="1")
    visitor.get("/")
    visitor.post(f"/api/alerts/{alert_id}/chart")
    with visitor.desk.store.write() as tx:
        (request,) = charts.open_requests(tx, 9)
        assert request.interval == "1"
        late = int(visitor.desk.clock().timestamp()) + 3600
        charts.keep(tx, request, bars=[[late, "1", "2", "0", "1", "9"]], missing="", now=visitor.desk.clock())
    assert visitor.get(f"/api/alerts/{alert_id}/chart").get_json()["bars"] == []


def test_a_question_is_put_with_its_money_and_answered_from_the_page(visitor: Visitor, body: Any) -> None:
    from store import outbox

    alert_id = visitor.alert(body, IntentStatus.AWAITING_APPROVAL)
    asked = {"quantity": "0.5", "base": "BTC", "quote": "USDT", "notional": "25000", "worst_loss": "500",
             "market": "50000", "price": "50000", "stop": "49000",
             "targets": [{"price": "53000", "quantity": "0.5", "reward": "3"}]}  # fmt: skip
    with visitor.desk.store.write() as tx:
        outbox.notify(tx, kind="awaiting_approval", text="?", alert_id=alert_id, now=visitor.desk.clock(),
                      data=json.dumps(asked))  # fmt: skip
    page = visitor.get("/").text
    assert f'id="question-{alert_id}"' in page
    assert "500.00 USDT" in page
    chart = visitor.get(f"/api/alerts/{alert_id}/chart").get_json()
    assert [level["role"] for level in chart["levels"]] == ["entry", "stop", "target"]
    assert visitor.post(f"/api/intents/{alert_id}/approve").status_code == 202
    with visitor.desk.store.read() as tx:
        assert [(vote.voter, vote.approve) for vote in outbox.votes(tx, alert_id)] == [("web", True)]


@pytest.fixture
def unplugged(visitor: Visitor, sqlite_url: str) -> Iterator[Callable[[], None]]:
    """Takes the database away, as a disk that is gone would; calling it again brings it back."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    kept = path.with_name("kept.db")

    def turn() -> None:
        visitor.desk.store.close()
        if kept.exists():
            path.rmdir()
            kept.rename(path)
        else:
            path.rename(kept)
            path.mkdir()

    yield turn
    if kept.exists():
        turn()


def test_a_database_that_is_away_is_told_on_every_page(
    visitor: Visitor, unplugged: Callable[[], None], body: Any
) -> None:
    alert_id = visitor.alert(body)
    visitor.get("/")
    unplugged()
    for path in ("/", "/alerts", f"/alerts/{alert_id}", "/results", "/try", "/login", "/export/trades.csv"):
        answer = visitor.client.get(path)
        assert answer.status_code == 503, path
        assert "database does not answer" in answer.text, path
        assert answer.headers["Refresh"] == "5", path
    for path in ("/login", "/logout"):
        answer = visitor.client.post(path, data={"password": visitor.password})
        assert answer.status_code == 503, path
        assert "database does not answer" in answer.text
        assert "Refresh" not in answer.headers
    for path in ("/api/halt", "/api/lint", "/api/try", f"/api/intents/{alert_id}/approve"):
        answer = visitor.post(path, json={"text": "{}"})
        assert answer.status_code == 503, path
        assert answer.get_json()["success"] is False
    unplugged()
    assert visitor.get("/").status_code == 200


@pytest.mark.parametrize("interval", ["²", "99999999999999D", "9" * 90, "0", "<b>", "D", "15", 15, None])
def test_whatever_an_alert_calls_its_interval_it_has_a_chart(
    visitor: Visitor, body: Any, interval: Any
) -> None:
    alert_id = visitor.alert(body, interval=interval)
    visitor.get("/")
    assert visitor.get(f"/api/alerts/{alert_id}/chart").status_code == 200
    assert visitor.get(f"/alerts/{alert_id}").status_code == 200
    assert visitor.post(f"/api/alerts/{alert_id}/chart").status_code == 202
    with visitor.desk.store.read() as tx:
        (request,) = charts.open_requests(tx, 9)
    assert request.interval == (interval if interval in ("0", "D", "15") else "15")


def test_results_and_their_exports(visitor: Visitor, body: Any) -> None:
    alert_id = visitor.alert(body, id="=cmd")
    page = visitor.get("/results").text
    assert "Nothing was filled" in page
    assert visitor.get("/results?period=nonsense&account=x&strategy=%00&symbol='").status_code == 200
    answer = visitor.get("/export/alerts.csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="desk-alerts-')
    assert alert_id in answer.text
    assert body.passphrase not in answer.text
    for name in ("orders", "fills", "events", "trades", "executions"):
        assert visitor.get(f"/export/{name}.csv").status_code == 200
    assert visitor.get("/export/state.csv").status_code == 404


def test_on_a_live_desk_paper_is_marked_and_never_added_to_what_is_real(
    make_app: Callable[..., Flask], body: Any
) -> None:
    keys = {"API_KEY_MAIN": "k" * 20, "API_SECRET_MAIN": "s" * 20}
    visitor = Visitor(make_app(LIVE_TRADING="1", **keys), body.password)
    visitor.log_in()
    visitor.get("/")
    visitor.alert(body, IntentStatus.AWAITING_APPROVAL, id="real")
    assert "on paper" not in visitor.get("/").text
    trial = visitor.post("/api/try", json={"text": json.dumps(body(id="trial")), "ask": True})
    with visitor.desk.store.write() as tx:
        mine = intents.c.id == trial.get_json()["alert_id"]
        tx.execute(update(intents).where(mine).values(status=IntentStatus.AWAITING_APPROVAL))
        for number, (venue, won) in enumerate([("BINANCE", "-7"), ("PAPER:BINANCE", "5000")]):
            tx.execute(insert(fills).values(
                venue=venue, account="MAIN", symbol="BTC-USDT-PERP", trade_id=str(number), venue_order_id="1",
                side="BUY", quantity=Decimal(1), price=Decimal(1), fee=Decimal(0), fee_currency="USDT",
                maker=False, at=visitor.desk.clock(), realised_pnl=Decimal(won)))  # fmt: skip
    page = visitor.get("/").text
    assert page.count("MAIN · BINANCE on paper") == page.count("MAIN · BINANCE</span>") == 1
    assert visitor.get("/alerts").text.count("MAIN · BINANCE on paper") == 1
    page = visitor.get("/results").text
    assert "-7.00" in page
    assert "5,000.00" not in page
    page = visitor.get("/results?money=paper").text
    assert "+5,000.00" in page
    assert "-7.00" not in page
    assert "4,993" not in page


def test_a_worker_has_every_template_and_file_ready_before_the_first_view(visitor: Visitor) -> None:
    shown.file.cache_clear()
    prepare(visitor.client.application)
    environment = visitor.client.application.jinja_env
    assert environment.cache is not None
    assert {name for _, name in environment.cache} == set(environment.list_templates(extensions=["html"]))
    packed = shown.file.cache_info().misses
    assert packed >= 8
    assert visitor.get("/").status_code == 200
    assert shown.file.cache_info().misses == packed
