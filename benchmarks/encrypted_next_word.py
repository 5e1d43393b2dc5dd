"""Encrypted next words: time and bytes of a question, whether the words are those in clear, and memory over many.

Contexts are of held-out dialogues of a run that `chatfed he distil` has been through. Seconds are processor time of one
thread; a machine with two cores answers two servers' questions at once, not one twice as fast.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import Row, machine, parser, print_table, write_json
from benchmarks.servers import port_in, served
from chatfed.command_line import exit_code
from chatfed.encrypted.inference import Answerer, Asker
from chatfed.encrypted.network import AskerHalf, ServerHalf
from chatfed.model.tokenizer import WORD_START
from serving.encrypted_questions import Caller, Crossed, read_half
from training.base.tokens import ASSISTANT, TokenTable, open_tokens

CONTEXTS, QUICK_CONTEXTS, FIRST = 500, 20, 5
PROTOTYPE = 0.48  # seconds a word on two cores, of the prototype that this replaces; not measured here
WARM = 20  # questions after which memory is looked at first


def contexts(table: TokenTable, count: int, seed: int = 1) -> Iterator[NDArray[np.int32]]:
    """The tokens before words of held-out dialogues, drawn evenly over all words."""
    starts = np.flatnonzero((table.kinds & ~np.uint8(ASSISTANT)) == WORD_START)
    for at in np.sort(np.random.default_rng(seed).choice(starts, min(count, len(starts)), replace=False)):
        dialogue = int(np.searchsorted(table.starts, at, "right")) - 1
        yield np.array(table.ids[int(table.starts[dialogue]) : at])


def resident(process: int | str = "self") -> int:
    """KiB of a process in memory now; of this one where there is no Linux, the most that there ever was."""
    try:
        fields = Path(f"/proc/{process}/statm").read_text().split()
        return int(fields[1]) * resource.getpagesize() // 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measured(half: AskerHalf, server: ServerHalf, texts: Sequence[NDArray[np.int32]]) -> dict[str, Any]:
    """All figures. `texts` are more than WARM."""
    answerer, asker, crossed = Answerer(server), Asker(half.digest), Crossed()
    answerer.meet(asker.keys)
    times, memory, same, worst = [], [], list[tuple[bool, bool]](), 0.0
    for ids in texts:
        features = half.features(ids.tolist())
        question = asker.ask(features)
        start = time.process_time()
        answer = answerer.answer(question.sent)
        times.append(time.process_time() - start)
        opened = asker.read(question, answer)[: len(half.tokens)]
        clear = server.scores(features[None])[0, : len(half.tokens)]
        same.append(_same_first(clear, opened))
        worst = max(worst, float(np.abs(clear - opened).max()))
        memory.append(resident())
        crossed.sent, crossed.received = max(crossed.sent, len(question.sent)), max(crossed.received, len(answer))
    return {
        "questions": len(texts),
        "seconds": median(times),
        "seconds_95": float(np.quantile(times, 0.95)),
        "same_first_five": float(np.mean([each[0] for each in same])),
        "same_first_five_in_any_order": float(np.mean([each[1] for each in same])),
        "largest_difference_of_scores": worst,
        "keys_bytes": len(asker.keys),
        "question_bytes": crossed.sent,
        "answer_bytes": crossed.received,
        "memory_kib_after_warming": memory[min(WARM, len(memory) - 1)],
        "memory_kib_at_the_end": memory[-1],
    }


def of_a_server(run: Path, texts: Sequence[NDArray[np.int32]], log: Path) -> dict[str, Any]:
    """Memory and processor time of a `chatfed he serve` of its own, asked over its socket; more than WARM texts."""
    command = [sys.executable, "-m", "chatfed", "he", "serve", str(run), "--port", "0"]
    memory = list[int]()
    with served(command, log, port_in) as (process, port), Caller.open(run, "127.0.0.1", port) as caller:
        for ids in texts:
            caller.scores(ids.tolist())
            memory.append(resident(process))
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "server_questions": len(texts),
        "server_kib_after_warming": memory[WARM],
        "server_kib_at_the_end": memory[-1],
        "server_kib_at_most": max(memory),
        "server_seconds_with_its_start": spent.ru_utime + spent.ru_stime,
    }


def _same_first(clear: NDArray[Any], opened: NDArray[Any]) -> tuple[bool, bool]:
    """Whether the FIRST likeliest are the same, in the same order and as a set."""
    wanted, found = (np.argsort(-each, kind="stable")[:FIRST] for each in (clear, opened))
    return bool((wanted == found).all()), set(wanted) == set(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints, and stores where --json says."""
    options = parser("encrypted_next_word", (__doc__ or "").splitlines()[0])
    options.add_argument("--run", type=Path, default=Path("runs/default"), help="a run's folder, distilled")
    options.add_argument("--contexts", type=int, default=CONTEXTS, help="how many (default: 500)")
    options.add_argument("--served", type=int, default=0, help="and so many of a server process of its own, for memory")
    asked = options.parse_args(arguments)
    half, place = read_half(asked.run)
    server = ServerHalf.from_bytes((place.parent / "server" / "network.npz").read_bytes())
    table = open_tokens(asked.run / "state" / "held-out")
    found = measured(half, server, list(contexts(table, QUICK_CONTEXTS if asked.quick else asked.contexts)))
    if asked.served > WARM:
        with tempfile.TemporaryDirectory() as folder:
            found |= of_a_server(asked.run, list(contexts(table, asked.served)), Path(folder) / "log")
    about = f"{machine('numpy', 'tenseal')}\n{found['questions']} contexts of held-out dialogues of {asked.run}"
    print_table("an encrypted question", about, rows_of(found), ("ours", "wanted", ""))
    if asked.json:
        write_json(asked.json, found)


def rows_of(found: dict[str, Any]) -> list[Row]:
    """The figures beside what was wanted of them."""
    grown = found["memory_kib_at_the_end"] - found["memory_kib_after_warming"]
    rows = []
    if "server_questions" in found:
        before, after = found["server_kib_after_warming"], found["server_kib_at_the_end"]
        what = f"KiB of the server, questions {WARM} and {found['server_questions']:,}"
        rows = [(what, f"{before:,}, {after:,}", "flat", f"{after - before:+,}")]
    return [
        ("processor seconds of an answer, median", f"{found['seconds']:.3f}", f"{PROTOTYPE / 2:.2f}", ""),
        ("the same, 95 of 100 below", f"{found['seconds_95']:.3f}", "", ""),
        ("the same five first, in order", f"{found['same_first_five']:.1%}", "99.0%", ""),
        ("largest difference of a score", f"{found['largest_difference_of_scores']:.1e}", "", ""),
        ("bytes of a question", f"{found['question_bytes']:,}", "", ""),
        ("bytes of an answer", f"{found['answer_bytes']:,}", "", ""),
        ("bytes of keys, once", f"{found['keys_bytes']:,}", "", ""),
        (f"memory from question {WARM} to the last", f"{grown:+,} KiB", "flat", ""),
        *rows,
    ]


if __name__ == "__main__":
    sys.exit(exit_code(main))
