"""The `chatfed` command as tests read it: which commands there are, what their help shows, which options they take."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from chatfed.cli import app, loaded

CHATFED = typer.main.get_command(app)


def leaves(command: Any = CHATFED, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that lead to it; a group's default needs no word."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name in command.commands:
        word = () if name == getattr(command, "default", None) else (name,)
        yield from leaves(_inside(command, name), (*path, *word))


def command_of(words: Sequence[str]) -> tuple[Any, list[str]]:
    """(command, what is left) of the words that stand after `chatfed`."""
    command, rest = CHATFED, list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        default = getattr(command, "default", None)
        command = _inside(command, default if default and rest[0] not in command.commands else rest.pop(0))
    return command, rest


def _inside(group: Any, name: str) -> Any:
    assert name in group.commands, f"there is no command {name}; there are {', '.join(group.commands)}"
    programs = getattr(group, "programs", {})
    return loaded(name, programs) if name in programs else group.commands[name]


def options_of(command: Any) -> set[str]:
    """The long options of a command, and of all commands in it."""
    below = [options_of(_inside(command, name)) for name in getattr(command, "commands", ())]
    return {"--help"}.union(*below, _long(command.params))


def _long(params: Any) -> Iterator[str]:
    names = (name for each in params for name in (*each.opts, *each.secondary_opts))  # the second ones switch off
    return (name for name in names if name.startswith("--"))


def examples_of(command: Any) -> list[list[str]]:
    """The words of each example that a command's help shows; where its output would go is left out."""
    lines = (command.epilog or "").partition("Examples:\n")[2].split("\n\n")[0].splitlines()
    shown = [line.strip().partition("  ")[0].partition(" >> ")[0] for line in lines]
    return [shlex.split(line) for line in shown]
