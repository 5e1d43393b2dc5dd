"""A private vocabulary on one machine: clients of the generated help desk, and three parties as processes of their own.

Everything goes over TLS on the loopback interface, as it would between machines. Here one machine knows all dialogues,
so the words can be compared with a count in clear.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from chatfed.secagg.primitives import identity_public
from chatfed.types import ChatfedError

from ..durable import from_json
from ..workers import free_ports, start, stopped_after
from .agreement import Agreement, check_numbers, choose, words_in, write_agreement
from .carrier import give
from .links import make_party

PARTIES = ("union", "firm", "works")
COLLUDERS = 1
PATIENCE = 120.0  # seconds for the parties to be there


class RehearsalFailed(ChatfedError):
    """A rehearsal of a private vocabulary did not end with the words that a count in clear gives."""

    code = "vocabulary_rehearsal"
    mend = "read the file that the message names"


def rehearse(out: Path, clients: int, threshold: int, words: int) -> None:
    """All of it. Raises RehearsalFailed."""
    if out.exists():
        raise RehearsalFailed(f"{out} exists: name another folder, or remove it.", param="out")
    texts, public = help_desk(clients)
    candidates = tuple(word for word, _ in Counter(words_in(public)).most_common(words))
    keys = {name: os.urandom(32) for name in texts}
    agreed = make_agreement(out, keys, candidates, threshold)
    chosen = {name: choose(said, agreed) for name, said in texts.items()}
    print(f"{len(texts)} clients, {len(candidates)} public words, a word needs {threshold} clients.", flush=True)
    run(out, agreed, chosen, keys)
    found = from_json((out / PARTIES[0] / "words.json").read_bytes())
    clear = in_clear(agreed, list(chosen.values()))
    if found["words"] != clear:
        raise RehearsalFailed(f"The words are not those in clear: see {out}.")
    print(f"{len(clear)} words are agreed on, the same as in clear: {', '.join(clear[-8:])}, ...")
    print(found["claim"])


def help_desk(clients: int) -> tuple[dict[str, list[str]], str]:
    """Texts by client, and the public text."""
    from ..base.corpus import generated_help_desk

    folder, texts = generated_help_desk(Path("cache"), 1, clients), defaultdict[str, list[str]](list)
    for line in (folder / "private.jsonl").read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        texts[told["client_id"]] += [each["content"] for each in told["messages"]]
    public = [json.loads(line) for line in (folder / "public.jsonl").read_text(encoding="utf-8").splitlines()]
    return dict(texts), " ".join(each["content"] for told in public for each in told["messages"])


def make_agreement(out: Path, keys: Mapping[str, bytes], candidates: tuple[str, ...], threshold: int) -> Agreement:
    """Parties with certificates below `out`, and the file. Raises AgreementError, before there is anything."""
    most, least = min(256, len(candidates)), threshold + COLLUDERS + 1
    check_numbers(threshold, COLLUDERS, most, least, len(keys), len(candidates))  # before anything is on the disk
    ports = iter(free_ports(2 * len(PARTIES)))
    parties = tuple(make_party(name, "127.0.0.1", out / name, f"{next(ports)},{next(ports)}") for name in PARTIES)
    roster = tuple((name, identity_public(key).hex()) for name, key in keys.items())
    agreed = Agreement("rehearsal", candidates, roster, parties, threshold, COLLUDERS, most, least)
    write_agreement(out / "VOCABULARY.json", agreed)
    return agreed


def run(out: Path, agreed: Agreement, chosen: Mapping[str, Sequence[int]], keys: Mapping[str, bytes]) -> None:
    """Three processes, and every client's shares to each. Raises RehearsalFailed where one ends otherwise."""
    processes: list[subprocess.Popen[bytes]] = []
    with stopped_after(processes):
        processes += [party(out, name) for name in PARTIES]
        for name, words in chosen.items():
            give(agreed, words, keys[name], out / "clients" / name, PATIENCE, False, os.urandom)
        for name, process in zip(PARTIES, processes, strict=True):
            try:
                code: int | None = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                code = None
            if code != 0:
                raise RehearsalFailed(f"{name} ended with {code}: {out / name / 'said'} says why.", param=name)


def party(out: Path, name: str) -> subprocess.Popen[bytes]:
    """A party's process; what it says goes to `said` in its folder."""
    words = ["vocabulary", "party", str(out / "VOCABULARY.json"), "--home", str(out / name)]
    words += ["--out", str(out / name / "words.json"), "--collect", str(PATIENCE), "--patience", str(PATIENCE)]
    command = [sys.executable, "-m", "chatfed", *words]
    return start(command, out / name / "said", OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")


def in_clear(agreed: Agreement, chosen: Sequence[Sequence[int]]) -> list[str]:
    """The words that enough clients use, counted in clear."""
    counts = Counter(number for each in chosen for number in each)
    return [word for number, word in enumerate(agreed.candidates) if counts[number] >= agreed.threshold]
