"""systemd's, Caddy's and Docker's files: well formed, of one mind, and true to this project."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from desk import children
from desk.settings import VARIABLES, load
from tests.deploy.dynos import GRACE
from tests.test_architecture import SOURCES
from trading.model import Route

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy").glob("*.service"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CADDYFILE = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
PORT = load({"WEBHOOK_PASSPHRASE": "correct-horse-battery"}).port

#: What systemd knows (systemd.unit, .service, .exec, .resource-control) and a unit here may say.
KNOWN = {
    "Unit": {"Description", "Documentation", "Wants", "Requires", "After", "Before", "StartLimitIntervalSec"},
    "Service": {
        *("Type", "User", "Group", "WorkingDirectory", "Environment", "EnvironmentFile", "UMask"),
        *("ExecStartPre", "ExecStart", "ExecReload", "Restart", "RestartSec", "KillMode"),
        *("TimeoutStartSec", "TimeoutStopSec", "StateDirectory", "StateDirectoryMode"),
        *("NoNewPrivileges", "CapabilityBoundingSet", "ProtectSystem", "ProtectHome", "ProtectProc"),
        *("ProtectClock", "ProtectHostname", "ProtectControlGroups", "ProtectKernelLogs"),
        *("ProtectKernelModules", "ProtectKernelTunables", "PrivateDevices", "PrivateTmp", "RemoveIPC"),
        *("LockPersonality", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime"),
        *("RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber"),
    },
    "Install": {"WantedBy"},
}
#: The same in every unit: who it is, and what it may not.
SHARED = KNOWN["Service"] - {
    *("Type", "EnvironmentFile", "ExecStartPre", "ExecStart", "RestartSec", "KillMode"),
}
HELD_BACK = {
    "User": "desk",
    "Restart": "always",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "UMask": "0077",
}

Unit = dict[str, dict[str, list[str]]]


def unit(path: Path) -> Unit:
    """Section, directive, values; AssertionError for what systemd would only warn of and pass over."""
    found: Unit = {}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
            found[section] = {}
            continue
        match = re.fullmatch(r"(\w+)=(.*)", line)
        assert match is not None, line
        assert match[1] in KNOWN[section], f"{path.name}: {line}"
        assert not line.rstrip().endswith("\\"), line
        found[section].setdefault(match[1], []).append(match[2])
    return found


def only(found: Unit, name: str, section: str = "Service") -> str:
    (value,) = found[section][name]
    return value


def seconds(text: Any) -> float:
    match = re.fullmatch(r"(\d+)s?", str(text))
    assert match is not None, text
    return float(match[1])


def check_module(module: str) -> None:
    """A module of this project, or a runtime package of its."""
    file = ROOT / module.replace(".", "/")
    ours = file.with_suffix(".py").exists() or (file / "__main__.py").exists()
    runtime = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert ours or re.search(rf"^{module}==", runtime, re.MULTILINE), module


# systemd


def test_there_is_a_unit_for_each_process() -> None:
    assert [path.stem for path in UNITS] == ["desk-bot", "desk-runner", "desk-web"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_runs_what_is_there_and_may_do_nothing_else(path: Path) -> None:
    found = unit(path)
    service = found["Service"]
    assert {name: only(found, name) for name in HELD_BACK} == HELD_BACK
    home = only(found, "WorkingDirectory")
    for command in service["ExecStart"] + service.get("ExecStartPre", []):
        python, flag, module, *words = command.split()
        assert (python, flag) == (f"{home}/.venv/bin/python", "-m")
        check_module(module)
        assert module != "gunicorn" or words == ["app:app"]
    # Longer than we ask for, and no longer than the hardest host allows.
    assert children.STOP_LIMIT < seconds(only(found, "TimeoutStopSec")) < GRACE
    assert only(found, "StartLimitIntervalSec", "Unit") == "0"
    assert only(found, "WantedBy", "Install") == "multi-user.target"


def test_the_units_differ_in_what_they_run_alone() -> None:
    first, *others = [unit(path)["Service"] for path in UNITS]
    for other in others:
        assert {name: other[name] for name in SHARED & other.keys()} == {
            name: first[name] for name in SHARED & first.keys()
        }


def test_the_bot_is_started_without_the_exchanges_keys() -> None:
    files = {path.stem: unit(path)["Service"]["EnvironmentFile"] for path in UNITS}
    assert files["desk-bot"] == ["/etc/desk/desk.env"]
    assert files["desk-web"] == files["desk-runner"] == ["/etc/desk/desk.env", "-/etc/desk/keys.env"]


def test_commands_by_hand_are_run_like_the_units() -> None:
    script = ROOT / "deploy" / "run"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0
    text = script.read_text(encoding="utf-8")
    web = unit(ROOT / "deploy" / "desk-web.service")
    for file in web["Service"]["EnvironmentFile"]:
        assert f"--property=EnvironmentFile={file} " in text
    home, user = only(web, "WorkingDirectory"), only(web, "User")
    for word in (f"--uid={user}", f"--working-directory={home}", f"{home}/.venv/bin/python -m "):
        assert word in text
    for module in re.findall(r"\w+(?=[,}]| \.\.\.)", text.partition("which command? ")[2].partition("}")[0]):
        check_module(f"desk.{module}")


def test_systemd_itself_has_nothing_to_say(tmp_path: Path) -> None:
    """Where there is no systemd, the file must at least be one that the tests above have read."""
    verify = shutil.which("systemd-analyze")
    for path in UNITS:
        text = path.read_text(encoding="utf-8")
        home = only(unit(path), "WorkingDirectory")
        there = text.replace(f"{home}/.venv/bin/python", "/bin/sh").replace(home, str(tmp_path))
        assert home not in there
        (tmp_path / path.name).write_text(there)
    if verify is not None:
        done = subprocess.run(
            [verify, "verify", "--man=no", *(str(tmp_path / path.name) for path in UNITS)],
            capture_output=True,
            text=True,
        )
        about_ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "desk-" in line]
        assert about_ours == []


# Caddy


def balanced(text: str) -> bool:
    code = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    bare = re.sub(r"`[^`]*`|\{[$\w.:-]+\}", "", "\n".join(code))
    return bare.count("{") == bare.count("}") > 0


def test_443_is_the_only_door() -> None:
    assert balanced(CADDYFILE)
    assert "auto_https disable_redirects" in CADDYFILE
    assert "disable_http_challenge" in CADDYFILE
    assert re.findall(r"^(\S+) \{$", CADDYFILE, re.MULTILINE) == ["{$DESK_HOST}"]


def test_caddy_hands_on_to_where_the_web_server_listens() -> None:
    assert f"reverse_proxy {{$DESK_UPSTREAM:127.0.0.1:{PORT}}} {{" in CADDYFILE
    # What it does with X-Forwarded-For by itself is right: nothing here may trust or change it.
    code = re.sub(r"^\s*#.*$", "", CADDYFILE, flags=re.MULTILINE)
    assert "trusted_proxies" not in code
    assert "header_up" not in code


def test_the_client_certificate_is_a_switch() -> None:
    marked = [line for line in CADDYFILE.splitlines() if line.lstrip().startswith("#: ")]
    switched = re.sub(r"^(\s*)#: ", r"\1", CADDYFILE, flags=re.MULTILINE)
    assert "client_auth" not in re.sub(r"#.*", "", CADDYFILE)
    assert balanced(switched)
    assert len(marked) == 9
    assert re.search(r"^\t\tclient_auth \{\n\t\t\tmode verify_if_given\n", switched, re.MULTILINE)
    (guarded,) = re.findall(r"path (\S+)", switched)
    assert all(f"/{route}".startswith(guarded.removesuffix("*")) for route in (Route.ORDER, Route.STUDY))


# Docker


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    parts = (line.partition(" ") for line in joined.splitlines() if line)
    return [(name, rest.strip()) for name, _, rest in parts]


def test_the_image_is_pinned_and_is_not_root() -> None:
    steps = instructions()
    assert steps[0][0] == "FROM"
    asked = (ROOT / ".python-version").read_text(encoding="utf-8").strip()
    assert re.fullmatch(rf"python:{re.escape(asked)}\.\d+-slim-\w+", dict(steps)["FROM"])
    users = [rest for name, rest in steps if name == "USER"]
    assert users == ["desk"]
    assert [name for name, _ in steps].index("USER") > [name for name, _ in steps].index("COPY")


def test_the_image_listens_where_it_is_asked() -> None:
    steps = dict(instructions())
    assert steps["EXPOSE"] == str(PORT)
    assert f"PORT={PORT}" in DOCKERFILE
    assert f"http://127.0.0.1:{PORT}/health" in steps["HEALTHCHECK"]
    command = yaml.safe_load(steps["CMD"])
    assert command == ["python", "-m", "gunicorn", "app:app", "--bind", f"0.0.0.0:{PORT}"]
    probe = yaml.safe_load(steps["HEALTHCHECK"].partition("CMD ")[2])
    compile(probe[2], "HEALTHCHECK", "exec")


def taken(path: str) -> bool:
    """Whether a file comes into the image: the last pattern that fits it, or a folder that it is in, says."""
    inside = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{pattern}(?:/.*)?", path):
            inside = line.startswith("!")
    return inside


def test_the_image_holds_what_works_and_no_secret() -> None:
    needed = [str(path.relative_to(ROOT)) for path in SOURCES.values()]
    for folder in ("web", "migrations"):
        needed += [
            str(path.relative_to(ROOT))
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        ]
    needed += ["alembic.ini", "alertmodel.txt", "requirements.txt"]
    assert len(needed) > 100
    assert [path for path in needed if not taken(path)] == []
    kept_out = [".env", ".git/config", "data/desk.db", "tests/conftest.py", ".venv/bin/python", "deploy/run"]
    kept_out += ["desk/__pycache__/up.pyc", "requirements-dev.txt", "docs/vps.md"]
    assert [path for path in kept_out if taken(path)] == []


def test_the_services_run_what_is_there() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"migrate", "web", "bot", "postgres", "https"}
    ours = {name: services[name] for name in ("migrate", "web", "bot")}
    for service in ours.values():
        if "command" in service:
            python, flag, module = service["command"]
            assert (python, flag) == ("python", "-m")
            check_module(module)
        assert set(service["environment"]) <= set(VARIABLES)
        assert service["environment"]["TRUSTED_PROXIES"] == "1"
        assert service["environment"]["PORT"] == str(PORT)
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert children.STOP_LIMIT < seconds(service["stop_grace_period"]) < GRACE
        assert service["depends_on"]["postgres"] == {"condition": "service_healthy"}
    for name in ("web", "bot"):
        assert ours[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    # The image's own check is the web server's.
    assert "healthcheck" not in ours["web"]
    assert services["web"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert services["https"]["environment"]["DESK_UPSTREAM"] == f"web:{PORT}"
    assert services["https"]["ports"] == ["443:443"]
    images = [services[name]["image"] for name in ("postgres", "https")]
    assert all(re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?-\w+", image) for image in images)
    named = {volume.partition(":")[0] for name in services for volume in services[name].get("volumes", [])}
    assert {name for name in named if not name.startswith(".")} == set(COMPOSE["volumes"])


def test_the_database_is_the_one_beside_it() -> None:
    services = COMPOSE["services"]
    database = services["postgres"]["environment"]
    for name in ("migrate", "web", "bot"):
        url = services[name]["environment"]["DATABASE_URL"]
        match = re.fullmatch(r"postgresql://(\w+):(\$\{.*\})@(\w+):5432/(\w+)", url)
        assert match is not None
        assert match.groups() == (
            database["POSTGRES_USER"],
            database["POSTGRES_PASSWORD"],
            "postgres",
            database["POSTGRES_DB"],
        )


def test_systemd_and_docker_wait_as_long() -> None:
    units = {seconds(only(unit(path), "TimeoutStopSec")) for path in UNITS}
    compose = {seconds(COMPOSE["services"][name]["stop_grace_period"]) for name in ("web", "bot")}
    assert units == compose
