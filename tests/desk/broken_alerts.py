"""Broken alerts and templates, each with every finding that the linter owes it: line, key, the server's
answer (None where it takes the alert all the same), reason, mend.
"""

from __future__ import annotations

from typing import NamedTuple

ALERT = """{
    "ticker": "BTCUSDT.P",
    "exchange": "BINANCE",
    "time": "2026-01-05T11:59:58Z",
    "action": "buy",
    "price": "50000",
    "message": "entry",
    "type": "market",
    "subaccount": "MAIN",
    "passphrase": "canary-passphrase",
    "long SL": "49000",
    "long TP": "53000",
    "tp Close": "25",
    "tp1 Mult": "1",
    "tp2 Mult": "2"
}
"""
TEMPLATE = """{
    "id": "{{ticker}} {{timenow}} {{strategy.order.id}}",
    "ticker": "{{ticker}}",
    "exchange": "{{exchange}}",
    "time": "{{timenow}}",
    "action": "{{strategy.order.action}}",
    "price": "{{strategy.order.price}}",
    "message": "{{strategy.order.alert_message}}",
    "type": "market",
    "subaccount": "MAIN",
    "passphrase": "canary-passphrase",
    "long SL": "{{plot("Long SL")}}",
    "short SL": "{{plot("Short SL")}}"
}
"""
SCRIPT = """//@version=6
strategy("Example") // plot(close, "Not this one")
plot(close, "Long SL")
plot(close, color = color.red, title = "Short SL")
"""
INDICATOR = SCRIPT.replace('strategy("', 'indicator("')


class Broken(NamedTuple):
    text: str
    findings: list[tuple[int, str | None, int | None, str, str]]
    script: str | None = None


def edited(text: str, *pairs: str) -> str:
    """The text with each of `pairs`, old and new, replaced."""
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new)
    return text


def unfilled(placeholder: str) -> str:
    return (
        f"TradingView did not fill in {placeholder}: check its spelling, and that this kind of alert has it "
        "(the title of a plot is case-sensitive)"
    )


NUMBER = "write digits with a dot, such as 42000.5, without a sign or thousands separators; 0 for none"
QUOTES = "put it in quotes: where there is no value, the alert is no JSON without them"

BROKEN: dict[str, Broken] = {
    "empty": Broken(" \n", [(1, None, 400, "the body is empty", "paste one of alertmodel.txt's templates")]),
    "no comma": Broken(
        edited(ALERT, '"entry",\n', '"entry"\n'),
        [(8, None, 400, "the body is not JSON: a comma is missing in front of a key, line 8", "put it in")],
    ),
    "comma too many": Broken(
        edited(ALERT, '"tp2 Mult": "2"', '"tp2 Mult": "2",'),
        [
            (
                15,
                None,
                400,
                "the body is not JSON: a comma too many, before the closing brace, line 15",
                "take it out",
            )
        ],
    ),
    "no closing brace": Broken(
        edited(ALERT, "\n}\n", "\n"),
        [
            (
                15,
                None,
                400,
                "the body is not JSON: it ends before it is whole, line 15",
                "close the quote or the brace that is open",
            )
        ],
    ),
    "single quotes": Broken(
        edited(ALERT, '"', "'"),
        [
            (
                2,
                None,
                400,
                "the body is not JSON: its quotes are not straight double ones, line 2",
                'write " everywhere',
            )
        ],
    ),
    "curly quotes and comma": Broken(
        edited(ALERT, '"MAIN"', "“MAIN”", '"entry",', '"entry"'),
        [
            (8, None, 400, "the body is not JSON: a comma is missing in front of a key, line 8", "put it in"),
            (
                9,
                None,
                400,
                "the body is not JSON: its quotes are not straight double ones, line 9",
                'write " everywhere',
            ),
        ],
    ),
    "comment": Broken(
        edited(ALERT, '    "price"', '    // the price\n    "price"'),
        [(6, None, 400, "the body is not JSON: it holds a comment, line 6", "take it out: JSON knows none")],
    ),
    "two objects": Broken(
        ALERT + ALERT,
        [
            (
                17,
                None,
                400,
                "the body is not JSON: something stands behind the closing brace, line 17",
                "send one object and nothing else",
            )
        ],
    ),
    "a list": Broken(
        "[" + ALERT + "]",
        [
            (
                1,
                None,
                400,
                'the body is JSON but no object: expected {"ticker": ...}',
                "begin with { and end with }",
            )
        ],
    ),
    "bare words": Broken(
        edited(ALERT, '"BTCUSDT.P"', "BTCUSDT.P", '"BINANCE"', "BINANCE"),
        [
            (
                2,
                None,
                400,
                'the value of "ticker" wants quotes around it: "ticker": "{{ticker}}"',
                "put it in quotes",
            ),
            (
                3,
                None,
                400,
                'the value of "exchange" wants quotes around it: "exchange": "{{exchange}}"',
                "put it in quotes",
            ),
        ],
    ),
    "nested": Broken(
        edited(ALERT, '"49000"', '{"at": 49000}'),
        [
            (
                11,
                "long SL",
                422,
                "a nested value: an alert is one flat JSON object",
                "write it as text in quotes, or take it out",
            )
        ],
    ),
    "twice": Broken(
        edited(ALERT, '"long TP"', '"Long SL"'),
        [(12, "long SL", 422, "the key is there twice", "take one of the two out")],
    ),
    "missing stop": Broken(
        edited(ALERT, '    "long SL": "49000",\n', ""),
        [
            (
                14,
                "long SL",
                422,
                "an entry needs a stop",
                'write "long SL": "{{plot("Long SL")}}", and plot the level from the signal on',
            )
        ],
    ),
    "stop above": Broken(
        edited(ALERT, '"49000"', '"51000"'),
        [
            (
                11,
                "long SL",
                422,
                "51000 must be below the price 50000 of a long entry",
                "a long has its SL below and its TP above the price: are two levels swapped?",
            )
        ],
    ),
    "target below": Broken(
        edited(ALERT, '"53000"', '"48000"'),
        [
            (
                12,
                "long TP",
                422,
                "48000 must be above the price 50000 of a long entry",
                "a long has its SL below and its TP above the price: are two levels swapped?",
            )
        ],
    ),
    "short with a long's levels": Broken(
        edited(ALERT, '"buy"', '"sell"', "long", "short"),
        [
            (
                11,
                "short SL",
                422,
                "49000 must be above the price 50000 of a short entry",
                "a short has its TP below and its SL above the price: are two levels swapped?",
            ),
            (
                12,
                "short TP",
                422,
                "53000 must be below the price 50000 of a short entry",
                "a short has its TP below and its SL above the price: are two levels swapped?",
            ),
        ],
    ),
    "NaN stop": Broken(
        edited(ALERT, '"49000"', "NaN"),
        [
            (
                11,
                "long SL",
                422,
                "an entry needs a stop",
                'write "long SL": "{{plot("Long SL")}}", and plot the level from the signal on',
            ),
            (
                11,
                "long SL",
                None,
                "'NaN' is no number: it is read as if there were none",
                "let the script plot 0 where it has no level: nz(level)",
            ),
        ],
    ),
    "NaN target": Broken(
        edited(ALERT, '"53000"', '"NaN"'),
        [
            (
                12,
                "long TP",
                None,
                "'NaN' is no number: it is read as if there were none",
                "let the script plot 0 where it has no level: nz(level)",
            )
        ],
    ),
    "thousands": Broken(
        edited(ALERT, '"50000"', '"50,000"'), [(6, "price", 422, "'50,000' is no plain number", NUMBER)]
    ),
    "delayed": Broken(
        edited(ALERT, "BINANCE", "BINANCE_DLY"),
        [
            (
                3,
                "exchange",
                422,
                "'BINANCE_DLY' is a delayed feed: its prices are minutes old and are not traded",
                "make the alert on a chart with real-time data of this exchange",
            )
        ],
    ),
    "unknown exchange": Broken(
        edited(ALERT, "BINANCE", "BINANSE"),
        [(3, "exchange", 422, "'BINANSE' is not known; known are BINANCE, PAPER", 'did you mean "BINANCE"?')],
    ),
    "unknown keys": Broken(
        edited(ALERT, '"long TP"', '"long Target"', '"tp2 Mult"', '"tp2 Multiple"'),
        [
            (
                12,
                "long Target",
                None,
                "'long Target' is no key of an alert: it is ignored",
                'did you mean "long TP"?',
            ),
            (
                15,
                "tp2 Multiple",
                None,
                "'tp2 Multiple' is no key of an alert: it is ignored",
                'did you mean "tp2 Mult"?',
            ),
        ],
    ),
    "rungs": Broken(
        edited(ALERT, '"25"', '"60"'),
        [
            (
                13,
                "tp Close",
                422,
                "2 targets of 60 percent close more than 100 percent",
                "write 50 or less, or take targets out",
            )
        ],
    ),
    "rungs without percent": Broken(
        edited(ALERT, '    "tp Close": "25",\n', ""),
        [
            (
                14,
                "tp Close",
                422,
                "targets tp1 Mult ... need the percent that each closes",
                'write "tp Close": "{{plot("TP Close")}}", or take the targets out',
            )
        ],
    ),
    "no id and no time": Broken(
        edited(ALERT, '    "time": "2026-01-05T11:59:58Z",\n', ""),
        [
            (
                14,
                "id",
                None,
                "no id and no time: the same alert is a repeat within 60 s, and a new one after them",
                "add a time, or an id that no other alert has",
            ),
            (
                14,
                "time",
                None,
                "without a time its age is not known: one that comes late is traded",
                'add "time": "{{timenow}}"',
            ),
        ],
    ),
    "several at once": Broken(
        edited(
            ALERT,
            '"buy"',
            '"hold"',
            '"entry"',
            '"entri"',
            '"market"',
            '"stop"',
            "BTCUSDT.P",
            "BTC1!",
            "2026-01-05T11:59:58Z",
            "yesterday",
        ),
        [
            (
                2,
                "ticker",
                422,
                "'BTC1!': a continuous future cannot be traded; use the perpetual, as BTCUSDT.P",
                'write "ticker": "{{ticker}}", on the chart of a perpetual or a spot pair',
            ),
            (
                4,
                "time",
                422,
                "'yesterday' is no ISO 8601 time; use {{timenow}}",
                'write "time": "{{timenow}}"',
            ),
            (
                5,
                "action",
                422,
                "'hold' is neither buy nor sell",
                'write "action": "{{strategy.order.action}}", "buy" or "sell"',
            ),
            (
                7,
                "message",
                422,
                "'entri' is not known; known are entry, exit, tp1, tp2 ..., and any that ends in breakeven",
                'did you mean "entry"?',
            ),
            (8, "type", 422, "'stop' is neither market nor limit", 'write "type": "market", or "limit"'),
        ],
    ),
    "no passphrase": Broken(
        edited(ALERT, '    "passphrase": "canary-passphrase",\n', ""),
        [
            (
                14,
                "passphrase",
                401,
                "the passphrase is missing or wrong",
                'write "passphrase": "the server\'s WEBHOOK_PASSPHRASE"',
            )
        ],
    ),
    "no account": Broken(
        edited(ALERT, '    "subaccount": "MAIN",\n', ""),
        [
            (
                14,
                "subaccount",
                422,
                "is missing, and there is no DEFAULT_SUBACCOUNT",
                'add "subaccount": "MAIN", or set DEFAULT_SUBACCOUNT',
            )
        ],
    ),
    "limit without price": Broken(
        edited(ALERT, '"market"', '"limit"', '    "price": "50000",\n', ""),
        [(14, "price", 422, "a limit entry needs its price", 'write "price": "{{strategy.order.price}}"')],
    ),
    "negative": Broken(
        edited(ALERT, '"49000"', "-49000"), [(11, "long SL", 422, "'-49000' is negative", NUMBER)]
    ),
    "control character": Broken(
        edited(ALERT, '"MAIN"', '"MA\nIN"'),
        [
            (
                9,
                "subaccount",
                422,
                "holds a control character or half a character",
                "write it anew, by hand and on one line",
            )
        ],
    ),
    "left over placeholder": Broken(
        edited(ALERT, '"50000"', '"{{cl0se}}"'),
        [(6, "price", 422, unfilled("{{cl0se}}"), "did you mean {{close}}?")],
    ),
    "unquoted placeholders": Broken(
        edited(
            TEMPLATE, '"{{ticker}}",', "{{ticker}},", '"{{strategy.order.price}}"', "{{strategy.order.price}}"
        ),
        [
            (3, "ticker", 400, '{{ticker}} wants quotes around it: "ticker": "{{ticker}}"', QUOTES),
            (
                7,
                "price",
                None,
                '{{strategy.order.price}} wants quotes around it: "price": "{{strategy.order.price}}"',
                QUOTES,
            ),
        ],
    ),
    "misspelt placeholder": Broken(
        edited(TEMPLATE, "strategy.order.price", "strategy.order.prise"),
        [(7, "price", 422, unfilled("{{strategy.order.prise}}"), "did you mean {{strategy.order.price}}?")],
    ),
    "misspelt plot": Broken(
        edited(TEMPLATE, 'plot("Long SL")', 'plot("Long Sl")'),
        [(12, "long SL", 400, unfilled('{{plot("Long Sl")}}'), 'did you mean {{plot("Long SL")}}?')],
        SCRIPT,
    ),
    "plot not there": Broken(
        edited(TEMPLATE, 'plot("Short SL")', 'plot("Stop of the short")'),
        [
            (
                13,
                "short SL",
                400,
                unfilled('{{plot("Stop of the short")}}'),
                "the script plots Long SL, Short SL",
            )
        ],
        SCRIPT,
    ),
    "indicator": Broken(
        TEMPLATE,
        [
            (
                2,
                "id",
                422,
                unfilled("{{strategy.order.id}}"),
                "the script is no strategy: write the id yourself, one alert for each",
            ),
            (
                6,
                "action",
                422,
                unfilled("{{strategy.order.action}}"),
                "the script is no strategy: write the action yourself, one alert for each",
            ),
            (
                7,
                "price",
                422,
                unfilled("{{strategy.order.price}}"),
                "the script is no strategy: write the price yourself, one alert for each",
            ),
            (
                8,
                "message",
                422,
                unfilled("{{strategy.order.alert_message}}"),
                "the script is no strategy: write the message yourself, one alert for each",
            ),
        ],
        INDICATOR,
    ),
    "numbered plot": Broken(
        edited(TEMPLATE, 'plot("Short SL")', "plot_2"),
        [(13, "short SL", 422, unfilled("{{plot_2}}"), "the script has 2 plots, counted from plot_0")],
        SCRIPT,
    ),
    "swapped plots": Broken(
        edited(TEMPLATE, 'plot("Long SL")', 'plot("Short SL")'),
        [
            (
                12,
                "long SL",
                None,
                "it reads the plot of another key, 'Short SL'",
                'write "long SL": "{{plot("Long SL")}}"',
            )
        ],
        SCRIPT,
    ),
    "one id": Broken(
        edited(TEMPLATE, '"{{ticker}} {{timenow}} {{strategy.order.id}}"', '"my strategy"'),
        [
            (
                2,
                "id",
                None,
                "the id is the same for every alert: all but the first are refused",
                "put {{timenow}} into it",
            )
        ],
    ),
    "one id a second": Broken(
        edited(TEMPLATE, ' {{strategy.order.id}}"', '"'),
        [
            (
                2,
                "id",
                None,
                "two orders of one second have the same id: the second is refused",
                "put {{strategy.order.id}} into it as well",
            )
        ],
    ),
    "no short stop": Broken(
        edited(TEMPLATE, ',\n    "short SL": "{{plot("Short SL")}}"', ""),
        [
            (
                12,
                "short SL",
                422,
                "an entry needs a stop",
                'write "short SL": "{{plot("Short SL")}}", and plot the level from the signal on',
            )
        ],
    ),
    "every order an entry": Broken(
        edited(TEMPLATE, "{{strategy.order.alert_message}}", "entry"),
        [
            (
                8,
                "message",
                None,
                "every order of the strategy would say 'entry', its exits too",
                'write "message": "{{strategy.order.alert_message}}"',
            )
        ],
    ),
    "bar time": Broken(
        edited(TEMPLATE, '"time": "{{timenow}}"', '"time": "{{time}}"'),
        [
            (
                5,
                "time",
                None,
                "{{time}} is when the bar opened: an entry may be too old when it comes",
                'write "time": "{{timenow}}"',
            )
        ],
    ),
    "fixed time": Broken(
        edited(TEMPLATE, '"time": "{{timenow}}"', '"time": "2026-01-05T11:59:58Z"'),
        [
            (
                5,
                "time",
                None,
                "every alert of this template would have the same time",
                'write "time": "{{timenow}}"',
            )
        ],
    ),
    "half a placeholder": Broken(
        edited(TEMPLATE, "{{exchange}}", "{{exchange}"),
        [(4, "exchange", 422, unfilled("{{exchange}"), 'as in a template: "exchange": "{{exchange}}"')],
    ),
    "too long": Broken(
        edited(ALERT, '"MAIN"', '"MAIN", "chart_url": "https://a.example/' + "x" * 16400 + '"'),
        [(1, None, 413, "over 16 KiB", "take out what alertmodel.txt does not name")],
    ),
    "plain text": Broken(
        "buy BTCUSDT now",
        [
            (
                1,
                None,
                400,
                "the body is not JSON: it does not begin with {, line 1",
                "paste one of alertmodel.txt's templates, whole",
            )
        ],
    ),
    "spaces of a web page": Broken(
        edited(ALERT, '    "price": ', '\u00a0\u00a0\u00a0 "price":\u00a0'),
        [
            (
                6,
                None,
                400,
                "the body is not JSON: it holds a space that is none, U+00A0, line 6",
                "write plain spaces: such ones come along from web pages",
            )
        ],
    ),
    "nothing to be seen": Broken(
        edited(ALERT, '"price"', '\u200b"price"'),
        [
            (
                6,
                None,
                400,
                "the body is not JSON: it holds a space that is none, U+200B, line 6",
                "write plain spaces: such ones come along from web pages",
            )
        ],
    ),
    "wide quotes": Broken(
        edited(ALERT, '"price"', "＂price＂"),
        [
            (
                6,
                None,
                400,
                "the body is not JSON: its quotes are not straight double ones, line 6",
                'write " everywhere',
            )
        ],
    ),
    "keys without quotes": Broken(
        edited(ALERT, '"price":', "price:", '"long SL"', "long SL"),
        [
            (6, None, 400, "the body is not JSON: the key 'price' has no quotes, line 6", 'write "price"'),
            (
                11,
                None,
                400,
                "the body is not JSON: the key 'long SL' has no quotes, line 11",
                'write "long SL"',
            ),
        ],
    ),
    "semicolon": Broken(
        edited(ALERT, '"entry",', '"entry";'),
        [(7, None, 400, "the body is not JSON: a semicolon where a comma belongs, line 7", "write a comma")],
    ),
    "a quote in a text": Broken(
        edited(ALERT, '"MAIN"', '"my "best" one"'),
        [
            (
                9,
                None,
                400,
                "the body is not JSON: text behind a value that has ended, line 9",
                'write \\" for a quote within a text',
            )
        ],
    ),
    "a number that begins with 0": Broken(
        edited(ALERT, '"49000"', "049000"),
        [
            (
                11,
                None,
                400,
                "the value of 'long SL' is neither a number nor text in quotes",
                "put it in quotes",
            )
        ],
    ),
    "a signed size": Broken(
        edited(TEMPLATE, '"market",', '"market",\n    "size": "{{strategy.position_size}}",'),
        [
            (
                10,
                "size",
                422,
                "{{strategy.position_size}} is negative for a short, and such an entry is refused",
                'write "size": "{{strategy.order.contracts}}"',
            )
        ],
    ),
    "spaces in the braces": Broken(
        edited(TEMPLATE, '"{{exchange}}"', '"{{ exchange }}"'),
        [
            (
                4,
                "exchange",
                None,
                "{{ exchange }} has spaces within its braces, and TradingView shows none",
                "write {{exchange}}",
            )
        ],
    ),
    "target beyond the last": Broken(
        edited(ALERT, '"tp2 Mult": "2"', '"tp2 Mult": "3.5"'),
        [
            (
                15,
                "tp2 Mult",
                None,
                "it lies beyond the final target 53000: its part is still open there",
                "write 3 or less, or move the target",
            )
        ],
    ),
    "a target without its number": Broken(
        edited(
            ALERT, '"tp2 Mult"', '"tp Mult"', '"tp1 Mult": "1",\n', '"tp1 Mult": "1",\n    "tp7 Mlt": "1",\n'
        ),
        [
            (
                15,
                "tp7 Mlt",
                None,
                "'tp7 Mlt' is no key of an alert: it is ignored",
                'did you mean "tp7 Mult"?',
            ),
            (
                16,
                "tp Mult",
                None,
                "'tp Mult' is no key of an alert: it is ignored",
                'did you mean "tp2 Mult"?',
            ),
        ],
    ),
}
