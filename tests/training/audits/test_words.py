"""The probe's calibration on small runs: read as the chat reads, kept beside the model, and true to its promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatfed import Chat
from chatfed.audit.kinds import befores
from chatfed.audit.part import Part, Verdict
from chatfed.audit.words import Calibration, Pair
from chatfed.generation.scoring import bits_and_ranks
from chatfed.model.checkpoint import weights_file
from chatfed.model.decoding import Decoder
from tests.training.audits.remembering import CONTEXT, House
from training.audits import words as module
from training.audits.words import FILE, Models, log_probs, read, words

PAIR = Pair("ab" * 32, "cd" * 32)


@pytest.fixture(scope="module")
def leaky(lived_in: House) -> Any:
    """Learned some dialogues of the clients by heart."""
    return lived_in.taught(lived_in.private, np.arange(0, len(lived_in.private), 4), 200)


@pytest.fixture(scope="module")
def audited(lived_in: House, public: Any, leaky: Any) -> dict[str, tuple[Path, Part]]:
    """Runs that serve each model, of a house of which few more clients are drawn."""
    patched = pytest.MonkeyPatch()
    for name, value in (("NEW_CLIENTS", 80), ("OF_EACH", 2), ("OF_MEMBERS", 100)):
        patched.setattr(module, name, value)
    try:
        runs = {
            name: lived_in.run(name, model, public, epsilon=8.0)
            for name, model in (("still", public), ("leaky", leaky))
        }
        return {name: (run.folder.path, words(run, lambda said: None)) for name, run in runs.items()}
    finally:
        patched.undo()


def test_words_are_those_of_the_chat_with_its_scores(lived_in: House, public: Any, leaky: Any) -> None:
    chats = [Chat(model, lived_in.tokenizer) for model in (leaky, public)]
    lengths = np.diff(lived_in.held_out.starts)
    chosen = np.flatnonzero(lengths <= CONTEXT)[:4]
    said = read(lived_in.held_out, {"a": chosen[:2], "b": chosen[2:]}, Models(leaky, public, lived_in.tokenizer, PAIR))  # type: ignore[dict-item]
    at = 0
    for place, dialogue in enumerate(chosen):
        turns = lived_in.corpus.held_out[dialogue].messages
        for number, turn in enumerate(turns):
            scores = [chat.word_log_probs(turn.content, turn.role, turns[:number]) for chat in chats]
            mine = slice(at, at + len(scores[0]))
            assert said.words[mine] == [score.word for score in scores[0]]
            assert said.before[mine] == befores([score.word for score in scores[0]], turn.role)
            for bits, theirs in zip((said.served, said.reference), scores, strict=True):
                assert bits[mine] == pytest.approx([score.log_prob for score in theirs], abs=2e-3)
            assert set(said.clients[mine].tolist()) == {place // 2} and set(said.texts[mine].tolist()) == {place}
            assert len(set(said.messages[mine].tolist())) == 1
            at = mine.stop
    assert at == len(said.words)


def test_a_long_dialogue_is_read_in_windows_as_the_chat_reads_it(lived_in: House, public: Any) -> None:
    ids = np.asarray(lived_in.held_out.ids[: 3 * CONTEXT + 17], np.int64)
    rows = [ids, ids[:1], ids[: CONTEXT + 1]]
    for row, found in zip(rows, log_probs(public, rows), strict=True):
        wanted = bits_and_ranks(Decoder(public), row.astype(np.int32), CONTEXT)[0]
        assert found == pytest.approx(wanted, abs=1e-3)


def test_a_model_that_learned_by_heart_is_open_and_one_that_saw_nobody_holds(
    audited: dict[str, tuple[Path, Part]],
) -> None:
    (_, still), (_, leaky) = audited["still"], audited["leaky"]
    assert still.verdict == Verdict.HOLDS and leaky.verdict == Verdict.OPEN
    found = {
        name: next(each for each in leaky.figures[name] if each["allowed"] == 0.05)
        for name in ("never_trained", "trained")
    }
    assert found["never_trained"]["share"] <= 0.05 < 0.1 < found["trained"]["share"]
    assert json.loads(json.dumps(leaky.to_json())) == leaky.to_json()


def test_the_calibration_lies_beside_the_model_and_is_of_it(audited: dict[str, tuple[Path, Part]]) -> None:
    folder, part = audited["leaky"]
    weights = [weights_file(folder / name) for name in ("model", "reference")]
    calibration = Calibration.open(folder / FILE, *weights)
    assert calibration.clients == part.figures["clients_calibrated"] > 60
    assert calibration.level(0.05) == part.figures["level"] > 0


def test_without_enough_clients_who_never_trained_nothing_is_promised(lived_in: House, public: Any) -> None:
    run = lived_in.run("few", public, public, source="own.jsonl", epsilon=8.0)
    (run.folder.path / FILE).unlink(missing_ok=True)  # runs of this house share their state
    part = words(run, lambda said: None)
    assert part.verdict == Verdict.UNJUDGED and "30 are needed" in part.sentence
    assert not (run.folder.path / FILE).exists()


def test_with_few_more_the_probe_is_calibrated_and_its_promise_not_tried(
    lived_in: House, public: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEW_CLIENTS", 35)
    monkeypatch.setattr(module, "OF_EACH", 1)
    run = lived_in.run("some", public, public, epsilon=8.0)
    part = words(run, lambda said: None)
    assert part.verdict == Verdict.UNJUDGED and "60 are needed" in part.sentence
    assert (run.folder.path / FILE).exists()
