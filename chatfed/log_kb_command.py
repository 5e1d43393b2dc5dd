"""`chatfed log kb`: a help desk's answers, kept in a log. What is promised is in chatfed/conversation/log_kb.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatfed.command_line import application, examples
from chatfed.log_access import KeyFile, Sealed, asked_new, opened, plain, run

if TYPE_CHECKING:
    from chatfed.conversation.log_server import Seen

app = application(help="A help desk's answers on a server that cannot read them.", no_args_is_help=True)

BUILD = examples(("chatfed log kb build my-desk answers.jsonl", 'lines {"question": .., "answer": ..}'))


@app.command("build", epilog=BUILD)
def build(
    folder: Annotated[Path, typer.Argument(metavar="KB", help="The folder of the knowledge base.")],
    file: Annotated[Path, typer.Argument(help="JSON Lines, each with question and answer.")],
    key: KeyFile = None,
    passphrase: Sealed = False,
) -> None:
    """Makes a knowledge base of questions and answers.

    Its server's part can be given to anybody; who has the key and LOG/owner asks.
    """

    def job() -> None:
        from chatfed.conversation import log_kb
        from chatfed.conversation.log_owner import new_log, open_log

        pairs = _pairs(file)
        log_kb.entries_from(pairs)  # so that one that is refused leaves no knowledge base behind
        word = asked_new() if passphrase else None
        new_log(folder, key, word)
        with open_log(folder, key, word) as log:
            print(f"{log_kb.fill(log, pairs):,} answers are in {folder}.")

    run(job)


@app.command("ask", epilog=examples(("chatfed log kb ask my-desk 'the printer on my floor jams'", "")))
def ask(
    folder: Annotated[Path, typer.Argument(metavar="KB", help="The folder of the knowledge base.")],
    question: Annotated[str, typer.Argument(help="In your own words.")],
    k: Annotated[int, typer.Option("-k", min=1, max=4, help="How many answers.")] = 1,
    key: KeyFile = None,
) -> None:
    """Finds the answers that share words with a question.

    The server's part sees no word of question or answer.
    """

    def job() -> None:
        from chatfed.conversation import log_kb

        with opened(folder, key) as log:
            for each in (found := log_kb.ask(log, question, k)):
                print(f"{each.score:.0%}  {plain(each.question)}\n{plain(each.answer)}")
            none = "" if found else "No entry shares a word with it. "
            print(none + seen_in_words(log.server.seen), file=sys.stderr)

    run(job)


def seen_in_words(seen: Seen) -> str:
    """What a curious server saw of a session."""
    volumes = ", ".join(f"{size} ({often}x)" for size, often in sorted(seen.searches.items()))
    return (
        f"The server saw {sum(seen.searches.values())} searches for a word, {seen.repeated} of them repeated, of so "
        f"many entries: {volumes or 'none'}; {seen.bodies:,} messages fetched; {seen.appended:,} kept, in "
        f"{len(seen.sizes)} sizes; {seen.erased:,} erased. No word, and no key."
    )


def _pairs(file: Path) -> list[tuple[str, str]]:
    from chatfed.types import InvalidValue

    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        pairs = [(each["question"], each["answer"]) for each in lines]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pairs = []
    if not pairs or not all(isinstance(text, str) and text.strip() for pair in pairs for text in pair):
        said = f'{file} holds no answers: give lines such as {{"question": "...", "answer": "..."}}, both with a text.'
        raise InvalidValue(said, param=str(file))
    return pairs
