"""The `chatfed` command as tests read it: which commands there are, what their help shows, which options they take."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from chatfed.cli import PROGRAMS, app, loaded

CHATFED = typer.main.get_command(app)


def leaves(command: Any = CHATFED, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that lead to it."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name in command.commands:
        yield from leaves(_inside(command, name), (*path, name))


def command_of(words: Sequence[str]) -> tuple[Any, list[str]]:
    """(command, what is left) of the words that stand after `chatfed`."""
    command, rest = CHATFED, list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        command = _inside(command, rest.pop(0))
    return command, rest


def _inside(group: Any, name: str) -> Any:
    assert name in group.commands, f"there is no command {name}; there are {', '.join(group.commands)}"
    return loaded(name) if group is CHATFED and name in PROGRAMS else group.commands[name]


def options_of(command: Any) -> set[str]:
    """The long options of a command, and of all commands in it."""
    below = [options_of(_inside(command, name)) for name in getattr(command, "commands", ())]
    return {"--help"}.union(*below, (name for each in command.params for name in each.opts if name.startswith("--")))


def examples_of(command: Any) -> list[list[str]]:
    """The words of each example that a command's help shows; where its output would go is left out."""
    lines = (command.epilog or "").partition("Examples:\n")[2].split("\n\n")[0].splitlines()
    shown = [line.strip().partition("  ")[0].partition(" >> ")[0] for line in lines]
    return [shlex.split(line) for line in shown]
