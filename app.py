"""WSGI door: `create_app()` and, for gunicorn and flask, `app`. Wiring only; importing it starts nothing."""

from __future__ import annotations

import sys

from flask import Flask

from desk import logs
from desk.footing import prepare
from desk.settings import Settings, from_environment
from desk.wiring import wire
from store import open_store
from trading.errors import SettingsError
from web import answers, api, lobby, pages, tryit, webhook


def create_app(settings: Settings | None = None) -> Flask:
    """A desk at work: its doors, and the runner unless RUNNER is off. SystemExit says why not."""
    try:
        settings = settings or from_environment()
        logs.configure(settings)
        store = open_store(settings.database_url)
        prepare(store, settings)
        logs.relay(settings, store)
    except SettingsError as error:
        sys.stderr.write(f"cannot start: {error}\n")
        raise SystemExit(4) from None
    desk = wire(settings, store)
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.extensions["desk"] = desk
    answers.install(app)
    for module in (webhook, api, lobby, pages, tryit):
        app.register_blueprint(module.blueprint)
    if desk.service is not None:
        desk.service.start()
    return app


def __getattr__(name: str) -> Flask:
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = app = create_app()
    return app
