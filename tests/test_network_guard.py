"""The tests' own fence: nothing leaves this machine by accident."""

from __future__ import annotations

import asyncio
import socket

import pytest
import requests


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "fapi.binance.com"])
def test_the_network_is_out_of_reach(host: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="reached for the network"):
        socket.create_connection((host, 443), timeout=1)
    with pytest.raises(pytest.fail.Exception, match="reached for the network"):
        requests.get(f"http://[{host}]/" if ":" in host else f"http://{host}/", timeout=1)


def test_a_bare_socket_is_held_too() -> None:
    with socket.socket() as bare, pytest.raises(pytest.fail.Exception, match="reached for the network"):
        bare.connect_ex(("192.0.2.1", 443))


def test_asyncio_is_held_too() -> None:
    with pytest.raises(pytest.fail.Exception, match="reached for the network"):
        asyncio.run(asyncio.open_connection("192.0.2.1", 443))


def test_this_machine_is_within_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()
