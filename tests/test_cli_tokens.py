"""Tokens and accounts from the command line, as an operator would keep them."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.store.database import plain_url


@pytest.fixture
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCEWATCH_DATABASE_URL", database_url)


def told(*words: str, pipe: str | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=pipe)


@pytest.mark.usefixtures("_environment")
def test_a_token_from_its_making_to_its_end() -> None:
    made = told("token", "create", "--role", "supervisor", "--scope", "445302", "--name", "bureau").output.strip()
    assert made.startswith("tw_")
    line = told("token", "list").output.strip().split("\t")
    assert line[1:] == ["supervisor", "445302", "bureau", "never used"]
    assert made not in "".join(line)
    rotated = told("token", "rotate", line[0], "--overlap-hours", "1").output.strip()
    assert rotated.startswith("tw_")
    assert rotated != made
    assert told("token", "revoke", line[0]).output.strip() == f"token {line[0]} is revoked"
    assert "revoked 20" in told("token", "list").output
    refused = told("token", "rotate", line[0])
    assert refused.exit_code == 2
    assert f"there is no token {line[0]} that is worth something" in refused.output
    assert told("token", "revoke", "99999").exit_code == 2


@pytest.mark.usefixtures("_environment")
async def test_an_account_and_its_password(database_url: str) -> None:
    def invoke(*words: str, pipe: str) -> Result:
        return told("user", *words, "--password-stdin", pipe=pipe)

    create = ("create", "Chen.Wei", "--role", "supervisor", "--scope", "445302", "--full-name", "陈伟")
    short = await asyncio.to_thread(invoke, *create, pipe="short\n")
    assert short.exit_code == 2
    assert "a password has 12 to 256 characters" in short.output
    done = await asyncio.to_thread(invoke, *create, pipe="a long walk by the river\n")
    assert (done.exit_code, done.output.strip()) == (0, "chen.wei may log in")
    again = await asyncio.to_thread(invoke, *create, pipe="a long walk by the river\n")
    assert "account 'chen.wei' exists already" in again.output
    other = await asyncio.to_thread(invoke, "password", "chen.wei", pipe="another walk by the sea\n")
    assert other.output.strip() == "chen.wei has another password and is logged out everywhere"
    wrong = await asyncio.to_thread(invoke, "create", "a b", "--role", "admin", "--scope", "4453", pipe="x\n")
    assert "no account's name" in wrong.output
    connection = await asyncpg.connect(plain_url(database_url))
    actions = await connection.fetch("SELECT action FROM audit WHERE object_kind = 'account' ORDER BY audit_id")
    await connection.close()
    assert [row[0] for row in actions] == ["account.create", "account.change"]
