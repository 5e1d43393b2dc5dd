"""`python -m tests.mutants`: tries every mutant, and the clean code in each scene; prints who was killed by what.

--clean N: N runs of the clean code in the scenes that draw by chance, and nothing else; how many were accused.
--only TEXT: mutants whose name holds it. --every N: one in N. --json FILE: the same as JSON. --workers N: at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.audit.conformance import decide
from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.scenes import SCENES, by_chance
from tests.mutants.trial import Verdict, attempt, in_memory

CLEAN = "(clean)"
OWNED = 40  # dialogues of the one client


def prepare(folder: Path) -> Path:
    """A tiny base, and one client's dialogues, all different; imports what is heavy, once for all forks."""
    import training.base.learner  # noqa: F401
    from chatfed.data.helpdesk import generate
    from chatfed.model.checkpoint import save_model
    from chatfed.model.tokenizer import train_tokenizer
    from chatfed.model.transformer import Architecture, build_llama, untie_output
    from training.base.tokens import write_tokens

    corpus = generate(3, clients=8, held_out_clients=2, public_dialogues=60)
    tokenizer = train_tokenizer((turn.content for each in corpus.public for turn in each.messages), 400)
    model = build_llama(Architecture(16, 2, 2, 32, 64), tokenizer, seed=5)
    untie_output(model)
    save_model(folder / "base", model, tokenizer, "A tiny random model.\n")
    dialogues = [each.messages[:2] for each in corpus.private[:OWNED]]
    from chatfed.types import ClientId

    write_tokens(folder / "private", tokenizer, dialogues, {ClientId("a"): np.arange(OWNED)})
    write_tokens(folder / "held-out", tokenizer, dialogues[:1])
    return folder


def main() -> int:
    """0 where every mutant was killed and no clean run accused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked, start = parser.parse_args(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="chatfed-mutants-") as folder:
        prepared = prepare(Path(folder))
        mutants = (
            []
            if asked.clean
            else _tried(prepared, asked.workers, [each for each in MUTANTS if asked.only in each.name][:: asked.every])
        )
        cleans = [_clean(prepared, k) for k in range(1, asked.clean + 1)] or _scenes(prepared, asked.workers)
    return _told(mutants, cleans, time.perf_counter() - start, asked.json)


def _tried(prepared: Path, workers: int, mutants: Sequence[Mutant]) -> list[Verdict]:
    with ThreadPoolExecutor(workers) as pool:
        return [_said(each) for each in pool.map(lambda mutant: attempt(mutant, prepared), mutants)]


def _scenes(prepared: Path, workers: int) -> list[Verdict]:
    """The clean code in each."""
    with ThreadPoolExecutor(workers) as pool:
        asked = [Mutant(CLEAN, scene, ()) for scene in SCENES]
        return [_said(each) for each in pool.map(lambda mutant: attempt(mutant, prepared), asked)]


def _clean(prepared: Path, number: int) -> Verdict:
    """One more run of it, in this process: nothing is edited."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="chatfed-clean-", dir=in_memory()) as home:
        decided = decide(by_chance(Path(home), prepared))
    found = decided.faults[0].name if decided.faults else ""
    if found or not number % 50:
        print(f"clean run {number}: {found or 'nothing found'}, p {decided.p:.2g}", flush=True)
    return Verdict(CLEAN, "by chance", found, decided.p, decided.tests, time.perf_counter() - start)


def _said(each: Verdict) -> Verdict:
    print(_line(each), flush=True)
    return each


def _line(each: Verdict) -> str:
    said = each.error.strip().splitlines()[-1] if each.error else each.found or "nothing found"
    return f"{each.name:<52} {each.scene:<18} {each.p:8.1e} {each.tests:4} {each.seconds:6.2f} s  {said[:110]}"


def _told(mutants: list[Verdict], cleans: list[Verdict], seconds: float, file: Path | None) -> int:
    lives = [each for each in mutants if not each.killed]
    accused = [each for each in cleans if each.found or each.error]
    killed = f"{len(mutants) - len(lives)} of {len(mutants)} mutants killed"
    print(f"{killed}; {len(accused)} of {len(cleans)} clean runs accused; {seconds:.0f} s")
    if file:
        about: dict[str, Any] = {"seconds": seconds, "processor_seconds": sum(os.times()[:4])}  # of forks too
        about |= {"mutants": [asdict(each) for each in mutants], "clean": [asdict(each) for each in cleans]}
        file.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return 1 if lives or accused else 0


if __name__ == "__main__":
    sys.exit(main())
