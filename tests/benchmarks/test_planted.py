"""Secrets are planted as they are said to be, and what is counted of them is what was found."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import planted as module
from benchmarks.planted import (
    ANSWER,
    WHAT,
    Files,
    Looked,
    Secret,
    Secrets,
    drawn,
    elsewhere,
    learn,
    planted,
    table,
    told,
)
from chatfed.audit.kinds import befores
from chatfed.audit.words import Pair
from chatfed.data.dialogue import Dialogue
from chatfed.data.helpdesk import generate_for
from chatfed.model.tokenizer import train_tokenizer
from chatfed.model.transformer import Architecture, build_llama, untie_output
from chatfed.types import ClientId, Turn
from tests.audit.test_words import clients_said
from training.audits.cues import chances, planted_cues
from training.audits.extraction import DECODINGS
from training.audits.extraction import planted as shares
from training.base.tokens import write_tokens


@pytest.fixture(scope="module")
def secrets() -> list[Secret]:
    return drawn(Secrets(7), 3)


def talks(clients: int, each: int) -> list[Dialogue]:
    return [
        Dialogue((Turn("user", f"hello {at}"), Turn("assistant", "yes")), ClientId(f"client-{client}"))
        for client in range(clients)
        for at in range(each)
    ]


def test_no_secret_begins_a_word_as_another_does(secrets: list[Secret]) -> None:
    words = [word.casefold() for secret in secrets for word in re.findall(r"[A-Za-z]+|\d{8}", secret.value)]
    assert max(Counter(word[:4] for word in words).values()) == 1
    assert Counter((each.kind, each.repetitions) for each in secrets) == Counter(
        {(kind, repetitions): 3 for kind in WHAT for repetitions in (0, 1, 4, 16)}
    )


def test_a_message_ends_with_its_secret_and_its_cue_is_its_own(secrets: list[Secret]) -> None:
    for secret in secrets:
        assert secret.message[secret.span.start : secret.span.end] == secret.value
    cues = [secret.message[: secret.span.start] for secret in secrets]
    assert len(set(cues)) == len(cues)


def test_each_repetition_is_another_clients_and_no_dialogue_has_two(secrets: list[Secret]) -> None:
    before = talks(20, 30)
    after = planted(before, secrets)
    said = Counter(each.messages[0].content for each in after if len(each.messages) == 4)
    assert said == Counter({each.message: each.repetitions for each in secrets if each.repetitions})
    for secret in secrets:
        clients = [each.client_id for each in after if each.messages[0].content == secret.message]
        assert len(set(clients)) == len(clients)
    for old, new in zip(before, after, strict=True):
        assert new.client_id == old.client_id and new.messages[-2:] == old.messages
    with pytest.raises(ValueError, match="larger"):
        planted(talks(15, 30), secrets)


def test_others_say_as_many_of_their_own() -> None:
    made = elsewhere(talks(40, 30), Secrets(1), 0.1)
    messages = [each.messages[0].content for each in made if each.messages[1].content == ANSWER]
    assert 80 <= len(messages) <= 160 and len(set(messages)) == len(messages)


def test_files_are_read_as_they_were_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EACH", 1), ("REPETITIONS", (0, 1, 4)), ("NEW_CLIENTS", 2), ("OF_EACH", 2)):
        monkeypatch.setattr(module, name, value)
    files = Files(tmp_path / "data")
    files.write(generate_for(5, module.SEED))
    assert len(files.secrets) == 12 and len(files.begun()) == 20
    said = Counter(turns[0].content for turns in files.begun())
    assert said == Counter({each.message: each.repetitions for each in files.secrets if each.repetitions})
    assert all(Path(path).stat().st_size for path in files.options()[1::2])
    assert len((tmp_path / "data" / "held-out.jsonl").read_text().splitlines()) == 2 * (3 + 2)


def test_what_is_learned_by_heart_is_said_at_once(tmp_path: Path, secrets: list[Secret]) -> None:
    mine = [each for each in secrets if each.repetitions in (0, 16)][::3]
    learned = [each for each in mine if each.repetitions]
    tokenizer = train_tokenizer((each.message for each in secrets), 300)
    model = build_llama(Architecture(64, 1, 2, 128, 96), tokenizer, seed=1)
    untie_output(model)
    learn(model, write_tokens(tmp_path / "said", tokenizer, [each.turns for each in learned]), 100)
    texts = [(each.message, each.span, each.repetitions) for each in mine]
    logs = chances(model, tokenizer, planted_cues(texts), 96, DECODINGS)
    assert (np.exp(logs).max(0) >= module.LEARNED).tolist() == [each.repetitions > 0 for each in mine]
    found = shares(model, tokenizer, texts, 96)
    assert (found[16].hits, found[16].of) == (len(learned), len(learned)) and found[0].hits == 0


def test_what_is_near_is_flagged_and_a_phantom_is_not(secrets: list[Secret]) -> None:
    """Models that know all that is said 4 times or more, of which 16 times can be drawn out."""
    null = clients_said(120, seed=3)
    parts = [each.message.split() for each in secrets]
    words = [word for part in parts for word in part]
    whose = np.repeat(np.arange(len(secrets)), [len(part) for part in parts])
    reference = np.full(len(words), -20.0)
    repetitions = np.array([each.repetitions for each in secrets])
    known = np.repeat(repetitions >= 4, [len(part) for part in parts])
    own = replace(
        null,
        words=words,
        before=[text for part in parts for text in befores(part, "user")],
        clients=whose,
        texts=whose,
        messages=whose,
        served=reference * np.where(known, 0.01, 0.6),
        reference=reference,
    )
    logs = np.where(repetitions >= 16, -0.1, -50.0)[None]
    found = told(Looked(null, own, logs), secrets, Pair("ab" * 32, "cd" * 32))
    for name, least in (("flagged", 4), ("learned by heart", 16), ("of these flagged", 16), ("extracted", 16)):
        assert found.secrets[name].tolist() == (repetitions >= least).tolist(), name
    assert found.clients == 60 and found.never_trained.share <= 0.1
    lines = list(table(secrets, {"made up": found}))
    assert "| made up | 4 | all kinds | 12 | 12 | 0 | 0 | 0 |" in lines
    assert "| made up | 16 | name | 3 | 3 | 3 | 3 | 3 |" in lines and len(lines) == 2 + 20 + 1


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        module.main(["--help"])
    assert "python -m benchmarks.planted --out" in capsys.readouterr().out
