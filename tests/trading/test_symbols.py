"""trading.symbols: tickers as TradingView spells them, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.errors import AlertInvalid
from trading.model import InstrumentKind
from trading.symbols import MAX_LENGTH, split, symbol_of


@pytest.mark.parametrize(
    ("ticker", "symbol"),
    [
        ("BTCUSDT.P", "BTC-USDT-PERP"),
        ("BINANCE:BTCUSDT.P", "BTC-USDT-PERP"),
        ("binance:btcusdt.p", "BTC-USDT-PERP"),
        (" BTCUSDT ", "BTC-USDT"),
        ("BTCUSDTPERP", "BTC-USDT-PERP"),
        ("BTCUSD_PERP", "BTC-USD-PERP"),
        ("BTCPERP", "BTC-USD-PERP"),
        ("BTC-PERP", "BTC-USD-PERP"),
        ("FTX:1INCHPERP", "1INCH-USD-PERP"),
        ("FTX:PERPPERP", "PERP-USD-PERP"),
        ("PERPUSDT.P", "PERP-USDT-PERP"),
        ("PERPUSDT", "PERP-USDT"),
        ("BTC/USD", "BTC-USD"),
        ("BTC_USDT", "BTC-USDT"),
        ("BTC-USDT", "BTC-USDT"),
        ("BTC-USDT-PERP", "BTC-USDT-PERP"),
        ("ETHBTC", "ETH-BTC"),
        ("ETHBTC.P", "ETH-BTC-PERP"),
        ("ETH-BTC-PERP", "ETH-BTC-PERP"),
        ("WBTCPERP", "WBTC-USD-PERP"),
        ("BNBPERP", "BNB-USD-PERP"),
        ("USDTPERP", "USDT-USD-PERP"),
        ("1000SHIBUSDT.P", "1000SHIB-USDT-PERP"),
        ("BTCFDUSD", "BTC-FDUSD"),
        ("BTCBUSD", "BTC-BUSD"),
        ("BTCTUSD", "BTC-TUSD"),
        ("BTCEUR", "BTC-EUR"),
        ("USDCUSDT", "USDC-USDT"),
        ("USDTUSD", "USDT-USD"),
        ("BNBUSD", "BNB-USD"),
        ("DOTUSD", "DOT-USD"),
        ("FTTUSD", "FTT-USD"),
        ("SHIBUSD", "SHIB-USD"),
        ("SHIBUSDT", "SHIB-USDT"),
        ("WB/USD", "WB-USD"),
        ("WB-USD-PERP", "WB-USD-PERP"),
        ("BTCUSDC.P", "BTC-USDC-PERP"),
    ],
)
def test_known_tickers(ticker: str, symbol: str) -> None:
    assert symbol_of(ticker) == symbol
    assert symbol_of(symbol) == symbol


@pytest.mark.parametrize(
    ("ticker", "word"),
    [
        ("", "no instrument"),
        ("   ", "no instrument"),
        ("BINANCE:", "no instrument"),
        ("BTC", "quote currency"),
        ("AAPL", "quote currency"),
        ("USDT", "quote currency"),
        ("BTC1!", "continuous"),
        ("CME:BTC1!", "continuous"),
        ("BTCUSDT-21FEB25", "dated"),
        ("BTCUSDT-21FEB25.P", "dated"),
        ("BTC-7MAR25", "dated"),
        ("BTCUSDH2023", "dated"),
        ("BTCUSDTM26", "dated"),
        ("BTC-0325", "dated"),
        ("BTCUSDT_240329", "dated"),
        ("BTC-20221230", "dated"),
        (".P", "a pair such as"),
        ("PERP", "a pair such as"),
        ("BTC--USDT", "a pair such as"),
        ("BTC USDT", "a pair such as"),
        ("BTCUSDT.PX", "a pair such as"),
        ("BINANCE:BTCUSDT/BYBIT:BTCUSDT", "a pair such as"),
        ("A:B:BTCUSDT", "a pair such as"),
        ("'; DROP TABLE", "a pair such as"),
        ("ВTCUSDT", "A-Z"),
        ("BTCUſDT", "A-Z"),
        ("A" * 27 + "USDT", "longer"),
        ("BTCUSDT" * 3000, "longer"),
    ],
)
def test_refused_tickers(ticker: str, word: str) -> None:
    with pytest.raises(AlertInvalid, match=word) as refused:
        symbol_of(ticker)
    assert (refused.value.field, refused.value.code) == ("ticker", 422)
    assert len(str(refused.value)) < 300


def symbol_or_reason(ticker: str) -> str:
    try:
        return symbol_of(ticker)
    except AlertInvalid as refused:
        return str(refused)


@given(st.text() | st.text(alphabet="ABTCUSDPER.-_/:!0123456789 "))
def test_any_text_is_a_symbol_of_the_house_or_refused(text: str) -> None:
    symbol = symbol_or_reason(text)
    if symbol.startswith("ticker: "):
        return
    assert len(symbol) <= MAX_LENGTH + 9
    assert re.fullmatch(r"[A-Z0-9]+-[A-Z0-9]+(-PERP)?", symbol)
    base, quote, kind = split(symbol)
    assert symbol == f"{base}-{quote}" + ("-PERP" if kind is InstrumentKind.PERPETUAL else "")


@given(st.from_regex(r"[A-Z0-9]{2,10}", fullmatch=True), st.sampled_from(["USDT", "USDC", "USD", "BTC"]))
def test_a_symbol_stands_for_itself(base: str, quote: str) -> None:
    for symbol in (f"{base}-{quote}-PERP", f"{base}-{quote}"):
        told = symbol_or_reason(symbol)
        assert told == symbol or "dated" in told


def test_split() -> None:
    assert split("BTC-USDT-PERP") == ("BTC", "USDT", InstrumentKind.PERPETUAL)
    assert split("BTC-USDT") == ("BTC", "USDT", InstrumentKind.SPOT)


@pytest.mark.parametrize("text", ["", "BTCUSDT", "btc-usdt", "BTC-USDT-SWAP", "BTC-USDT-PERP\n", "-USDT"])
def test_split_refuses_what_is_no_symbol(text: str) -> None:
    with pytest.raises(ValueError, match="not a symbol"):
        split(text)
