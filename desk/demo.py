"""`make demo`: the examples of alertmodel.txt, sent to a server of its own, and told.

On the paper venue, or with the real adapters at emulated venues. What each should come to is worked out here,
from the alert and README.md's formulas, and compared with what the server says. Never reads the user's
settings, touches their files, or trades on a real venue.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Any

from dotenv import dotenv_values

from desk import demo_venues
from desk.demo_venues import Emulators, Venue
from desk.settings import ENV_FILE, ROOT
from trading.alertmodel import Example, examples
from trading.errors import DeskError
from trading.model import Route, plain

HOST = "127.0.0.1"
RISK, LEVERAGE = Decimal(1), Decimal(3)
SETTINGS = {"RISK_MAIN": f"{RISK}", "LEVERAGE_MAIN": f"{LEVERAGE}", "WEB_CONCURRENCY": "1"}
#: An entry's share of the leverage's cap, the rest being room for fees.
ROOM = Decimal("0.97")
#: Seconds: for an alert to end, and for an answer (the first waits for the start); for the server to end.
LIMIT, STOP_LIMIT, _ANSWERS = 60.0, 10.0, 60.0
WIDTH = 100

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ENDED = ("DONE", "DENIED", "DECLINED", "EXPIRED", "FAILED", "IGNORED")
_ASKED = "AWAITING_APPROVAL"
_LEGS = {"e": "entry", "sl": "stop", "x": "close"}
_ENTRY_KEYS = (" SL", " TP", " Mult", "tp Close")
_SIZED = "{free_collateral} free, risk {risk} %: {quantity}, worst loss {worst_loss}"
_ROW = "{:2} {:25} {:8} {:22} {:22} {}"

Json = dict[str, Any]


class Step:
    """One alert: told while it happens, and kept for the table."""

    def __init__(self, steps: list[Step], title: str, asks: str) -> None:
        steps.append(self)
        self.title, self.asks, self.good = title, asks, True
        self.facts: list[tuple[str, str, str]] = []
        print(f"\n{len(steps):2}  {title}")
        self.say("asks", asks)

    def say(self, what: str, text: str) -> None:
        for head, line in zip_longest([what], wrap(text, WIDTH - 14), fillvalue=""):
            print(f"    {head:9} {line}", flush=True)

    def check(self, what: str, expected: str, happened: str, note: str = "") -> None:
        """Tells and keeps what happened; `note` is only told."""
        self.facts.append((what, expected, happened))
        self.good &= expected == happened
        wrong = "" if expected == happened else f"NOT AS EXPECTED, which was: {expected}"
        self.say(what, " - ".join(filter(None, (happened, note, wrong))))

    def compare(self, expected: Mapping[str, str], happened: Mapping[str, str]) -> None:
        for what in dict.fromkeys([*expected, *happened]):
            self.check(what, expected.get(what, "nothing"), happened.get(what, "nothing"))


class Book:
    """What the account should hold, kept from the alerts alone. A limit entry is taken to rest."""

    def __init__(self, lot: Decimal, *, stop_waits: bool) -> None:
        self._lot, self._stop_waits = lot, stop_waits
        self.price = self.quantity = self.average = self.pnl = Decimal(0)
        self.sign = 0
        #: Those that have not ended: quantity and price by client order id.
        self.orders: dict[str, tuple[Decimal, Decimal]] = {}

    def take(self, alert: Json, model: Json) -> dict[str, str]:
        """What one alert should come to, by name; of the server's `model` id and free collateral count."""
        message, expected = alert["message"], {"status": "DONE"} | self._see(alert)
        if message == "exit" or (message == "entry" and self.quantity):
            expected["close"] = self._close(self.quantity, self.price) if self.quantity else "nothing"
        if message == "entry":
            expected |= self._enter(alert, model)
        elif message == "exit":
            self.orders.clear()
        else:
            level = number(alert, "long Breakeven" if self.sign > 0 else "short Breakeven")
            self.orders = {name: order for name, order in self.orders.items() if leg(name) != "stop"}
            self.orders[f"{model['id']}-sl"] = (self.quantity, level)
            expected["stop"] = traded(-self.sign, self.quantity, level)
        return expected

    def state(self) -> dict[str, str]:
        held = f"{'LONG' if self.sign > 0 else 'SHORT'} {plain(self.quantity)} at {plain(self.average)}"
        held = held if self.quantity else "FLAT"
        return {"position": held, "orders": legs(self.orders), "P&L": f"{self.pnl:+.2f}"}

    def _see(self, alert: Json) -> dict[str, str]:
        """The alert's price, and what trades on the way to it: the stop, or targets."""
        if alert.get("type") != "limit":
            self.price = number(alert, "price") or self.price
        gains = {name: self.sign * (self.price - at) for name, (_, at) in self.orders.items()}
        hit = [name for name, gain in gains.items() if leg(name) == "stop" and gain <= 0]
        hit = hit or [name for name, gain in gains.items() if leg(name) != "stop" and gain >= 0]
        sold = {name: self.orders.pop(name) for name in hit if self.quantity}
        return {f"hit {leg(name)}": self._close(min(q, self.quantity), at) for name, (q, at) in sold.items()}

    def _close(self, quantity: Decimal, price: Decimal) -> str:
        self.pnl += self.sign * quantity * (price - self.average)
        self.quantity -= quantity
        return traded(-self.sign, quantity, price, done=True)

    def _enter(self, alert: Json, model: Json) -> dict[str, str]:
        limit, price = alert.get("type") == "limit", number(alert, "price")
        quantity = quantity_of(alert, Decimal(model["sizing"]["free_collateral"] or 0), self._lot)
        self.sign = 1 if alert["action"] == "buy" else -1
        self.average, self.quantity = price, quantity * (not limit)
        children = {"sl": (quantity, number(alert, stop_key(alert))), **ladder(alert, quantity, self._lot)}
        made = children | ({"e": (quantity, price)} if limit else {})
        self.orders = {f"{model['id']}-{name}": order for name, order in made.items()}
        expected = {"entry": traded(self.sign, quantity, price, done=not limit)}
        for name, order in children.items():
            later = " INITIALIZED" if limit and (name != "sl" or self._stop_waits) else ""
            expected[_LEGS.get(name, name)] = traded(-self.sign, *order) + later
        return expected


class Server:
    """The real server by itself: its own database, secrets and port, its log in `folder`.

    `trading` are settings that say where it trades; without them that is the paper venue.
    """

    def __init__(self, folder: Path, trading: Mapping[str, str] | None = None) -> None:
        self.passphrase, self._password = secrets.token_urlsafe(24), secrets.token_urlsafe(12)
        self.database_url, self._log = f"sqlite:///{folder / 'desk.db'}", folder / "server.log"
        # Bound here and handed over: nobody can take the port in between.
        with socket.create_server((HOST, 0)) as door, self._log.open("wb") as log:
            self.port = int(door.getsockname()[1])
            own = {"WEBHOOK_PASSPHRASE": self.passphrase, "DASHBOARD_PASSWORD": self._password}
            own |= {"DATABASE_URL": self.database_url, "PORT": f"{self.port}"}
            command = [sys.executable, "-m", "gunicorn", "app:app", "--bind", f"fd://{door.fileno()}"]
            env, fds = shielded(ENV_FILE) | SETTINGS | dict(trading or {}) | own, [door.fileno()]
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=log, stderr=log, pass_fds=fds, start_new_session=True
            )

    def ask(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
        """Status and JSON of one request; ConnectionError if the server does not answer."""
        login = base64.b64encode(f"demo:{self._password}".encode()).decode()
        try:
            with contextlib.closing(
                http.client.HTTPConnection(HOST, self.port, timeout=_ANSWERS)
            ) as connection:
                connection.request(method, path, json.dumps(body or {}), {"Authorization": f"Basic {login}"})
                response = connection.getresponse()
                return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            tail = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            said = [f"no good answer to {method} {path} ({error!r}); the server's last words:", *tail]
            raise ConnectionError("\n    ".join(said)) from None

    def ended(self, alert_id: str, *until: str) -> Json:
        """The alert once it has ended or come to `until`, or as it stands when LIMIT is over."""
        deadline = time.monotonic() + LIMIT
        while (found := self.ask("GET", f"/api/alerts/{alert_id}")[1])["status"] not in (*_ENDED, *until):
            if time.monotonic() > deadline:
                return found | {"status": f"{found['status']} after {LIMIT:g} s"}
            time.sleep(0.05)
        return found

    def listed(self, what: str, query: str = "limit=500") -> list[Json]:
        found: list[Json] = self.ask("GET", f"/api/{what}?{query}")[1][what]
        return found

    def end(self) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Story:
    """Sends the alerts one after the other, and compares what happens with its own book."""

    def __init__(self, server: Server, venue: Venue) -> None:
        self._server, self._venue = server, venue
        self._book = Book(venue.lot, stop_waits=venue.stop_waits)
        self.steps: list[Step] = []

    def tell(self, filled: Sequence[Example]) -> list[Step]:
        """All examples in order, two refusals before the first, and the first a second time."""
        alert = self._filled(filled[0])
        without = {key: value for key, value in alert.items() if key != stop_key(alert)}
        self._turned_away("A wrong passphrase", alert | {"passphrase": "a guess"}, "401")
        self._turned_away("An entry without its stop", without, f"422 {stop_key(alert)}")
        for each in filled:
            alert = self._filled(each)
            alert_id = self._play(each.title, alert)
            if each is filled[0]:
                self._turned_away("The same alert again", alert, "200 duplicate", alert_id)
        self._nothing_left()
        return self.steps

    def _filled(self, example: Example) -> Json:
        """The example as TradingView would send it now."""
        alert: Json = json.loads(example.body_text)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        venue = self._venue
        alert |= {"ticker": venue.ticker, "exchange": venue.exchange or alert["exchange"]}
        if "id" in alert:
            # One account trades everywhere: what is told apart by its id alone must have another there.
            alert["id"] = f"{alert['exchange']} {alert['id'].replace(alert['time'], now)}"
        return alert | {"time": now, "passphrase": self._server.passphrase}

    def _send(self, step: Step, alert: Json, answer: str, *, study: bool = False) -> str:
        """The id that the server gives it, or none."""
        code, said = self._server.ask("POST", f"/{Route.STUDY if study else Route.ORDER}", alert)
        happened = f"{code} {said.get('status', said.get('field', ''))}".strip()
        step.check("answer", answer, happened, said["message"])
        return str(said.get("alert_id", "none"))

    def _turned_away(self, title: str, alert: Json, answer: str, first_id: str = "none") -> None:
        """What must change nothing: a refusal, or a repeat of the alert `first_id`."""
        step, stored = Step(self.steps, title, described(alert)), len(self._server.listed("alerts"))
        step.check("alert_id", first_id, self._send(step, alert, answer))
        step.check("stored", f"{stored}", f"{len(self._server.listed('alerts'))}", "alerts in all")
        step.compare(self._book.state(), self._state())

    def _play(self, title: str, alert: Json) -> str:
        """Sends one example, waits for its end, and compares; its id."""
        step, server, message = Step(self.steps, title, described(alert)), self._server, alert["message"]
        told = message not in ("entry", "exit") and not message.endswith("breakeven")
        # Only the entries of a study are asked about: its exits should wait for nobody.
        study = title.startswith("Study") and message == "entry"
        if not told and alert.get("type") != "limit" and number(alert, "price"):
            self._venue.move(number(alert, "price"))
        alert_id = self._send(step, alert, "200 ignored" if told else "202 RECEIVED", study=study)
        if alert_id == "none":
            return alert_id
        if study:
            step.check("asked", _ASKED, server.ended(alert_id, _ASKED)["status"])
            code, said = server.ask("POST", f"/api/intents/{alert_id}/approve")
            step.check("approval", "taken", "taken" if said["success"] else f"{code}", said["message"])
        model = server.ended(alert_id)
        if model["reason"]:
            step.say("reason", model["reason"])
        if model["sizing"]["quantity"]:
            step.say("sized", _SIZED.format(**model["sizing"]))
        before = set(self._book.orders)
        expected = {"status": "IGNORED"} if told else self._book.take(alert, model)
        filled = {o["client_order_id"]: o for o in server.listed("orders") if o["status"] == "FILLED"}
        hit = {f"hit {leg(name)}": shown(order) for name, order in filled.items() if name in before}
        happened = {"status": model["status"]} | hit
        happened |= {leg(each["client_order_id"]): shown(each) for each in model["orders"]}
        step.compare(expected | self._book.state(), happened | self._settled(self._book.state()))
        return alert_id

    def _settled(self, expected: dict[str, str]) -> dict[str, str]:
        """The state once it is as expected, or as it stands when the venue's patience is over."""
        deadline = time.monotonic() + self._venue.patience
        while (found := self._state()) != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _state(self) -> dict[str, str]:
        """What is open, which orders have not ended, what was earned before fees; all alerts together."""
        lanes, orders = self._here("positions", "all=1"), self._here("orders", "open=1")
        held = [each for each in lanes if each["direction"] != "FLAT"]
        position = [f"{each['direction']} {each['quantity']} at {each['average_price']}" for each in held]
        pnl = sum(Decimal(each["realised_pnl"]) for each in lanes)
        live = legs(each["client_order_id"] for each in orders)
        return {"position": ", ".join(position) or "FLAT", "orders": live, "P&L": f"{pnl:+.2f}"}

    def _here(self, what: str, query: str) -> list[Json]:
        """Of the story's own venue, where the server trades at several."""
        listed = self._server.listed(what, query)
        return [each for each in listed if self._venue.exchange in (None, each["venue"])]

    def _nothing_left(self) -> None:
        """By the server's word, and by the venue's own."""
        step = Step(self.steps, "After the last exit", "no position, no order that has not ended")
        expected = self._book.state() | {"position": "FLAT", "orders": "none"}
        happened = self._settled(expected) | {"venue": self._venue.left()}
        step.compare(expected | {"venue": "empty"}, happened)


def main(arguments: Sequence[str] = ()) -> int:
    """0 if all came as expected, else 1; however it ends, the processes end too and their folder goes."""
    parser = argparse.ArgumentParser(
        prog="python -m desk.demo", description="The examples of alertmodel.txt, told."
    )
    what = "the paper venue, or emulated ones that the server trades at with its real adapters"
    parser.add_argument("--venues", choices=("paper", "emulated"), default="paper", help=what)
    parser.add_argument("--only", metavar="NAME", type=str.upper, help="of the emulated venues, this one")
    asked = parser.parse_args(arguments)
    if asked.only and asked.venues == "paper":
        parser.error("--only chooses among the emulated venues: add --venues emulated")
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupted)
    try:
        with contextlib.ExitStack() as stack:
            emulators = Emulators() if asked.venues == "emulated" else None
            if emulators is not None:
                stack.callback(emulators.end)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="desk-demo-"))
            return played(Path(folder), emulators, asked.only)
    except (KeyboardInterrupt, OSError, UnicodeDecodeError, DeskError) as error:
        print(f"\ndemo: {str(error) or 'stopped, and all tidied up'}", file=sys.stderr, flush=True)
        return 1


def played(folder: Path, emulators: Emulators | None, only: str | None) -> int:
    """The story at each venue, with its table; 0 if all came as expected."""
    text = (ROOT / "alertmodel.txt").read_text(encoding="utf-8")
    filled = [each for each in examples(text) if not each.is_template]
    emulated = emulators.venues(only) if emulators else None
    server = Server(folder, emulators.settings if emulators else None)
    try:
        server.ask("GET", "/health")
        codes = []
        for place, venue in enumerate(emulated or [demo_venues.on_paper(server.database_url)]):
            if place:
                print()
            begun = "A server of its own is up" if not place else "The same server is"
            print(f"{begun} at http://{HOST}:{server.port}, {venue.about}.")
            codes.append(concluded(Story(server, venue).tell(filled)))
        return max(codes)
    finally:
        server.end()


def concluded(steps: Sequence[Step]) -> int:
    """Prints the table and the sum of it; the exit status."""
    lines = ["", _ROW.format("#", "alert, and what it asks", "what", "expected", "happened", ""), "-" * WIDTH]
    for place, step in enumerate(steps, start=1):
        left = wrap(step.title, 25) + wrap(step.asks, 25, initial_indent="  ", subsequent_indent="  ")
        right: list[tuple[str, ...]] = []
        for what, expected, happened in step.facts:
            mark = "" if expected == happened else "differs"
            if not right:
                mark = "ok" if step.good else "NOT AS EXPECTED"
            right += zip_longest([what], wrap(expected, 22), wrap(happened, 22), [mark], fillvalue="")
        for number, words, cells in zip_longest([place], left, right):
            lines.append(_ROW.format(number or "", words or "", *(cells or [""] * 4)))
        lines.append("")
    good = sum(step.good for step in steps)
    lines.append(f"{good} of {len(steps)} as expected")
    print("\n".join(line.rstrip() for line in lines), flush=True)
    return 0 if good == len(steps) else 1


def shielded(env_file: Path) -> dict[str, str]:
    """What the server's process needs to run; all that `env_file` sets is empty, which counts as unset."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return dict.fromkeys(dotenv_values(env_file, interpolate=False, encoding="utf-8-sig"), "") | kept


def quantity_of(alert: Json, free: Decimal, lot: Decimal) -> Decimal:
    """`size`, or what loses RISK percent of `free` at the stop; under the cap, and down to the lot."""
    price, stop = number(alert, "price"), number(alert, stop_key(alert))
    wanted = number(alert, "size") or free * RISK / 100 / abs(price - stop)
    return min(wanted, ROOM * free * LEVERAGE / price) // lot * lot


def ladder(alert: Json, quantity: Decimal, lot: Decimal) -> dict[str, tuple[Decimal, Decimal]]:
    """Quantity and price of each target: rungs by the distance to the stop, then the rest."""
    price, stop = number(alert, "price"), number(alert, stop_key(alert))
    share = quantity * number(alert, "tp Close") / 100 // lot * lot
    rungs = [key.removesuffix(" Mult") for key in alert if key.endswith(" Mult") and number(alert, key)]
    steps = {rung: (share, price + (price - stop) * number(alert, f"{rung} Mult")) for rung in rungs}
    return steps | {"tp": (quantity - share * len(rungs), number(alert, stop_key(alert).replace("SL", "TP")))}


def stop_key(alert: Json) -> str:
    return "long SL" if alert["action"] == "buy" else "short SL"


def number(alert: Json, key: str) -> Decimal:
    """A level of the alert; 0 where there is none."""
    return Decimal(str(alert.get(key, "0")))


def described(alert: Json) -> str:
    """What an alert asks for, in a line."""
    entry, price = alert["message"] == "entry", alert.get("price", "the market")
    keys = ("message", "action", "type", "ticker") if entry else ("message", "ticker")
    told = _ENTRY_KEYS if entry else "Breakeven"
    levels = [f"{key} {alert[key]}" for key in alert if key.endswith(told) and number(alert, key)]
    size = [f"size {alert['size']}"] if "size" in alert else []
    return ", ".join([" ".join(alert[key] for key in keys) + f" at {price}", *size, *levels])


def shown(order: Json) -> str:
    """What an order did or would do, and what is odd about it."""
    filled = order["status"] == "FILLED"
    at = order["average_price"] if filled else order["trigger_price"] or order["price"] or 0
    odd = [] if filled or order["status"] == "ACCEPTED" else [order["status"]]
    odd += [] if order["role"] == "entry" or order["reduce_only"] else ["not reduce-only"]
    sign = 1 if order["side"] == "BUY" else -1
    if at is None:
        return f"{order['side'].lower()} {order['quantity']} filled, nobody says at which price"
    return " ".join([traded(sign, Decimal(order["quantity"]), Decimal(at), done=filled), *odd])


def traded(sign: int, quantity: Decimal, price: Decimal, *, done: bool = False) -> str:
    """`sold 2 at 42600` where it is done, `sell 2 at 42600` where it rests."""
    verb = ("sell", "sold") if sign < 0 else ("buy", "bought")
    return f"{verb[done]} {plain(quantity)} at {plain(price)}"


def leg(client_order_id: str) -> str:
    return _LEGS.get(name := client_order_id.split("-")[1], name)


def legs(client_order_ids: Iterable[str]) -> str:
    return ", ".join(sorted(map(leg, client_order_ids))) or "none"


def _interrupted(*_: object) -> None:
    """The first signal ends the story; further ones do not disturb the tidying up."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
