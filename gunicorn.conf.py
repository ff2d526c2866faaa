"""How `gunicorn app:app` serves: threads enough for slow senders, and an end within ten seconds.

Never logs requests: their bodies hold passphrases.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from desk.settings import from_environment
from trading.errors import SettingsError

try:
    _settings = from_environment()
except SettingsError as error:
    sys.stderr.write(f"cannot start: {error}\n")
    raise SystemExit(4) from None

# Heroku's router comes from outside of the dyno; anywhere else a proxy on this machine does.
bind = f"{'0.0.0.0' if 'DYNO' in os.environ else '127.0.0.1'}:{_settings.port}"  # noqa: S104
workers = _settings.web_concurrency
worker_class = "web.worker.Worker"
threads = 64
timeout = 30
graceful_timeout = 8
keepalive = 5
limit_request_line = 2048
limit_request_fields = 64
limit_request_field_size = 8190
accesslog = None
errorlog = "-"
control_socket_disable = True
# The workers' heartbeat files must not wait for a disk.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108


def worker_int(worker: Any) -> None:
    """Ctrl-C and SIGQUIT: no time for requests, some for the runner."""
    worker.stop_desk()


def worker_exit(server: Any, worker: Any) -> None:
    """Whatever ended the worker, the runner does not outlive it."""
    worker.stop_desk()
