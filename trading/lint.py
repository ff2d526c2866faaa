"""Every problem of an alert or of its template, each with its line and its mend.

Whatever the server refuses is found by the server's own reading, part by part, so that its words are the
same. It must never show a passphrase, and never say yes where the server would say no.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType

from trading.alert import parse
from trading.body import MAX_BODY, NOT_LET_IN, TOO_LONG, Body, decode
from trading.errors import AlertInvalid
from trading.keys import KEYS, NOTHING, canonical, member, nearest, shown
from trading.model import AlertKind, plain
from trading.syntax import TOKEN, line_of, load, read, unfilled, unquoted
from trading.template import MOST_PLOTS, PLACEHOLDERS, Placeholder, Script, Template

#: A message that is nothing else says what the script says: there is no template to check.
WHOLE_MESSAGE = "{{strategy.order.alert_message}}"

_MOST_FAULTS = 50
_PRICE_KEYS = frozenset(key for key in KEYS if key.endswith((" SL", " TP", " Breakeven"))) | {"price", "size"}
_DIGITS = re.compile(r"[0-9]{1,3}")
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem. `line` counts from 1; `code` is what the server would answer, None where it would take
    the alert all the same; `field` is the key, None where it is about the whole."""

    line: int
    field: str | None
    reason: str
    mend: str
    code: int | None


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    text: str
    line: int


def lint(
    raw: bytes,
    *,
    exchanges: Collection[str],
    default_subaccount: str | None,
    now: datetime,
    script: Script | None = None,
) -> list[Finding]:
    """All problems of a body, or of the template of one, by line; `script` is the Pine script it reads.

    `exchanges` and `default_subaccount` are the server's; `now` is UTC and bounds the alert's `time`.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return [_whole("the body is not UTF-8 text", "save it as UTF-8", 400)]
    linter = _Linter(text, sorted(exchanges), default_subaccount, now, script)
    if len(raw) > MAX_BODY:
        linter.add(1, None, TOO_LONG, "take out what alertmodel.txt does not name", 413)
    linter.run()
    return sorted(linter.findings, key=lambda each: (each.line, each.field or "", each.code is None))


class _Linter:
    """One text. Each stage adds its findings and hands on what is left when they are mended."""

    def __init__(
        self,
        text: str,
        exchanges: list[str],
        default_subaccount: str | None,
        now: datetime,
        script: Script | None,
    ) -> None:
        self.findings: list[Finding] = []
        self._text = text
        self._template = Template(text)
        self._exchanges = exchanges
        self._default_subaccount = default_subaccount
        self._now = now
        self._script = script
        self._lines: dict[str, int] = {}
        self._last_line = 1

    def add(self, line: int, field: str | None, reason: str, mend: str, code: int | None) -> None:
        found = Finding(line=line, field=field, reason=reason, mend=mend, code=code)
        if found not in self.findings:
            self.findings.append(found)

    def run(self) -> None:
        if self._text.strip() == WHOLE_MESSAGE:
            return  # the script builds all of it
        for placeholder in self._template.placeholders:
            self._placeholder(placeholder)
        at = {each.key: each for each in self._template.placeholders}
        now = self._now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for side in self._sides(at.get("action")):
            text = self._template.filled(side=side, exchange=self._exchanges[0], now=now)
            members = self._members(text)
            body = None if members is None else self._body(members)
            if members is None or body is None:
                return
            self._fields(body)
            self._advise(body, {canonical(each.key) or each.key: each.text for each in members}, at)

    def _sides(self, action: Placeholder | None) -> tuple[str, ...]:
        """The sides that an entry of this template may have."""
        if action is None or action.name != "strategy.order.action":
            return ("buy",)  # it is told, and this changes nothing
        return self._script.sides if self._script else ("buy", "sell")

    # --- what TradingView fills in ------------------------------------------------------------------

    def _placeholder(self, each: Placeholder) -> None:
        if not each.quoted:
            code = 400 if each.is_word else None
            mend = "put it in quotes: where there is no value, the alert is no JSON without them"
            self.add(each.line, each.key or None, unquoted(each.key or each.name, each.text), mend, code)
        mend = self._wrong(each)
        if mend:
            code = 400 if '"' in each.text or not each.quoted else 422
            self.add(each.line, each.key or None, unfilled(each.text), mend, code)
        elif each.is_padded:
            reason = f"{each.text} has spaces within its braces, and TradingView shows none"
            self.add(each.line, each.key or None, reason, f"write {{{{{each.name}}}}}", None)
        elif each.key == "size" and each.name == "strategy.position_size":
            reason = f"{each.text} is negative for a short, and such an entry is refused"
            self.add(each.line, each.key, reason, f"write {member('size')}", 422)
        elif each.key in _PRICE_KEYS and each.title and canonical(each.title) not in (None, each.key):
            reason = f"it reads the plot of another key, {shown(each.title)}"
            self.add(each.line, each.key, reason, f"write {member(each.key)}", None)

    def _wrong(self, each: Placeholder) -> str:
        """The mend of a placeholder that TradingView would leave as it is; empty for a good one."""
        titles = [title for title in self._script.titles if title] if self._script else []
        names = [*PLACEHOLDERS, *(f'plot("{title}")' for title in titles)]
        if not each.known:
            near = nearest(each.name, [*names, f'plot("{each.key[:1].upper()}{each.key[1:]}")'])
            return f"did you mean {{{{{near}}}}}?" if near else f"write {member(each.key or 'ticker')}"
        if self._script is None:
            return ""
        if each.of_strategy and not self._script.is_strategy:
            return f"the script is no strategy: write the {each.key or 'value'} yourself, one alert for each"
        count = len(self._script.titles)
        if each.number is not None and each.number >= count:
            return f"the script has {count} plots, counted from plot_0"
        if each.title is None or None in self._script.titles:
            return ""
        if each.title not in titles:
            near = nearest(each.title, titles)
            there = ", ".join(titles[:MOST_PLOTS]) or "nothing"
            return f'did you mean {{{{plot("{near}")}}}}?' if near else f"the script plots {there}"
        if titles.index(each.title) >= MOST_PLOTS:
            return f"plot it among the script's first {MOST_PLOTS}: TradingView promises no more"
        return ""

    # --- the text ------------------------------------------------------------------------------------

    def _members(self, text: str) -> list[_Member] | None:
        """The members of the object, with every fault mended that can be; None if the rest is unreadable."""
        try:
            for _ in range(_MOST_FAULTS):
                _, fault = read(text)
                if fault is None:
                    break
                self.add(fault.line, None, fault.reason, fault.mend, 400)
                if fault.mended is None:
                    return None
                text = fault.mended
            load(text)
        except AlertInvalid as error:
            self.add(1, None, error.reason, error.mend, error.code)
            return None
        members = list(_split(text))
        self._last_line = members[-1].line if members else 1
        return members

    def _body(self, members: list[_Member]) -> Body | None:
        """What the server would decode, without the members that it refuses; each of those is told."""
        good: list[str] = []
        body = None
        for each in members:
            try:
                body = decode("{{{}}}".format(",".join([*good, each.text])).encode("utf-8", "surrogatepass"))
            except AlertInvalid as error:
                if not any(
                    each.line == known.line and error.reason == known.reason for known in self.findings
                ):
                    self.add(each.line, error.field, error.reason, error.mend, error.code)
                if error.code == 400:
                    return None
                continue
            good.append(each.text)
            self._lines.setdefault(canonical(each.key) or each.key, each.line)
        body = body if good else decode(b"{}")
        if body is not None and not body.passphrase:
            self._at("passphrase", NOT_LET_IN, f"write {member('passphrase')}", 401)
        return body

    def _at(self, field: str, reason: str, mend: str, code: int | None) -> None:
        self.add(self._lines.get(field, self._last_line), field, reason, mend, code)

    # --- the fields ----------------------------------------------------------------------------------

    def _fields(self, body: Body) -> None:
        """Every field that the server refuses: it tells the first, that one is mended, and it reads again."""
        told = {each.field for each in self.findings if each.code in (400, 422)}
        for _ in range(_MOST_FAULTS):
            try:
                parse(
                    body,
                    default_subaccount=self._default_subaccount,
                    exchanges=self._exchanges,
                    received_at=self._now,
                )
                return
            except AlertInvalid as error:
                field = error.field or ""
                if field not in told:
                    self._at(field, error.reason, error.mend, error.code)
                mended = _mended(dict(body.fields), field, self._exchanges[0])
                body = replace(body, fields=MappingProxyType(mended))

    def _advise(self, body: Body, texts: dict[str, str], at: dict[str, Placeholder]) -> None:
        """What the server takes, and what goes wrong all the same."""
        for key, value in body.fields.items():
            if canonical(key) is None:
                near = nearest(key, [each for each in (*KEYS, _rung(key, body)) if each not in body.fields])
                mend = f'did you mean "{near}"?' if near else "take it out, or spell it as in alertmodel.txt"
                self._at(key, f"{shown(key)} is no key of an alert: it is ignored", mend, None)
            elif key in _PRICE_KEYS | {"tp Close"} or key.endswith(" Mult"):
                self._number(key, value, texts)
        if self._template.is_template:
            self._advise_template(body, at)
        else:
            self._rungs(body)
        self._identity(body, at)

    def _number(self, key: str, value: str | bool | None, texts: dict[str, str]) -> None:
        written = value if isinstance(value, str) else _bare(texts.get(key, ""))
        word = written.strip().casefold()
        if word in NOTHING and word not in ("", "null", "none"):
            reason = f"{shown(written)} is no number: it is read as if there were none"
            self._at(key, reason, "let the script plot 0 where it has no level: nz(level)", None)

    def _rungs(self, body: Body) -> None:
        """Targets that the price meets behind the final one."""
        try:
            alert = parse(
                body,
                default_subaccount=self._default_subaccount,
                exchanges=self._exchanges,
                received_at=self._now,
            )
        except AlertInvalid:
            return  # told already
        price, stop, target = alert.price, alert.levels.stop, alert.levels.target
        if alert.kind is not AlertKind.ENTRY or price is None or stop is None or target is None:
            return
        for rung in alert.rungs:
            if abs(price - stop) * rung.multiple > abs(target - price):
                reason = f"it lies beyond the final target {plain(target)}: its part is still open there"
                most = abs(target - price) * 100 // abs(price - stop) / 100
                mend = f"write {plain(most)} or less, or move the target"
                self._at(f"tp{rung.number} Mult", reason, mend, None)

    def _advise_template(self, body: Body, at: dict[str, Placeholder]) -> None:
        action, message, time = at.get("action"), at.get("message"), at.get("time")
        if (
            action
            and action.name == "strategy.order.action"
            and message is None
            and body.fields.get("message")
        ):
            said = shown(str(body.fields["message"]))
            reason = f"every order of the strategy would say {said}, its exits too"
            self._at("message", reason, f"write {member('message')}", None)
        if time and time.name == "time":
            reason = "{{time}} is when the bar opened: an entry may be too old when it comes"
            self._at("time", reason, f"write {member('time')}", None)
        elif time is None and body.fields.get("time"):
            reason = "every alert of this template would have the same time"
            self._at("time", reason, f"write {member('time')}", None)

    def _identity(self, body: Body, at: dict[str, Placeholder]) -> None:
        """Whether a repeat can be known for one, and nothing else is taken for it."""
        key, id_parts = body.fields.get("id"), self._id_parts()
        if not body.fields.get("time"):
            reason = "without a time its age is not known: one that comes late is traded"
            self._at("time", reason, f"add {member('time')}", None)
            if not key:
                reason = "no id and no time: the same alert is a repeat within 60 s, and a new one after them"
                self._at("id", reason, "add a time, or an id that no other alert has", None)
        if not key or not self._template.is_template:
            return
        orders = {"strategy.order.id", "strategy.order.alert_message", "strategy.order.comment"}
        if not id_parts & {"time", "timenow"}:
            reason = "the id is the same for every alert: all but the first are refused"
            self._at("id", reason, "put {{timenow}} into it", None)
        elif any(each.of_strategy for each in self._template.placeholders) and not id_parts & orders:
            reason = "two orders of one second have the same id: the second is refused"
            self._at("id", reason, "put {{strategy.order.id}} into it as well", None)

    def _id_parts(self) -> set[str]:
        return {each.name for each in self._template.placeholders if each.key == "id"}


def _rung(key: str, body: Body) -> str:
    """The key of a target that a misspelt one may mean: of its number, else the first that is not there."""
    number = _DIGITS.search(key)
    if number:
        return f"tp{int(number[0])} Mult"
    return next(f"tp{n} Mult" for n in range(1, len(body.fields) + 2) if f"tp{n} Mult" not in body.fields)


def _whole(reason: str, mend: str, code: int) -> Finding:
    return Finding(line=1, field=None, reason=reason, mend=mend, code=code)


def _split(text: str) -> Iterator[_Member]:
    """The members of a good JSON object, each as it is written."""
    depth, begin, key = 0, 0, ""
    for token in TOKEN.finditer(text):
        found = token[0]
        if found in ("{", "["):
            depth += 1
            begin = token.end() if depth == 1 else begin
        elif found in ("}", "]", ",") and depth == 1:
            written = text[begin : token.start()]
            if written.strip():
                at = begin + len(written) - len(written.lstrip())
                yield _Member(key=key, text=written.strip(), line=line_of(text, at))
            begin, key = token.end(), ""
        depth -= found in ("}", "]")
        if token.lastgroup == "string" and depth == 1 and not key:
            key = found.strip('"')


def _bare(member_text: str) -> str:
    """The value of a member whose value has no quotes."""
    return member_text.rpartition(":")[2].strip()


def _mended(fields: dict[str, str | bool | None], field: str, exchange: str) -> dict[str, str | bool | None]:
    """The fields with a good value in place of the one that was refused, so that the next is told too."""
    good = {
        "ticker": "BTCUSDT.P",
        "exchange": exchange,
        "message": "entry",
        "action": "buy",
        "type": "market",
    }
    good |= {"subaccount": "MAIN"}
    price = fields.get("price")
    if field in good:
        return fields | {field: good[field]}
    if field == "tp Close":
        fields = {key: value for key, value in fields.items() if not key.endswith(" Mult")}
    if field == "price":
        fields |= {"type": "market"}
    if field.endswith(" SL"):
        # As near as can be: no other check may fail for a stop that we made up.
        near = Decimal(price) if isinstance(price, str) and _NUMBER.fullmatch(price) else Decimal(1)
        shift = near / 10**6 * (-1 if field.startswith("long") else 1)
        return fields | {field: plain(near + shift)}
    return {key: value for key, value in fields.items() if key != field}
