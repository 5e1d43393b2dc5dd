"""`chatfed invite` and `chatfed members`: the file that a federation's members agree to, and who is in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from chatfed.command_line import application, examples, exit_code

from .cli import Given, Settings, offline_unless_named

if TYPE_CHECKING:
    from .plan.federation import Federation, Member
    from .run.invitation import Invitation

INVITE_EPILOG = examples(
    ("chatfed invite fed --name branches --address chat.example:9443 --members lines", ""),
    ("chatfed invite fed --name branches --address chat.example:9443 --members lines --base smollm2", ""),
)
LIST_EPILOG = examples(("chatfed members list fed/FEDERATION.toml", "or without the word list"))
ADD_EPILOG = examples(("chatfed members add fed/FEDERATION.toml lines", ""))
REMOVE_EPILOG = examples(("chatfed members remove fed/FEDERATION.toml branch-7", ""))
ROTATE_EPILOG = examples(("chatfed members rotate fed/FEDERATION.toml line", "its line with its new key"))
CERTIFICATE_EPILOG = examples(
    ("chatfed members certificate fed/FEDERATION.toml", "the coordinator's certificate, once more for 398 days"),
    ("chatfed members certificate fed/FEDERATION.toml --address new.example:9443", "and under another name"),
)


WAIT = 5.0  # seconds for another change of the same file


class WithList(TyperGroup):
    """Lists the members where a file stands in the place of a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """(name, command, what is left of `args`)."""
        word = args[0] if args else ""
        is_file = word not in self.commands and (word.endswith(".toml") or Path(word).is_file())
        return super().resolve_command(ctx, ["list", *args] if is_file else args)


app = application()
members = application(
    cls=WithList, help="Who is in a federation: lists, adds, removes, rotates keys.", no_args_is_help=True
)
app.add_typer(members, name="members")

File = Annotated[Path, typer.Argument(metavar="FEDERATION.toml", help="The federation's file.")]
Lines = Annotated[Path, typer.Argument(help="A file of lines that chatfed identity new printed.")]
Secrets = Annotated[
    Path | None, typer.Option(help="The folder of the coordinator's secrets; without it, FOLDER.coordinator.")
]


@app.command(epilog=INVITE_EPILOG)
def invite(
    folder: Annotated[Path, typer.Argument(help="The folder to hand out; it must not be there yet.")],
    name: Annotated[str, typer.Option(help="What the federation is called.")],
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where members reach the coordinator.")],
    members_: Annotated[
        Path, typer.Option("--members", help="A file of the members' lines, as chatfed identity new prints them.")
    ],
    recipe_: Annotated[
        Path | None, typer.Option("--recipe", help="A recipe in TOML; without one, the default.")
    ] = None,
    set_: Settings = None,
    base: Annotated[
        str | None,
        typer.Option(help="Start from this model: a transformers folder, a GGUF file, or smollm2. Else one is made."),
    ] = None,
    secrets: Secrets = None,
    certificate: Annotated[
        Path | None, typer.Option(help="A certificate of your own for the address (PEM), with --key and --authority.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    authority: Annotated[Path | None, typer.Option(help="Certificates of the authority it comes from (PEM).")] = None,
) -> None:
    """Makes a federation: what members get, and the secrets.

    FOLDER is for the members: FEDERATION.toml, to which each agrees, and the base model. Without a certificate of your
    own an authority and a certificate are made; into a folder of secrets beside it, which stays with the coordinator.
    """

    def job() -> None:
        recipe, origins = Given(recipe_, False, {"model.base": base, "secagg.identities": "roster"}, set_ or []).read()
        offline_unless_named(recipe)
        from .plan.settings import RecipeError
        from .run.display import Display
        from .run.invitation import Credentials, Invitation

        own = Credentials.given(certificate, key, authority)
        wanted = Invitation(folder, secrets or _beside(folder), name, address, members_, own)
        try:
            made = wanted.make(recipe, Display())
        except RecipeError as error:  # what settings together, or so many members, make wrong
            raise origins.told(error) from None
        print(*_invited(wanted, made), sep="\n")

    raise typer.Exit(exit_code(job))


def _invited(wanted: Invitation, made: Federation) -> Iterator[str]:
    """What was made, who gets what, and what comes next."""
    file = wanted.folder / "FEDERATION.toml"
    yield f"{made.name}, edition 1: {len(made.members)} members, fingerprint {made.fingerprint}"
    yield from _spare(made)
    yield f"Hand {wanted.folder} to each member, whole: the file that it agrees to, and the base. No secret is in it."
    keys = "authority.key or server.key" if wanted.own is None else "server.key, a link to yours,"
    yield (
        f"Keep {wanted.secrets} at the coordinator, and hand it to nobody: whoever has {keys} can pose as the "
        "coordinator."
    )
    yield f"Then, at each member: chatfed join {file} --data FILE --key KEY"
    yield f"and at the coordinator: chatfed coordinate {file}"


@members.command("list", epilog=LIST_EPILOG)
def list_(file: File) -> None:
    """Lists the members, with the fingerprints of their keys."""

    def job() -> None:
        from .plan.federation import read_federation

        found = read_federation(file)
        print(f"{found.name}, edition {found.edition}: {len(found.members)} members, fingerprint {found.fingerprint}")
        width = max((len(each.name) for each in found.members), default=0)
        for each in found.members:
            print(f"{each.name:<{width}}  {each.fingerprint}")

    raise typer.Exit(exit_code(job))


@members.command(epilog=ADD_EPILOG)
def add(file: File, lines: Lines) -> None:
    """Adds members.

    That is a new edition, which every member must agree to.
    """

    def change(old: Federation) -> tuple[tuple[Member, ...], str]:
        new = _read(lines)
        return (*old.members, *new), f"added {_names(new)}"

    _edit(file, change)


@members.command(epilog=REMOVE_EPILOG)
def remove(
    file: File, names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Who takes part no longer.")]
) -> None:
    """Removes members.

    That is a new edition, which every member that is left must agree to.
    """

    def change(old: Federation) -> tuple[tuple[Member, ...], str]:
        gone = [old.member(name) for name in names]
        return tuple(each for each in old.members if each not in gone), f"removed {_names(gone)}"

    _edit(file, change)


@members.command(epilog=ROTATE_EPILOG)
def rotate(file: File, lines: Lines) -> None:
    """Gives members new keys.

    That is a new edition, which every member must agree to.
    """

    def change(old: Federation) -> tuple[tuple[Member, ...], str]:
        from .plan.federation import FederationError

        new = {each.name: each for each in _read(lines)}
        for name, each in new.items():
            if old.member(name) == each:
                raise FederationError(f"{lines}: {name} has these keys already; draw new ones.", param=name)
        return tuple(new.get(each.name, each) for each in old.members), f"new keys for {_names(new.values())}"

    _edit(file, change)


@members.command(epilog=CERTIFICATE_EPILOG)
def certificate(
    file: File,
    secrets: Secrets = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Members find the coordinator there from now on.")
    ] = None,
) -> None:
    """Renews the coordinator's certificate.

    It comes from the federation's own authority, whose key is in the folder of secrets. No member has to agree anew.
    With --address the file changes too: hand it to the members.
    """

    def job() -> None:
        from .parties.certificates import SERVER, make_certificate
        from .plan.federation import read_federation

        with _alone(file):
            found = read_federation(file)
            moved = replace(found, address=address or found.address)
            folder = secrets or _beside(file.parent)
            make_certificate(folder, moved.host, authority=found.authority)
            if moved != found:
                _write(file, moved)
        print(f"{folder / SERVER} is for {moved.host}, from today on: start the coordinator anew with it.")
        if moved != found:
            print(f"Hand {file} to each member: it says the new address, and is the same edition.")

    raise typer.Exit(exit_code(job))


def _edit(file: Path, change: Callable[[Federation], tuple[Iterable[Member], str]]) -> None:
    """Writes the next edition of a file, and says what that means."""

    def job() -> None:
        from .plan.federation import read_federation
        from .plan.in_words import plan_in_words

        with _alone(file):
            old = read_federation(file)
            changed, said = change(old)
            new = old.next_edition(members=tuple(changed))
            _write(file, new)
        print(f"{new.name}, edition {new.edition}: {said}; {len(new.members)} members, fingerprint {new.fingerprint}")
        print(plan_in_words(new.plan()), *_spare(new), sep="\n")
        print(f"Hand the new {file} to every member: each must agree to it anew. Start the coordinator anew with it.")

    raise typer.Exit(exit_code(job))


def _spare(federation: Federation) -> Iterator[str]:
    """A word where a round ends as soon as one member stays away; none where it bears that."""
    agreement = federation.plan().agreement
    most = max(agreement.schedule.sizes)
    if agreement.sums.fewest(most) == most:
        yield (
            f"Note: a round needs all {most} members that it asks, so that it fails whenever one is away; a lower "
            f"secagg.threshold (now {federation.recipe.secagg.threshold:g}) lets it go on where there are four or "
            "more, and counts less noise."
        )


def _read(lines: Path) -> tuple[Member, ...]:
    from .parties.identity import members_in

    return members_in(lines)


def _names(changed: Iterable[Member]) -> str:
    return ", ".join(each.name for each in changed)


def _beside(folder: Path) -> Path:
    """Where the coordinator's secrets are, if nothing else is said."""
    whole = Path(os.path.abspath(folder))
    return whole.with_name(f"{whole.name}.coordinator")


def _write(file: Path, federation: Federation) -> None:
    from .durable import write_atomically

    write_atomically(file, federation.to_toml().encode(), 0o644)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One change at a time. The lock is the folder's own, so that nothing is left in what is handed out."""
    from .durable import lock_within
    from .plan.federation import FederationError

    try:
        handle = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FederationError(f"{file} cannot be read ({error.strerror}).", param=str(file)) from None
    try:
        lock_within(handle, WAIT, f"Somebody else is changing {file}: wait, and look at it first.", 0.1)
        yield
    finally:
        os.close(handle)
