"""The network that is taught: it learns, both of its forms say the same, and its halves are what was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from chatfed.encrypted.network import MOST_TOKENS, AskerHalf, BadHalf, ServerHalf
from training.base.imagining import Imagined
from training.base.next_word import KEPT, WIDTHS, Lessons, NextWord, Teaching, _loss, taught_from, teach

VOCABULARY = 40


def counting(texts: int = 24, length: int = 40) -> Imagined:
    """Texts that count up by one: what follows is sure."""
    generator = np.random.default_rng(1)
    ids = ((generator.integers(0, VOCABULARY, (texts, 1)) + np.arange(length)) % VOCABULARY).astype(np.int32)
    near = ((ids[:, :, None] + np.arange(KEPT)) % VOCABULARY).astype(np.int32)
    shares = np.zeros(near.shape, np.float16)
    shares[:, :, 0] = 1
    return Imagined(ids, near, shares, np.ones(ids.shape, np.bool_))


@pytest.fixture(scope="module")
def taught() -> tuple[NextWord, list[Lessons]]:
    tokens, given = taught_from([counting()], VOCABULARY)
    how = Teaching(texts=24, passes=15, learning_rate=0.015)
    return teach(tokens, VOCABULARY, given, how, lambda doing, done, of: None), given


def test_it_learns_what_follows(taught: tuple[NextWord, list[Lessons]]) -> None:
    network, given = taught
    untaught = NextWord(network.tokens, VOCABULARY)
    with torch.no_grad():
        assert float(_loss(network, given[0], False)) < 0.5 < 2 < float(_loss(untaught, given[0], False))
        assert network(torch.tensor([[3, 4, 5, 6]])).logits[0, -1].argmax() == 7


def test_the_halves_say_what_the_trained_network_says(taught: tuple[NextWord, list[Lessons]]) -> None:
    network, _ = taught
    asker, server = network.halves()
    ids = list(np.random.default_rng(2).integers(0, VOCABULARY, len(WIDTHS) + 9))
    for length in (1, 3, len(WIDTHS), len(ids)):
        with torch.no_grad():
            wanted = network(torch.tensor([ids[:length]])).logits[0, -1].numpy()[network.tokens]
        found = server.scores(asker.features(ids[:length])[None])[0, : len(network.tokens)]
        assert np.abs(found - wanted).max() < 1e-3


def test_halves_come_back_from_their_files(taught: tuple[NextWord, list[Lessons]], tmp_path: Path) -> None:
    asker, server = taught[0].halves()
    again, kept = AskerHalf.from_bytes(asker.to_bytes()), ServerHalf.from_bytes(server.to_bytes())
    assert again.digest == asker.digest == kept.network
    assert (again.features([1, 2]) == asker.features([1, 2])).all() and (kept.second == server.second).all()
    with pytest.raises(BadHalf):
        ServerHalf.from_bytes(asker.to_bytes())


def test_of_a_larger_vocabulary_the_tokens_that_are_said_most_are_known() -> None:
    texts = counting()
    tokens, given = taught_from([texts], 5000)
    assert len(tokens) == MOST_TOKENS and set(range(VOCABULARY)) <= set(tokens.tolist())
    assert bool(given[0].taught.all()) and int(given[0].near.max()) < MOST_TOKENS


def test_what_the_network_does_not_know_is_nearly_impossible(taught: tuple[NextWord, list[Lessons]]) -> None:
    network = NextWord(np.arange(10, dtype=np.int32), VOCABULARY)
    with torch.no_grad():
        logits = network(torch.tensor([[1, 30, 2]])).logits[0, -1]
    assert bool((logits[10:] == -30).all()) and bool((logits[:10] > -30).all())


def test_one_s_own_sayings_are_learned_and_no_dialogue_is_read(tiny_base: Path, tmp_path: Path) -> None:
    """The command, on a folder that holds a model and nothing else."""
    import shutil

    from chatfed.cli import app
    from chatfed.command_line import run_typer

    run = tmp_path / "run"
    shutil.copytree(tiny_base, run / "model")
    given = ["he", "distil", str(run), "--texts", "12", "--passes", "1"]
    assert run_typer(app, "chatfed", given) == 0
    asker = AskerHalf.from_bytes((run / "encrypted" / "asker" / "network.npz").read_bytes())
    server = ServerHalf.from_bytes((run / "encrypted" / "server" / "network.npz").read_bytes())
    assert server.network == asker.digest and (run / "encrypted" / "asker" / "tokenizer.json").is_file()
    assert (run / "encrypted" / "server" / "network.npz").stat().st_mode & 0o77 == 0
    assert (run / "encrypted" / "figures.json").read_text().strip() == "{}"
    assert run_typer(app, "chatfed", ["he", "distil", str(tmp_path / "none")]) == 2
