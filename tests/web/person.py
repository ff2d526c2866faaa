"""Somebody with the password and a browser's cookie jar, without the browser."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from sqlalchemy import update

from desk.wiring import Desk
from store.tables import intents
from trading.model import IntentStatus

ORDER = "/tradingview-to-webhook-order"


class Visitor:
    """A browser's side of a session: cookies, and the form key of the last page."""

    def __init__(self, app: Flask, password: str) -> None:
        self.client = app.test_client()
        self.password = password
        self.desk: Desk = app.extensions["desk"]
        self.form_key = ""

    def log_in(self, **more: Any) -> Any:
        answer = self.client.post("/login", data={"password": self.password}, **more)
        assert answer.status_code == 303, answer.text
        return answer

    def get(self, path: str, **more: Any) -> Any:
        """A page or a read; a page's form key is kept."""
        answer = self.client.get(path, **more)
        found = re.search(rb'name="form-key" content="([0-9a-f]+)"', answer.data)
        self.form_key = found[1].decode() if found else self.form_key
        return answer

    def post(self, path: str, **more: Any) -> Any:
        """What a script of the page sends."""
        return self.client.post(path, headers={"X-Form-Key": self.form_key}, **more)

    def alert(self, body: Any, status: IntentStatus | None = None, **changes: Any) -> str:
        """Sends an alert, and puts its intent where the test wants it."""
        answer = self.client.post(ORDER, data=body.raw(**changes))
        assert answer.status_code in (200, 202), answer.text
        alert_id = str(answer.get_json()["alert_id"])
        if status is not None:
            with self.desk.store.write() as tx:
                tx.execute(update(intents).where(intents.c.id == alert_id).values(status=status))
        return alert_id
