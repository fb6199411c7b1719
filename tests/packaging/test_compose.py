"""compose.yaml without an engine: its shape after the Compose specification, and that it fits the program.

The keys below are those of https://github.com/compose-spec/compose-spec (05-services.md, 07-volumes.md) in use here. A
key outside of them is either misspelt or new, and new ones are looked up before they are added.
"""

from __future__ import annotations

import ast
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator

from app.settings import PREFIX, Settings
from app.stack.database import SETTINGS
from app.stack.stack import COMPOSE, COMPOSE_ADDRESSES
from tests.packaging.repository import ROOT, compose, instructions, text

DURATION = {"type": "string", "pattern": r"^(\d+(ms|s|m|h))+$"}
STRINGS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
CONDITION = {"enum": ["service_started", "service_healthy", "service_completed_successfully"]}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


HEALTHCHECK = {
    "oneOf": [
        closed(
            {
                "test": STRINGS,
                "interval": DURATION,
                "timeout": DURATION,
                "start_period": DURATION,
                "retries": {"type": "integer", "minimum": 1},
            },
            "test",
            "interval",
            "timeout",
            "retries",
        ),
        closed({"disable": {"const": True}}, "disable"),
    ]
}
SERVICE = closed(
    {
        "image": {"type": "string"},
        "build": closed({"context": {"type": "string"}}, "context"),
        "command": STRINGS,
        "user": {"type": "string"},
        "working_dir": {"type": "string"},
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "volumes": STRINGS,
        "tmpfs": STRINGS,
        "ports": STRINGS,
        "shm_size": {"type": "string", "pattern": r"^\d+(b|k|m|g|kb|mb|gb)$"},
        "init": {"type": "boolean"},
        "read_only": {"type": "boolean"},
        "security_opt": STRINGS,
        "cap_drop": STRINGS,
        "cap_add": STRINGS,
        "network_mode": {"type": "string"},
        "depends_on": {"type": "object", "additionalProperties": closed({"condition": CONDITION}, "condition")},
        "healthcheck": HEALTHCHECK,
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
    },
    "image",
    "healthcheck",
    "restart",
)
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-z0-9][a-z0-9_-]*$"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
    },
    "patternProperties": {"^x-": {}},
    "required": ["name", "services", "volumes"],
    "additionalProperties": False,
}
ONE_SHOT = {"accounts", "migrate"}
SUBSTITUTION = re.compile(r"\$\{([A-Z_]+)(?::-([^}]*))?\}")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return compose()


@pytest.fixture(scope="module")
def services(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def filled_in(value: str) -> str:
    """What the engine makes of it when no variable is set."""
    return SUBSTITUTION.sub(lambda match: match[2] or "", value)


def published(service: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Host address, host port and container port of each published port."""
    parts = [filled_in(port).split(":") for port in service.get("ports", [])]
    return [(host, int(outside), int(inside)) for host, outside, inside in parts]


def test_its_shape(document: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(document)] == []


@pytest.mark.parametrize(
    "change",
    [{"healtcheck": {}}, {"restart": "sometimes"}, {"ports": "8080"}, {"depends_on": {"x": {"condition": "up"}}}],
)
def test_a_misspelt_key_would_be_seen(change: dict[str, Any], document: dict[str, Any]) -> None:
    wrong = {**document, "services": {"service": {**document["services"]["service"], **change}}}
    assert not Draft202012Validator(SCHEMA).is_valid(wrong)


def test_what_is_meant_to_run_is_watched_and_started_again(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        if name in ONE_SHOT:
            assert service["restart"] == "no", name
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        image, _, tag = service["image"].rpartition(":")
        assert image, f"{name}: {tag} has no tag"
        assert re.match(r"v?\d+\.\d+", tag), f"{name}: {tag}"


def test_accounts_are_written_by_the_python_of_the_image(services: dict[str, dict[str, Any]]) -> None:
    bases = {rest.split()[0] for word, rest in instructions(text("Dockerfile")) if word == "FROM"}
    assert bases == {services["accounts"]["image"]}
    assert f"./app:{services['accounts']['working_dir']}/app:ro" in services["accounts"]["volumes"]


def test_ports_are_open_to_this_machine_alone_and_once(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in published(service)]
    assert {host for host, _, _ in ports} == {"127.0.0.1"}
    outside = [port for _, port, _ in ports]
    assert len(set(outside)) == len(outside)


def test_volumes_are_declared_and_used(document: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    mounts = [volume.split(":") for service in services.values() for volume in service.get("volumes", [])]
    named = {source for source, *_ in mounts if not source.startswith(".")}
    assert named == set(document["volumes"])
    bound = [(source, rest) for source, *rest in mounts if source.startswith(".")]
    assert all((ROOT / source).exists() and rest[-1] == "ro" for source, rest in bound)


def test_each_waits_for_what_it_needs(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert how["condition"] == wanted, f"{name} → {other}"
            assert other in services
    assert set(services["service"]["depends_on"]) == {"database", "broker", "mail", "migrate"}
    assert set(services["migrate"]["depends_on"]) == {"database"}
    assert set(services["broker"]["depends_on"]) == {"accounts"}


def test_its_settings_are_settings_and_can_be_used(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        ours = {
            key.removeprefix(PREFIX).lower(): filled_in(value)
            for key, value in service.get("environment", {}).items()
            if key.startswith(PREFIX)
        }
        assert ours.keys() <= Settings.model_fields.keys(), name
        Settings.model_validate(ours)


@pytest.mark.parametrize("name", ["service", "migrate"])
def test_the_service_may_do_nothing_it_does_not_need(name: str, services: dict[str, dict[str, Any]]) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"user", "cap_add"}.isdisjoint(service), "the image's own user, which is not root"


def test_its_addresses_lead_to_its_services(services: dict[str, dict[str, Any]]) -> None:
    environment = services["service"]["environment"]
    inside = {"DATABASE_URL": ("database", 5432), "MQTT_URL": ("broker", 1883), "SMTP_URL": ("mail", 1025)}
    for variable, place in inside.items():
        parts = urlsplit(filled_in(environment[PREFIX + variable]))
        assert (parts.hostname, parts.port) == place
        assert place[1] in {port for _, _, port in published(services[place[0]])}
    assert services["migrate"]["environment"][PREFIX + "DATABASE_URL"] == environment[PREFIX + "DATABASE_URL"]


def test_the_local_stack_finds_the_parts_where_it_looks(services: dict[str, dict[str, Any]]) -> None:
    assert COMPOSE == ROOT / "compose.yaml"
    places = {"database_url": "database", "mqtt_url": "broker", "smtp_url": "mail"}
    for name, service in places.items():
        parts = urlsplit(COMPOSE_ADDRESSES[name])
        assert parts.port in {port for _, port, _ in published(services[service])}, name
    database = {key: filled_in(value) for key, value in services["database"]["environment"].items()}
    parts = urlsplit(COMPOSE_ADDRESSES["database_url"])
    assert (parts.username, parts.password, parts.path) == (
        database["POSTGRES_USER"],
        database["POSTGRES_PASSWORD"],
        f"/{database['POSTGRES_DB']}",
    )
    for holder in ("accounts", "broker"):
        password = filled_in(services[holder]["environment"]["BROKER_PASSWORD"])
        assert urlsplit(COMPOSE_ADDRESSES["mqtt_url"]).password == password


def test_the_example_names_each_variable_with_its_default() -> None:
    example = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", text("deploy/example.env")))
    used = dict(SUBSTITUTION.findall(text("compose.yaml")))
    ours = {name: default for name, default in used.items() if not name.startswith(PREFIX)}
    assert example == ours
    assert {name.removeprefix(PREFIX).lower() for name in used.keys() - ours.keys()} <= Settings.model_fields.keys()


def test_one_password_reaches_everybody_who_needs_it() -> None:
    """Each occurrence of a variable has the same default, and nobody has a password of his own."""
    found = SUBSTITUTION.findall(text("compose.yaml"))
    assert len(set(found)) == len(dict(found))
    assert re.findall(r"(?im)^\s*\w*(?:password|secret|token)\w*: (?!\$\{).*$", text("compose.yaml")) == []


def test_words_for_a_shell_keep_their_dollar_signs(services: dict[str, dict[str, Any]]) -> None:
    """`$$` is how compose writes a dollar sign; a single one would be filled in before the container sees it."""
    shell = [check[1] for s in services.values() if (check := s["healthcheck"].get("test", [""]))[0] == "CMD-SHELL"]
    assert shell
    assert [words for words in shell if "$" in words.replace("$$", "")] == []


def test_the_database_has_the_locks_and_room_the_local_stack_gives_it(services: dict[str, dict[str, Any]]) -> None:
    said = services["database"]["command"]
    for name in ("timescaledb.telemetry_level", "max_locks_per_transaction", "max_wal_size"):
        assert f"{name}={SETTINGS[name]}" in said


def test_health_of_the_service_is_asked_where_it_listens(services: dict[str, dict[str, Any]]) -> None:
    service = services["service"]
    program, flag, code = service["healthcheck"]["test"][1:]
    assert (program, flag) == ("python", "-c")
    ast.parse(code)
    (url,) = re.findall(r"'(http[^']*)'", code)
    (_, _, inside), *_ = published(service)
    assert (urlsplit(url).port, urlsplit(url).path) == (inside, "/readyz")
    assert ("EXPOSE", str(inside)) in instructions(text("Dockerfile"))
