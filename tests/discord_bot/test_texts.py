"""What may leave: no secret, no ping, no markup of others, no link that is not one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from discord_bot.texts import Tongue, packed, shortened

SECRET = "correct-horse/battery"
TONGUE = Tongue([SECRET])


@example("@everyone @here <@1> <#2> ``` \u202e")
@given(st.text(alphabet="@everyonhr<>&!#0129`*_|[](): \n\u202e", max_size=80))
def test_nothing_pings_and_nothing_breaks_out(text: str) -> None:
    for said in (TONGUE.clean(text), TONGUE.code(text)):
        assert "@everyone" not in said
        assert "@here" not in said
        assert "<@" not in said
        assert "<#" not in said
        assert "\u202e" not in said
    assert TONGUE.code(text).count("```") == 2


@pytest.mark.parametrize("spelt", [SECRET, "correct-horse%2Fbattery", f"x{SECRET}x"])
def test_secrets_stay_inside(spelt: str) -> None:
    for said in (TONGUE.clean(spelt), TONGUE.code(spelt), TONGUE.bare(spelt, 50)):
        assert "battery" not in said
    assert TONGUE.link(f"https://example.com/?p={spelt}") is None


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("https://www.tradingview.com/x/AbC/", True),
        ("http://example.com:8080/a?b=c#d", True),
        ("https://localhost/x", False),
        ("https://x.com:99999999/", False),
        ("https://ex\u00e4mple.com/", False),
        ("https://x.com/[a](b)", False),
        ("javascript:alert(1)", False),
        ("https://", False),
        ("https://a b", False),
        ("https://x.com/<@1>", False),
        ("https://[broken", False),
        (f"https://x.com/{'a' * 2000}", False),
        (None, False),
    ],
)
def test_only_addresses_are_linked(address: str | None, fine: bool) -> None:
    assert TONGUE.link(address) == (address if fine else None)


@pytest.mark.parametrize("text", ["http://a[x](http://b.c)", "[a\nb](http://b.c)", "http://a/**b** ||c||"])
def test_an_address_smuggles_no_markup_in(text: str) -> None:
    said = TONGUE.clean(text)
    assert "](" not in said
    assert "/**" not in said
    assert " ||" not in said


def test_long_texts_are_cut_and_lines_kept_together() -> None:
    assert shortened("abcdef", 4) == "abc…"
    assert packed(["ab", "cd", "e" * 9], 5) == ["ab\ncd", "eeee…"]
    assert packed([], 5) == []
    assert len(TONGUE.clean("*" * 5000)) == 1024
    assert len(TONGUE.code("x" * 5000)) == 2000
