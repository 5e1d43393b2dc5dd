"""`python -m chatfed.data.helpdesk --out DIR`: writes the default corpus and prints its counts."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from chatfed.data.helpdesk import figures, generate, write
from chatfed.data.helpdesk.corpus import PUBLIC_DIALOGUES, HelpdeskCorpus


def main(arguments: Sequence[str] | None = None) -> int:
    """Generates, writes, prints. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chatfed.data.helpdesk", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the five JSON Lines files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=400)
    parser.add_argument("--held-out-clients", type=int, default=30)
    parser.add_argument("--public-dialogues", type=int, default=PUBLIC_DIALOGUES)
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    corpus = generate(options.seed, options.clients, options.held_out_clients, options.public_dialogues)
    seconds = time.perf_counter() - started
    try:
        write(corpus, options.out)
    except OSError as error:
        print(f"cannot write the corpus to {options.out}: {error.strerror or error}", file=sys.stderr)
        return 1
    _print(corpus, seconds)
    return 0


def _print(corpus: HelpdeskCorpus, seconds: float) -> None:
    print(f"{'part':10}{'clients':>9}{'dialogues':>11}{'messages':>10}{'words':>11}{'vocabulary':>12}{'5-grams':>9}")
    for name, part in (("public", corpus.public), ("private", corpus.private), ("held_out", corpus.held_out)):
        of = figures(part)
        print(
            f"{name:10}{of.clients:>9,}{of.dialogues:>11,}{of.messages:>10,}{of.words:>11,}{of.vocabulary:>12,}"
            f"{of.distinct_five_grams:>9.3f}"
        )
    print(f"{len(corpus.facts):,} private facts; generated in {seconds:.1f} s. 5-grams: distinct / total.")


if __name__ == "__main__":
    sys.exit(main())
