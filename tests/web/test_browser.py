"""The dashboard in a real browser, against a real server with its runner: what a trader does with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.web.browsing import Visit, launch

ORDER = "/tradingview-to-webhook-order"
STUDY = "/tradingview-to-discord-study"
DRAWN = "() => [...document.querySelectorAll('.chart')].every((each) => each.innerHTML)"


# Of this module alone: its loop runs in the thread of the tests, where other tests want their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the whole module."""
    expect.set_options(timeout=15_000)
    with sync_playwright() as playwright:
        started = launch(playwright)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens a screen; nothing may have complained by the end."""
    visits: list[Visit] = []

    def open_(url: str, **screen: bool) -> Visit:
        visits.append(Visit(browser, url, **screen))
        return visits[-1]

    yield open_
    complaints = [complaint for each in visits for complaint in each.complaints]
    for each in visits:
        each.close()
    assert complaints == []


@pytest.fixture
def server(serve: Callable[..., Any], sqlite_url: str) -> Any:
    return serve(DATABASE_URL=sqlite_url, RUNNER="embedded", MAX_ALERT_AGE="0", EXCHANGE_MAIN="PAPER")


def raw(body: Any, **changes: Any) -> bytes:
    return json.dumps(body(exchange="PAPER", **changes)).encode()


def test_a_traders_day(server: Any, visit: Callable[..., Visit], body: Any) -> None:
    at = visit(server.url)
    page = at.page
    at.log_in(body.password)
    expect(page.get_by_role("heading", name="Three steps to the first alert")).to_be_visible()

    # An alert from the page, and the same page shows it done.
    page.get_by_role("link", name="Write an alert").click()
    findings = page.locator("#findings li")
    expect(findings).to_have_text(["Nothing to say against it."])
    page.get_by_label("Begin with").select_option("Multiple targets: a long entry")
    text = page.get_by_role("textbox", name="The alert")
    good = text.input_value()
    text.fill(good.replace('"entry"', '"enter"'))
    expect(findings.filter(has_text='did you mean "entry"?')).to_have_count(1)
    text.fill(good)
    expect(findings).to_have_text(["Nothing to say against it."])
    page.evaluate("() => { window.unloaded = false }")
    page.get_by_role("button", name="Send to paper").click()
    expect(page.locator("#sent-status")).to_have_text("done")
    assert page.evaluate("() => window.unloaded") is False

    # Its story, with a chart.
    page.get_by_role("link", name="Its story and chart").click()
    expect(page.locator("#chart canvas").first).to_be_visible()
    expect(page.locator("#chart")).to_have_attribute("data-drawn", "prices")
    expect(page.get_by_role("region", name="Fills").get_by_role("row")).to_have_count(2)
    entered = page.url.rpartition("/")[2]
    assert len(at.read(f"/api/alerts/{entered}/chart")["marks"]) == 1
    utc = page.locator("#head time").get_attribute("datetime") or ""
    shown = page.locator("#head time").inner_text()
    assert utc[11:16] not in shown  # the viewer's clock is hours and a half ahead

    # Two questions: one yes, one no. Both come to a page that stands open.
    page.get_by_role("link", name="Now").click()
    expect(page.get_by_role("article", name="LONG BTC-USDT-PERP")).to_be_visible()
    expect(page.get_by_role("region", name="Accounts").get_by_text("USDT")).to_be_visible()
    page.evaluate("() => { window.unloaded = false }")
    yes = server.post(raw(body, id="yes", ticker="ETHUSDT.P"), STUDY).json()["alert_id"]
    no = server.post(raw(body, id="no", ticker="SOLUSDT.P"), STUDY).json()["alert_id"]
    expect(page.locator(f"#question-{yes} canvas").first).to_be_visible()
    page.locator(f"#question-{no}").get_by_role("button", name="Decline").click()
    expect(page.locator(f"#question-{no}")).to_have_count(0)
    page.locator(f"#question-{yes}").get_by_role("button", name="Approve").press("Enter")
    expect(page.locator("#toast")).to_contain_text("ETHUSDT.P entry: done")
    expect(page.locator(f"#question-{yes}")).to_have_count(0)
    expect(page.get_by_role("article", name="LONG ETH-USDT-PERP")).to_be_visible()
    assert at.read(f"/api/alerts/{no}")["status"] == "DECLINED"
    assert at.read(f"/api/alerts/{yes}")["status"] == "DONE"

    # HALT, by the keyboard, thought better of once; then it refuses; then on.
    page.get_by_role("button", name="HALT").press("Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="HALT").press("Enter")
    page.get_by_label("Reason").fill("news at two")
    page.keyboard.press("Enter")
    expect(page.locator("#banner")).to_contain_text("news at two")
    refused = server.post(raw(body, id="halted", ticker="XRPUSDT.P")).json()["alert_id"]
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#banner")).to_be_empty()
    expect(page.get_by_role("button", name="HALT")).to_be_visible()
    assert page.evaluate("() => window.unloaded") is False

    # What came, by filter; then all of it as a file.
    page.get_by_role("link", name="Alerts").click()
    expect(page.locator(f"#alert-{refused} .badge")).to_have_text("denied")
    page.get_by_label("Status").select_option("declined")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#list tbody tr")).to_have_count(1)
    expect(page.locator(f"#alert-{no}")).to_be_visible()
    page.get_by_label("Text").fill("no such words")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing matches.")).to_be_visible()
    server.post(raw(body, id="out", ticker="ETHUSDT.P", message="exit", price="50500"))
    page.get_by_role("link", name="Results").click()
    expect(page.locator("#curve canvas").first).to_be_visible()
    with page.expect_download() as loading:
        page.get_by_role("link", name="alerts.csv").click()
    assert yes in loading.value.path().read_text(encoding="utf-8")

    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto("/alerts")
    expect(page.get_by_label("Password")).to_be_focused()


@pytest.mark.slow
def test_every_view_on_a_phone_and_a_desk_dark_and_light(
    server: Any, visit: Callable[..., Visit], body: Any
) -> None:
    entry = server.post(raw(body, id="a", **{"tp Close": "25", "tp1 Mult": "1"})).json()["alert_id"]
    server.post(raw(body, id="b", ticker="ETHUSDT.P"), STUDY)
    server.post(raw(body, ticker=None))
    # Words without end, where nothing may break.
    server.post(raw(body, message="W" * 60))
    server.post(raw(body, id="w", ticker="XRPUSDT.P", subaccount="w" * 60))
    server.post(raw(body, id="c", message="exit", price="50500"))
    server.post(raw(body, id="d"))
    desk, phone = visit(server.url), visit(server.url, phone=True, dark=True)
    phone.page.goto("/login")
    assert phone.barriers() == []
    for at in (desk, phone):
        at.log_in(body.password)
    for path in ("/", "/alerts", f"/alerts/{entry}", "/results", "/try"):
        for at in (desk, phone):
            at.page.goto(path)
            if "chart" in at.page.content() and path != "/try":
                at.page.wait_for_function(
                    "() => [...document.querySelectorAll('.chart')].every((e) => e.innerHTML)"
                )
            assert at.too_wide() <= 0, path
            assert at.barriers(None if at is desk else ["color-contrast"]) == [], path
            assert at.page.evaluate("() => window.jumped") < 0.05, path


@pytest.mark.slow
def test_every_view_knows_of_a_halt_and_of_what_waits(
    server: Any, visit: Callable[..., Visit], body: Any
) -> None:
    at, other = visit(server.url), visit(server.url)
    page = at.page
    at.log_in(body.password)
    other.log_in(body.password)
    page.goto("/results")
    page.get_by_role("button", name="HALT").click()
    page.keyboard.press("Enter")
    expect(page.locator("#banner")).to_contain_text("Halted by web")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()

    # Another view that stands open tells it too, and that somebody is asked.
    other.page.goto("/try")
    expect(other.page.locator("#banner")).to_contain_text("Halted")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="HALT")).to_be_visible()
    expect(other.page.get_by_role("button", name="HALT")).to_be_visible()
    server.post(raw(body, id="asks"), STUDY)
    for each in (page, other.page):
        expect(each.get_by_label("1 waiting")).to_be_visible()
        assert each.title().startswith("(1) Desk: ")


@pytest.mark.slow
def test_a_halt_that_did_not_arrive_is_not_taken_for_one(
    server: Any, visit: Callable[..., Visit], body: Any
) -> None:
    at = visit(server.url)
    page = at.page
    at.log_in(body.password)
    page.get_by_role("button", name="HALT").click()
    at.context.set_offline(True)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("No answer from the server")
    at.context.set_offline(False)
    page.get_by_role("button", name="Halt now").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#banner")).to_contain_text("Halted by web")
    at.complaints.clear()


@pytest.mark.slow
def test_a_page_that_renews_itself_leaves_a_person_where_they_were(
    server: Any, visit: Callable[..., Visit], body: Any
) -> None:
    at = visit(server.url, phone=True)
    page = at.page
    at.log_in(body.password)
    server.post(raw(body, id="long", ticker="ETHUSDT.P"))
    server.post(raw(body, ticker=None))
    accounts = page.locator("#accounts .scroll")
    expect(accounts.get_by_text("answers")).to_be_visible()
    assert accounts.evaluate("(each) => each.scrollLeft = 90") == 90
    level = {"long Breakeven": "49500"}
    server.post(raw(body, id="up", ticker="ETHUSDT.P", message="breakeven", price="50700", **level))
    expect(accounts.get_by_role("row").nth(1)).to_contain_text("+")
    assert accounts.evaluate("(each) => each.scrollLeft") == 90

    page.goto("/alerts")
    first = page.locator("#refusals details").first
    first.locator("summary").click()
    server.post(raw(body, ticker="", id="another"))
    expect(page.locator("#refusals details")).to_have_count(2)
    assert page.locator("#refusals details").evaluate_all("(all) => all.map((each) => each.open)") == [
        False,
        True,
    ]


@pytest.mark.slow
def test_a_button_that_moves_takes_no_click_that_was_meant_for_another(
    server: Any, visit: Callable[..., Visit], body: Any
) -> None:
    at = visit(server.url)
    page = at.page
    at.log_in(body.password)
    first = server.post(raw(body, id="first"), STUDY).json()["alert_id"]
    expect(page.locator(f"#question-{first}")).to_be_visible()
    second = server.post(raw(body, id="second", ticker="ETHUSDT.P"), STUDY).json()["alert_id"]
    expect(page.locator(f"#question-{second}")).to_be_visible()
    yes = page.locator(f"#question-{first}").get_by_role("button", name="Approve").bounding_box()
    assert yes is not None
    # The first is declined elsewhere, and the second stands where it stood, in the very moment of the click.
    page.evaluate(
        """async ([url, x, y]) => {
          await Desk.ask(url);
          while (document.querySelectorAll(".question").length > 1) await Desk.refresh();
          document.elementFromPoint(x, y).click();
        }""",
        [f"/api/intents/{first}/decline", yes["x"] + 5, yes["y"] + 5],
    )
    page.locator(f"#question-{second}").get_by_role("button", name="Decline").click()
    expect(page.locator(f"#question-{second}")).to_have_count(0)
    assert at.read(f"/api/alerts/{second}")["status"] == "DECLINED"


def test_a_server_that_is_away_is_told_and_forgiven(
    server: Any, visit: Callable[..., Visit], body: Any
) -> None:
    at = visit(server.url)
    at.log_in(body.password)
    lost = at.page.locator("#lost")
    expect(lost).to_be_hidden()
    at.context.set_offline(True)
    at.page.evaluate("() => Desk.refresh()")
    expect(lost).to_be_visible()
    at.context.set_offline(False)
    at.page.evaluate("() => Desk.refresh()")
    expect(lost).to_be_hidden()
    # Away is what the browser complains of, and nothing else.
    assert {complaint.partition(" (")[0] for complaint in at.complaints} <= {
        "Failed to load resource: net::ERR_INTERNET_DISCONNECTED"
    }
    at.complaints.clear()
