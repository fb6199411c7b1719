"""`tcewatch stack`: the local database, broker and mail sink alone."""

from __future__ import annotations

import shlex

import typer

from app.stack.stack import Stack
from app.stack.trouble import StackTrouble

stack_app = typer.Typer(help="The local TimescaleDB, broker and mail sink.", no_args_is_help=True)


@stack_app.command()
def up() -> None:
    """Start what does not run yet, and wait until all of it answers."""
    stack = Stack(say=typer.echo)
    try:
        addresses = stack.up()
    except StackTrouble as trouble:
        typer.echo(f"tcewatch: {trouble}", err=True)
        raise typer.Exit(1) from trouble
    for name, address in addresses.environment().items():
        typer.echo(f"{name}={address}")


@stack_app.command()
def down() -> None:
    """End what was started here, and nothing else."""
    ended = Stack().down()
    typer.echo(f"ended: {', '.join(ended)}" if ended else "nothing of it was running")


@stack_app.command()
def status() -> None:
    """Which parts run, and where."""
    stack = Stack()
    typer.echo(f"state folder: {stack.state}")
    for server in stack.servers():
        process = server.record.process()
        if process is None:
            typer.echo(f"{server.name}: not running")
        else:
            typer.echo(f"{server.name}: running on 127.0.0.1:{server.record.port()}, process {process.pid}")


@stack_app.command()
def env() -> None:
    """The lines that make the service use the stack: eval "$(tcewatch stack env)"."""
    addresses = Stack().addresses()
    if addresses is None:
        typer.echo("tcewatch: the stack is not running; start it with: tcewatch stack up", err=True)
        raise typer.Exit(1)
    for name, address in addresses.environment().items():
        typer.echo(f"export {name}={shlex.quote(address)}")
