"""What the tests of the machinery share, and what pytest is to explain though it is no test file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from exchanges._http import Hosts, Patience, Wire
from exchanges._limits import Budget
from tests.exchanges.plain_venue import Dialect, Open, Venue
from tests.exchanges.scripted import CALM, Answer

for _module in ("contract", "paper_bench", "suite"):
    pytest.register_assert_rewrite(f"tests.exchanges.{_module}")


@pytest.fixture
def venue(clock: Any) -> Iterator[Open]:
    """Opens a server that answers as told, and a way to it."""
    servers: list[Venue] = []

    def build(
        patience: Patience = CALM,
        dialect: Dialect | None = None,
        budgets: Mapping[str, Budget] | None = None,
        **paths: Answer | list[Answer],
    ) -> tuple[Venue, Wire]:
        server = Venue(**paths)
        server.__enter__()
        servers.append(server)
        host = Hosts(clock, patience=patience).host(server.url, budgets or {})
        return server, Wire(host, dialect or Dialect())

    yield build
    for server in servers:
        server.refuse()
