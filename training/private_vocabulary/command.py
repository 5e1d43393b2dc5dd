"""`chatfed vocabulary`: words that many clients use, agreed on without anybody learning who uses which, or how many do.

Three parties compute on shares over mpyc; this program makes their certificates and the agreement, sends a client's
shares, runs a party, and rehearses all of it on one machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatfed.command_line import application, examples, exit_code

if TYPE_CHECKING:
    from .agreement import Agreement, Computing
    from .computing import Outcome

CERTIFICATE_EPILOG = examples(
    ("chatfed vocabulary certificate union a.example.org --home union >> parties", "the line for who writes it all"),
    ("chatfed vocabulary certificate firm 10.0.0.2 --home firm --ports 7101,7201 >> parties", ""),
)
AGREE_EPILOG = examples(
    ("chatfed vocabulary agree words.txt --parties parties --clients roster --threshold 40", "a word a line"),
)
SHARE_EPILOG = examples(
    ("chatfed vocabulary share VOCABULARY.json --data mine.jsonl --key branch-7.key", "sends your shares, once"),
)
PARTY_EPILOG = examples(
    ("chatfed vocabulary party VOCABULARY.json --home union --out runs/default/words.json", "collects, then computes"),
)
REHEARSE_EPILOG = examples(
    ("chatfed vocabulary rehearse", "60 clients and three parties on this machine, into runs/vocabulary"),
)
app = application(help="Words that many clients use, and nobody learns who.", no_args_is_help=True)

Home = Annotated[Path, typer.Option(help="The folder in which this side keeps what is its own.")]
Agreed = Annotated[Path, typer.Argument(metavar="AGREEMENT", help="The file that all were given.")]
Listen = Annotated[str, typer.Option(help="The address to listen on, where it is not the agreement's.")]


@app.command("certificate", epilog=CERTIFICATE_EPILOG)
def certificate(
    name: Annotated[str, typer.Argument(help="The party's name, as all others will read it.")],
    host: Annotated[str, typer.Argument(help="Where it is found: a host name or an address.")],
    home: Home = Path("party"),
    ports: Annotated[str, typer.Option(help="For clients and for the other parties.")] = "7101,7201",
) -> None:
    """Makes a computing party's certificate and prints its line.

    server.key stays in the folder. Send the line to who writes the agreement.
    """

    def job() -> None:
        from ..durable import to_json
        from .links import make_party

        print(to_json(vars(make_party(name, host, home, ports))))

    raise typer.Exit(exit_code(job))


@app.command("agree", epilog=AGREE_EPILOG)
def agree(
    candidates: Annotated[Path, typer.Argument(help="A public list: a word a line. None may come from dialogues.")],
    parties: Annotated[Path, typer.Option(help="Lines of chatfed vocabulary certificate, three.")],
    clients: Annotated[Path, typer.Option(help="Lines of chatfed identity new, one a client.")],
    threshold: Annotated[int, typer.Option(help="Clients that a word needs.")],
    colluders: Annotated[int, typer.Option(help="Clients that may lie and tell; the claim counts without them.")] = 1,
    most_words: Annotated[int, typer.Option(help="Words of one client that count at most; 0: all, up to 256.")] = 0,
    least_clients: Annotated[int, typer.Option(help="Fewer, and nothing is computed; 0: twice the threshold.")] = 0,
    name: Annotated[str, typer.Option(help="What it is called.")] = "vocabulary",
    out: Annotated[Path, typer.Option(help="The file for everybody.")] = Path("VOCABULARY.json"),
) -> None:
    """Writes the agreement: who takes part, who computes, which words are asked about.

    Give the file to the clients and the parties, and have them compare its digest by another way.
    """

    def job() -> None:
        from ..parties.identity import read_roster
        from .agreement import Agreement, read_candidates, write_agreement

        words, roster = read_candidates(candidates), read_roster(clients)
        agreed = Agreement(
            name,
            words,
            tuple((str(who), key.hex()) for who, key in roster.items()),
            read_parties(parties),
            threshold,
            colluders,
            most_words or min(256, len(words)),
            least_clients or 2 * threshold,
        )
        write_agreement(out, agreed)
        for line in in_words(agreed):
            print(line)

    raise typer.Exit(exit_code(job))


def read_parties(path: Path) -> tuple[Computing, ...]:
    """The parties of a file of lines. Raises NoParty, or AgreementError."""
    from ..durable import from_json
    from .agreement import Computing
    from .links import NoParty

    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return tuple(Computing(**from_json(line)) for line in lines)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise NoParty(f"{path} holds no lines of chatfed vocabulary certificate ({error}).", param=str(path)) from None


def in_words(agreed: Agreement) -> Iterator[str]:
    """What a person agrees to."""
    yield f"Agreement {agreed.digest.hex()}"
    yield (
        f"{len(agreed.candidates):,} candidate words, {len(agreed.clients)} clients, of which {agreed.least_clients} "
        f"at least must take part with {agreed.most_words} words each at most."
    )
    yield f"{', '.join(each.name for each in agreed.parties)} compute. Any two of them together could read everything."
    yield agreed.claim(len(agreed.clients))


@app.command("share", epilog=SHARE_EPILOG)
def share(
    agreement: Agreed,
    data: Annotated[str, typer.Option(help="Your dialogues: a file or a folder.")],
    key: Annotated[Path, typer.Option(help="Your private key, of chatfed identity new.")],
    home: Annotated[
        Path | None, typer.Option(help="Where it is kept that your key took part; vocabulary, beside the key.")
    ] = None,
    patience: Annotated[float, typer.Option(min=1.0, metavar="SECONDS", help="For each party to be there.")] = 60.0,
    again: Annotated[bool, typer.Option("--again", help="Though you took part in another agreement.")] = False,
) -> None:
    """Tells three parties, in shares, which candidate words your dialogues use.

    Each is sent numbers that are uniform to it. Stopped on the way, it may be started again.
    """

    def job() -> None:
        from chatfed.data.dialogue import read_dialogues
        from chatfed.model.transformer import stay_offline

        from ..parties.identity import read_key
        from .agreement import choose, read_agreement
        from .carrier import give

        agreed, secret = read_agreement(agreement), read_key(key)
        agreed.number_of(secret)
        stay_offline()
        for line in in_words(agreed):
            print(line)
        texts = (turn.content for dialogue in read_dialogues(data) for turn in dialogue.messages)
        chosen = choose(texts, agreed)
        sent = give(agreed, chosen, secret, home or key.parent / "vocabulary", patience, again, os.urandom)
        if sent != chosen:
            print("A start before this one was stopped: what your dialogues said then was sent.")
        print(f"Done: {len(sent)} of your words are on the list, which nobody else was told.")

    raise typer.Exit(exit_code(job))


@app.command("party", epilog=PARTY_EPILOG)
def party(
    agreement: Agreed,
    out: Annotated[Path, typer.Option(help="The file for the words; in a run's folder it limits suggestions to them.")],
    home: Home = Path("party"),
    listen: Listen = "",
    collect: Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help="To wait for clients at most.")] = 3600.0,
    patience: Annotated[float, typer.Option(min=1.0, metavar="SECONDS", help="To wait for the other parties.")] = 600.0,
) -> None:
    """Runs one of the three computing parties.

    It takes the clients' shares, then compares their sums with the threshold together with the other two, and writes
    the words. What it was given is kept on disk until then, and erased.
    """
    raise typer.Exit(exit_code(lambda: _party(agreement, out, home, listen, collect, patience)))


def _party(agreement: Path, out: Path, home: Path, listen: str, seconds: float, patience: float) -> None:
    from .agreement import read_agreement
    from .carrier import Desk, collect
    from .computing import compute
    from .links import PartyFault

    agreed = read_agreement(agreement)
    own = own_number(agreed, home)
    desk = Desk(home, agreed, own)
    print(f"Agreement {agreed.digest.hex()}, as {agreed.parties[own].name}.", flush=True)
    if not desk.fixed:
        collect(desk, home, seconds, lambda line: print(line, flush=True), listen)
    given = desk.given
    print(f"The shares of {len(given)} of {len(agreed.clients)} clients are here; computing.", flush=True)
    outcome = compute(
        agreed, own, home, given, patience, listen, desk.fix, lambda found: write_words(out, agreed, found)
    )
    if not outcome.unsure:
        desk.finish()
    for line in told(agreed, outcome):
        print(line, flush=True)
    if outcome.unsure:
        who = ", ".join(outcome.unsure)
        raise PartyFault(
            f"The words are in {out}, but {who} did not say that it has them, and the shares are kept in "
            f"{desk.folder}. Start all three again, or copy words.json to {who} and remove that folder.",
            param=who,
        )


def own_number(agreed: Agreement, home: Path) -> int:
    """Which party the certificate in a folder is of. Raises NoParty."""
    from ..parties.certificates import SERVER
    from .links import NoParty

    try:
        shown = (home / SERVER).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        shown = ""
    for number, each in enumerate(agreed.parties):
        if each.certificate == shown:
            return number
    raise NoParty(f"{home} holds the certificate of none of the parties of this agreement.", param=str(home))


def write_words(path: Path, agreed: Agreement, outcome: Outcome) -> None:
    """Writes the words with what may be claimed of them; a chat offers these only where it finds the file."""
    from chatfed.agreed_words import FORMAT

    from ..durable import to_json, write_atomically

    told = {
        "format": FORMAT,
        "words": list(outcome.words),
        "threshold": agreed.threshold,
        "clients": len(outcome.counted),
        "differential_privacy": None,
        "claim": agreed.claim(len(outcome.counted)),
        "agreement": agreed.digest.hex(),
    }
    write_atomically(path, (to_json(told, indent=1) + "\n").encode(), 0o644)


def told(agreed: Agreement, outcome: Outcome) -> Iterator[str]:
    """What a party says at the end."""
    for clients, why in ((outcome.refused, "left out: no sound vector"), (outcome.incomplete, "sent to some only")):
        if clients:
            yield f"{', '.join(agreed.clients[each][0] for each in clients)}: {why}."
    yield f"{len(outcome.words)} of {len(agreed.candidates)} words are agreed on by {len(outcome.counted)} clients."
    yield agreed.claim(len(outcome.counted))


@app.command("rehearse", epilog=REHEARSE_EPILOG)
def rehearse(
    out: Annotated[Path, typer.Option(help="The folder of all of it.")] = Path("runs/vocabulary"),
    clients: Annotated[int, typer.Option(min=6, help="Clients of the generated help desk.")] = 60,
    threshold: Annotated[int, typer.Option(min=3, help="Clients that a word needs.")] = 10,
    words: Annotated[int, typer.Option(min=1, help="Candidates: the most frequent words of public text.")] = 4096,
) -> None:
    """Rehearses all of it on one machine, with three processes.

    The words are compared with those that a count in clear gives, which nobody could make elsewhere.
    """

    def job() -> None:
        from .rehearsal import rehearse as run

        run(out, clients, threshold, words)

    raise typer.Exit(exit_code(job))
