"""The error tree as drawn and as built."""

from __future__ import annotations

from datetime import timedelta

from trading import errors
from trading.errors import AlertInvalid, Denied, DeskError, SettingsError, Throttled, VenueError


def drawn_parents() -> dict[str, str | None]:
    """Class name -> parent's name, read off the branches of the docstring."""
    parents: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").split("\n\n", 1)[1].splitlines():
        name = line.lstrip("│├└─ ")
        if not name:
            continue
        depth = (len(line) - len(name)) // 3
        del above[depth:]
        parents[name] = above[-1] if above else None
        above.append(name)
    return parents


def built_parents() -> dict[str, str | None]:
    classes = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, Exception) and cls.__module__ == errors.__name__
    }
    return {name: None if cls is DeskError else cls.__bases__[0].__name__ for name, cls in classes.items()}


def test_the_drawing_is_the_tree() -> None:
    assert drawn_parents() == built_parents()


def test_every_class_says_what_the_caller_does_next() -> None:
    for name in built_parents():
        assert getattr(errors, name).__doc__, name


def test_errors_carry_what_the_caller_branches_on() -> None:
    assert str(SettingsError("PORT", "not a number")) == "PORT: not a number"
    invalid = AlertInvalid("missing", field="long SL")
    assert (str(invalid), invalid.field, invalid.code) == ("long SL: missing", "long SL", 422)
    assert str(AlertInvalid("not JSON", code=400)) == "not JSON"
    assert Denied("halted").reason == "halted"
    assert str(VenueError("BINANCE", "order", "no", code="-1")) == "BINANCE order [-1]: no"
    throttled = Throttled("BINANCE", "order", "slow down", after=timedelta(seconds=2))
    assert throttled.after == timedelta(seconds=2)
    assert str(throttled) == "BINANCE order: slow down"
