"""What docs/heroku.md and docs/vps.md have one type elsewhere: shell that parses, names that exist."""

from __future__ import annotations

import re
import subprocess
import textwrap
from datetime import UTC, datetime

import pytest

from desk.settings import ACCOUNT_VARIABLES, VARIABLES, load
from tests.deploy.dynos import manifest, procfile
from tests.deploy.test_files import COMPOSE, UNITS, check_module, only, unit
from tests.processes import ROOT
from trading.lint import lint

PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("heroku", "vps")}
#: Names that are no settings: the shell's own, and what docker-compose.yml and the Caddyfile ask for.
NO_SETTINGS = {"URL", "POSTGRES_PASSWORD", "DESK_HOST", "COMPOSE_PROFILES"}
SECRET = "a1b2c3d4e5f6"
_FENCE = re.compile(r"^( *)```shell\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_PREFIXES = tuple(name.removesuffix("NAME") for name in ACCOUNT_VARIABLES)


def blocks(page: str) -> list[str]:
    return [textwrap.dedent(fence[2]) for fence in _FENCE.finditer(PAGES[page])]


def sh(script: str) -> str:
    return subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("page", PAGES)
def test_what_is_to_be_typed_is_shell(page: str) -> None:
    assert len(blocks(page)) > 7
    for block in blocks(page):
        parsed = subprocess.run(["sh", "-n"], input=block.replace("<this repository>", "here"), text=True)
        assert parsed.returncode == 0, block


@pytest.mark.parametrize("page", PAGES)
def test_every_variable_is_a_setting(page: str) -> None:
    named = set(re.findall(r"(?<![\w-])([A-Z][A-Z0-9_]+)=", PAGES[page]))
    assert len(named) > 10
    unknown = {name for name in named if name not in VARIABLES and not name.startswith(_PREFIXES)}
    assert unknown <= NO_SETTINGS


@pytest.mark.parametrize("page", PAGES)
def test_the_first_alert_is_a_good_one(page: str) -> None:
    (block,) = [each for each in blocks(page) if "tradingview-to-webhook-order" in each]
    stubs = 'heroku() { case "$1" in info) echo web_url=https://desk.example.com/;; *) echo word;; esac; }\n'
    stubs += 'sudo() { echo word; }\ncurl() { for last; do :; done; printf "%s\\n" "$2" "$last"; }\n'
    url, _, body = sh(stubs + block).partition("\n")
    assert url == "https://desk.example.com/tradingview-to-webhook-order"
    assert '"passphrase": "word"' in body
    asked = {"exchanges": ["PAPER"], "default_subaccount": "MAIN", "now": datetime.now(UTC)}
    assert lint(body.encode(), **asked) == []


def test_the_command_line_sets_what_the_button_sets() -> None:
    typed = "".join(blocks("heroku"))
    by_hand = dict(re.findall(r'\b([A-Z_]+)="?([^\s"]+)', typed))
    for name, about in manifest()["env"].items():
        if "generator" in about:
            assert by_hand[name].startswith("$(openssl")
        elif "value" in about and about.get("required") is not False:
            assert f"{name}={about['value']}" in typed
    assert f"--stack {manifest()['stack']}" in typed
    (database,) = manifest()["addons"]
    assert f"heroku addons:create {database} " in typed
    scaled = re.findall(r"(?:ps:scale |`)((?:[a-z]+=\d ?)+)", PAGES["heroku"])
    assert len(scaled) > 4
    assert {each.partition("=")[0] for words in scaled for each in words.split()} <= set(procfile())


def written(word: str) -> dict[str, str]:
    """The file with this word in it that docs/vps.md has one write, with secrets made up."""
    files = re.findall(r"<<END\n(.*?)\nEND\n", "".join(blocks("vps")), re.DOTALL)
    (text,) = [each for each in files if word in each]
    filled_in = re.sub(r"\$\(openssl rand -hex \d+\)", SECRET * 2, text)
    return dict(line.split("=", 1) for line in filled_in.splitlines())


def test_the_settings_of_systemd_are_complete() -> None:
    settings = load(written("sqlite"))
    assert settings.warnings == ()
    assert (settings.trusted_proxies, settings.default_subaccount) == (1, "MAIN")
    (name,) = {only(unit(path), "StateDirectory") for path in UNITS}
    assert settings.database_url == f"sqlite:////var/lib/{name}/desk.db"


def test_the_settings_of_docker_are_complete() -> None:
    given = written("COMPOSE_PROFILES")
    shared = COMPOSE["services"]["web"]["environment"]
    settings = load(given | shared | {"DATABASE_URL": "postgresql://desk:x@postgres/desk"})
    assert (settings.warnings, settings.default_subaccount) == ((), "MAIN")
    wanted = re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert set(wanted) <= set(given)
    profiles = {profile for each in COMPOSE["services"].values() for profile in each.get("profiles", [])}
    assert profiles == {"bot", "https"}
    assert given["COMPOSE_PROFILES"] in profiles


def test_units_services_and_commands_exist() -> None:
    typed = "".join(blocks("vps"))
    units = {path.stem for path in UNITS}
    assert set(re.findall(r"\bdesk-(?:web|bot|runner)\b|\bdesk-[a-z]+(?=\.service)", typed)) <= units
    assert {f"/opt/desk/deploy/{name}.service" for name in units} <= set(re.findall(r"/\S+\.service", typed))
    for service in re.findall(r"docker compose (?:exec(?: -T)?|logs --follow) (\w+)", typed):
        assert service in COMPOSE["services"]
    for module in re.findall(r"/opt/desk/deploy/run (\w+)", typed):
        check_module(f"desk.{module}")


def test_the_host_comes_into_the_caddyfile() -> None:
    (line,) = [each for each in "".join(blocks("vps")).splitlines() if each.startswith("sed 's/{$DESK_HOST}")]
    command = line.partition(" |")[0].replace("/opt/desk", str(ROOT))
    made = sh(command)
    assert "\ndesk.example.com {\n" in made
    assert "$DESK_HOST" not in made
