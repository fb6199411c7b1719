"""compose.yaml without a container engine: its shape, and that it agrees with the program it starts."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from app.settings import PREFIX, Settings, read_settings
from app.stack.broker import LIMITS
from app.stack.database import SETTINGS
from app.stack.stack import COMPOSE, COMPOSE_ADDRESSES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILE: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
ONE_SHOT = {"accounts", "migrate"}
# What the compose specification calls the keys of a service that we use: a misspelt one is ignored without a word.
KNOWN_KEYS = {
    *("image", "build", "command", "environment", "volumes", "ports", "depends_on", "healthcheck", "restart"),
    *("read_only", "tmpfs", "cap_drop", "security_opt", "shm_size", "stop_grace_period", "network_mode", "working_dir"),
}


def example_env() -> dict[str, str]:
    lines = (DEPLOY / "example.env").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def resolved(value: str, variables: dict[str, str]) -> str:
    """`${NAME:-default}` as compose reads it."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1]) or found[2], value)


def mosquitto_conf() -> dict[str, str]:
    lines = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_uses_only_keys_that_compose_knows(name: str) -> None:
    assert set(SERVICES[name]) <= KNOWN_KEYS


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_health_check_or_ends_by_itself(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
        assert "healthcheck" not in service
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "retries"} <= service["healthcheck"].keys()


@pytest.mark.parametrize("name", SERVICES)
def test_who_waits_for_somebody_waits_for_the_right_thing(name: str) -> None:
    """A one-shot is waited for until it has ended well, a server until it is healthy."""
    for other, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert how == {"condition": wanted}, f"{name} → {other}"


def test_every_named_volume_is_declared_and_every_declared_one_used() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())]
    assert {mount for mount in mounts if not mount.startswith(".")} == set(FILE["volumes"])


def test_every_mounted_folder_of_the_checkout_is_there_and_read_only() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            if mount.startswith("."):
                folder, _, mode = mount.split(":")
                assert (ROOT / folder).is_dir()
                assert mode == "ro"


def test_nothing_is_published_beyond_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 5
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port), port


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert image
    assert re.search(r"\d+\.\d+", tag), f"{name} runs {tag or 'latest'}"


def test_the_image_of_the_service_carries_the_version_of_the_program() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert SERVICES["service"]["image"] == SERVICES["migrate"]["image"] == f"tcewatch:{version[1]}"


@pytest.mark.parametrize("name", ["service", "migrate"])
def test_the_service_is_given_settings_that_exist_and_that_it_accepts(name: str) -> None:
    given = {key: resolved(value, {}) for key, value in SERVICES[name]["environment"].items()}
    assert {key.removeprefix(PREFIX).lower() for key in given} <= Settings.model_fields.keys()
    settings = read_settings(**{key.removeprefix(PREFIX).lower(): value for key, value in given.items()})
    assert settings.timezone == "Asia/Shanghai"


@pytest.mark.parametrize("name", ["service", "migrate"])
def test_the_service_may_do_nothing_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service, "the image's own user, which is not root"


@pytest.mark.parametrize(
    ("setting", "part", "inside"),
    [("database_url", "database", 5432), ("mqtt_url", "broker", 1883), ("smtp_url", "mail", 1025)],
)
def test_the_addresses_of_the_local_stack_are_those_that_compose_publishes(
    setting: str, part: str, inside: int
) -> None:
    address = urlsplit(COMPOSE_ADDRESSES[setting])
    published = [resolved(port, {}) for port in SERVICES[part]["ports"]]
    assert f"{address.hostname}:{address.port}:{inside}" in published


def test_the_log_ins_of_the_local_stack_are_those_that_compose_makes() -> None:
    database = {key: resolved(value, {}) for key, value in SERVICES["database"]["environment"].items()}
    address = urlsplit(COMPOSE_ADDRESSES["database_url"])
    assert (address.username, address.password) == (database["POSTGRES_USER"], database["POSTGRES_PASSWORD"])
    assert address.path == f"/{database['POSTGRES_DB']}"
    broker = urlsplit(COMPOSE_ADDRESSES["mqtt_url"])
    assert broker.password == resolved(SERVICES["accounts"]["environment"]["BROKER_PASSWORD"], {})


def test_one_password_reaches_everybody_who_needs_it() -> None:
    changed = {"DATABASE_PASSWORD": "one", "BROKER_PASSWORD": "two"}
    settings = {key: resolved(value, changed) for key, value in SERVICES["service"]["environment"].items()}
    assert urlsplit(settings["TCEWATCH_DATABASE_URL"]).password == "one"
    assert resolved(SERVICES["database"]["environment"]["POSTGRES_PASSWORD"], changed) == "one"
    assert urlsplit(settings["TCEWATCH_MQTT_URL"]).password == "two"
    for part in ("accounts", "broker"):
        assert resolved(SERVICES[part]["environment"]["BROKER_PASSWORD"], changed) == "two"


def test_the_example_holds_every_variable_with_the_default_that_holds_without_it() -> None:
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE.read_text(encoding="utf-8")))
    assert example_env() == defaults


def test_the_broker_has_the_limits_of_the_local_stack() -> None:
    conf = mosquitto_conf()
    assert {key: conf.get(key) for key in LIMITS} == LIMITS


def test_the_broker_reads_the_accounts_where_they_are_written_and_keeps_its_state_in_the_volume() -> None:
    conf = mosquitto_conf()
    assert conf["plugin_opt_config_file"] == SERVICES["accounts"]["command"][3]
    assert conf["plugin_opt_config_file"].startswith(conf["persistence_location"])
    assert f"broker:{conf['persistence_location'].rstrip('/')}" in SERVICES["broker"]["volumes"]


def test_the_database_has_the_locks_the_local_stack_gives_it() -> None:
    said = SERVICES["database"]["command"]
    for name in ("shared_preload_libraries", "timescaledb.telemetry_level", "max_locks_per_transaction", "timezone"):
        assert f"{name}={SETTINGS[name]}" in said


def test_the_health_checks_by_shell_are_sound_words() -> None:
    """`$$` is how compose writes a dollar sign; a single one would be filled in before the container sees it."""
    for service in SERVICES.values():
        kind, *words = service.get("healthcheck", {"test": ["none"]})["test"]
        if kind == "CMD-SHELL":
            assert "$" not in words[0].replace("$$", "")
            assert shlex.split(words[0])[0] == "mosquitto_sub"


def test_no_secret_but_the_documented_defaults_stands_in_the_file() -> None:
    text = json.dumps(FILE)
    assert re.findall(r"(?i)(?:password|secret|token)[^,]*?: *\"(?!\$\{)[^\"]+", text) == []
