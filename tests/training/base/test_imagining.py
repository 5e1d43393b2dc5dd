"""Texts are drawn from the mixture token by token, follow from a seed, and say what else might have stood there."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from chatfed.model.ngrams import DOUBT, NGrams
from chatfed.model.tokenizer import MARKER, WORD_START, encode_dialogue, train_tokenizer
from chatfed.model.transformer import load_model
from chatfed.types import Turn
from tests.model.architectures import tiny
from tests.model.tokenizers_of_others import KINDS, TEMPLATES, TEXTS, trained
from tests.training.bases import bare
from training.base.imagining import (
    NEAR,
    USUAL,
    Imagined,
    Script,
    _drawn,
    _likeliest,
    _Talk,
    imagined,
    markers,
    script_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

NOTHING = NGrams(tuple(np.empty((0, n), np.int32) for n in (1, 2, 3)), tuple(np.empty(0, np.float32) for _ in range(3)))
CONTEXT = 24


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> PreTrainedModel:
    torch.set_num_threads(1)
    return load_model(tiny_base)[0]


def chain(*tokens: int) -> NGrams:
    """Each token follows the one before it, whenever that is said."""
    pairs = np.stack([tokens[:-1], tokens[1:]], 1).astype(np.int32)
    alone = np.array(tokens[:-1], np.int32)[:, None]
    return NGrams((alone, pairs), tuple(np.full(len(each), 9, np.float32) for each in (alone, pairs)))


def alike(one: Imagined, other: Imagined) -> bool:
    return all(getattr(one, n).tobytes() == getattr(other, n).tobytes() for n in ("ids", "near", "shares", "said"))


def test_texts_follow_from_the_seed_and_from_the_counts(model: PreTrainedModel) -> None:
    found = imagined(model, NOTHING, Script((1, 4)), 3, CONTEXT, seed=5)
    assert alike(found, imagined(model, NOTHING, Script((1, 4)), 3, CONTEXT, seed=5))
    others = [
        imagined(model, NOTHING, Script((1, 4)), 3, CONTEXT, seed=6),
        imagined(model, chain(4, 9, 4), Script((1, 4)), 3, CONTEXT, 5),
    ]
    assert not any(alike(found, other) for other in others)


@pytest.mark.parametrize("ngrams", [NOTHING, chain(4, 70, 71, 72, 4)], ids=["nothing", "counted"])
def test_each_place_has_the_likeliest_tokens_of_the_mixture_after_what_was_said(
    model: PreTrainedModel, ngrams: NGrams
) -> None:
    """Where nothing was counted, of the model itself. The twin asks for the whole text and makes one place."""
    found = imagined(model, ngrams, Script((1, 4)), 4, CONTEXT, seed=1)
    assert found.near.shape == found.shares.shape == (4, found.ids.shape[1], NEAR)
    with torch.no_grad():
        own = model(input_ids=torch.from_numpy(found.ids.astype(np.int64))).logits.softmax(-1).numpy()
    for row, ids in enumerate(found.ids):
        for at in range(2, len(ids)):
            wanted = ngrams.mixed(own[[row], at - 1].copy(), ids[None, :at].astype(np.int64))[0]
            most = np.sort(wanted)[-NEAR:]
            assert wanted[found.near[row, at]] == pytest.approx(found.shares[row, at], abs=1e-3)
            assert np.sort(wanted[found.near[row, at]]) == pytest.approx(most, abs=1e-5)
            assert len(set(found.near[row, at].tolist())) == NEAR
            assert found.shares[row, at].astype(np.float64).sum() == pytest.approx(most.sum(), abs=5e-3) != 1


def test_texts_begin_as_told_and_the_first_places_have_one_token_alone(model: PreTrainedModel) -> None:
    found = imagined(model, NOTHING, Script((1, 4, 7)), 2, CONTEXT, seed=2)
    assert found.ids[:, :3].tolist() == [[1, 4, 7]] * 2
    assert found.near[:, :3, 0].tolist() == [[1, 4, 7]] * 2
    assert found.shares[:, :3].sum(2).tolist() == [[1, 1, 1]] * 2 and (found.shares[:, :3, 0] == 1).all()


def test_lengths_are_between_a_quarter_of_the_context_and_all_of_it(model: PreTrainedModel) -> None:
    lengths = {imagined(model, NOTHING, Script((1,)), 1, 8, seed).ids.shape[1] for seed in range(24)}
    assert min(lengths) == 2 and max(lengths) == 8 and len(lengths) >= 6
    assert imagined(model, NOTHING, Script((1, 2, 3, 4, 5)), 1, 4, 0).ids.shape == (1, 6), (
        "one token at least is imagined"
    )


def test_what_is_counted_is_said_as_often_as_it_is_trusted(model: PreTrainedModel) -> None:
    begin = Script((1, 4))
    said = [imagined(model, chain(4, 70, 71), begin, 64, CONTEXT, seed).ids[:, 2:4].tolist() for seed in (1, 2, 3)]
    first = [pair for texts in said for pair in texts if pair[0] == 70]
    said_of = len(first) / 192, np.mean([pair[1] == 71 for pair in first])
    assert all(1 - DOUBT - 0.12 < share < 1 - DOUBT + 0.2 for share in said_of)


def test_user_and_assistant_take_turns_and_no_model_learns_what_the_template_writes(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    """A model knows no role markers: it learns none, and would go on after a message with rubbish."""
    end, user, assistant = (int(tiny_tokenizer.vocab[f"<|{name}|>"]) for name in ("end", "user", "assistant"))
    pairs = np.array([[user, end], [assistant, end]], np.int32)
    short = NGrams((pairs[:, :1], pairs), (np.full(2, 9, np.float32), np.full(2, 9, np.float32)))
    model = tiny("llama", vocab_size=len(tiny_tokenizer)).eval()
    found = imagined(model, short, script_of(tiny_tokenizer), 128, 24, seed=0)
    turns = 0
    for ids, said in zip(found.ids.tolist(), found.said.tolist(), strict=True):
        markers_at = [at for at, token in enumerate(ids) if not said[at]]
        opens = [assistant, user] * len(ids)
        behind = [at + 1 for at, token in enumerate(ids[:-1]) if token == end and said[at]]
        assert markers_at[2:] == behind and [ids[at] for at in behind] == opens[: len(behind)]
        turns += len(behind)
    given = ~found.said
    assert turns > 32, "or this looked at nothing"
    assert (found.near[given] == found.ids[given][:, None]).all() and (found.shares[given][:, 0] == 1).all()
    assert not found.shares[given][:, 1:].any()


def test_a_model_of_fewer_tokens_than_places_for_them_has_all_of_them() -> None:
    small = tiny("llama", vocab_size=40).eval()
    found = imagined(small, NOTHING, Script((1,)), 3, CONTEXT, seed=0)
    assert found.near.shape[2] == NEAR and (found.ids < 40).all()
    for near, shares in zip(found.near[:, 1:].reshape(-1, NEAR), found.shares[:, 1:].reshape(-1, NEAR), strict=True):
        assert sorted(near[:40].tolist()) == list(range(40)) and not near[40:].any() and not shares[40:].any()
    assert found.shares.astype(np.float64).sum(2) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("kind", ["rwkv", "bamba"])
def test_models_with_other_memories_imagine_as_well(kind: str) -> None:
    model = tiny(kind).eval()
    found = imagined(model, NOTHING, Script((1, 4)), 2, 12, seed=3)
    with torch.no_grad():
        own = model(input_ids=torch.from_numpy(found.ids[:, :-1].astype(np.int64))).logits[:, -1].softmax(-1).numpy()
    assert (own.argmax(1) == found.near[np.arange(2), -1, found.shares[:, -1].argmax(1)]).all()


def test_tokens_are_drawn_as_often_as_they_are_probable_and_never_one_that_is_not() -> None:
    rows = np.array([[0, 0.2, 0, 0.5, 0.3, 0]] * 20_000, np.float32)
    drawn = np.bincount(_drawn(rows, np.random.default_rng(0)), minlength=6) / len(rows)
    assert drawn == pytest.approx(rows[0], abs=0.015) and not drawn[[0, 2, 5]].any()
    half = _drawn(rows[:500] / np.float32(2), np.random.default_rng(0)), _drawn(rows[:500], np.random.default_rng(0))
    assert half[0].tolist() == half[1].tolist(), "of rows that do not sum to one too"


@pytest.mark.parametrize("tokens", [NEAR - 1, NEAR, NEAR + 1, 3 * NEAR])
def test_the_likeliest_of_a_row_are_those_of_a_sort_with_their_probabilities(tokens: int) -> None:
    rows = np.random.default_rng(tokens).dirichlet(np.ones(tokens), 5).astype(np.float32)
    near, shares = _likeliest(rows)
    for row, places, given in zip(rows, near, shares, strict=True):
        most = np.argsort(-row)[:NEAR]
        kept = min(tokens, NEAR)
        assert sorted(places[:kept].tolist()) == sorted(most.tolist()) and not given[kept:].any()
        assert given[:kept].tolist() == row[places[:kept]].tolist()


def test_a_script_is_what_a_template_writes_around_messages(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ours = script_of(tiny_tokenizer)
    assert tiny_tokenizer.decode(list(ours.begin)) == "<|begin|><|user|>"
    assert [tiny_tokenizer.decode(list(each)) for each in ours.closing] == ["<|end|>"] * 2
    assert [tiny_tokenizer.decode(list(each)) for each in ours.between] == ["<|assistant|>", "<|user|>"]
    encoded = encode_dialogue(tiny_tokenizer, [Turn("user", "hello"), Turn("assistant", "yes")])
    assert encoded.ids[:2].tolist() == list(ours.begin) and encoded.kinds[2] != MARKER
    names = tiny_tokenizer.convert_ids_to_tokens(markers(tiny_tokenizer).tolist())
    assert sorted(names) == ["<|assistant|>", "<|begin|>", "<|user|>"], "and none that ends what is said"


LIKE_ITS_OPENING = "{% for m in messages %}{{ '### ' + m.role + ':\\n\\n' + m.content + '\\n\\n' }}{% endfor %}"
THINKS_EACH_TIME = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", [*TEMPLATES.values(), LIKE_ITS_OPENING, THINKS_EACH_TIME])
def test_a_talk_that_follows_a_script_is_spelt_as_its_template_spells_it(template: str, kind: str) -> None:
    """Whatever ends a message: words, their closings and what the template adds make the tokens of the dialogue."""
    other = trained(kind, template)
    found = script_of(other)
    encoded = encode_dialogue(other, [Turn(role, "printer printer") for role in ("user", "assistant", "user")])
    words = [encoded.ids[(encoded.turns == at) & (encoded.kinds >= WORD_START)].tolist() for at in range(3)]
    talk, made = _Talk(found, Always()), list(found.begin)
    for at, said in enumerate(words):
        drawn = [*said, *found.closing[at % 2]]
        while drawn and (at < 2 or len(drawn) > len(found.closing[0])):
            talk.random.over = len(drawn) == 1  # type: ignore[attr-defined]
            token, own = talk.go_on(drawn[0])
            made.append(token)
            drawn = drawn[1:] if own else drawn
    assert made == encoded.ids[: len(made)].tolist() and all(words)


class Always(np.random.Generator):
    """Ends messages that nothing closes where it is told to."""

    over = False

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def random(self, *_: object, **__: object) -> float:  # type: ignore[override]
        return 0.0 if self.over else 1.0


def test_a_template_of_one_exchange_alone_has_a_script_too(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    alone = copy.deepcopy(tiny_tokenizer)
    alone.chat_template = "{% if messages | length > 2 %}{{ raise_exception('one exchange') }}{% endif %}" + str(
        tiny_tokenizer.chat_template
    )
    ours = script_of(tiny_tokenizer)
    assert script_of(alone) == Script(ours.begin, ours.closing, (ours.between[0], ours.begin))
    assert markers(alone).tolist() == markers(tiny_tokenizer).tolist()


def test_messages_that_nothing_closes_are_of_a_usual_length(model: PreTrainedModel) -> None:
    never = Script((1, 4), ((), ()), ((5,), (4,)))
    found = imagined(model, NOTHING, never, 64, 128, seed=3)
    given = (~found.said[:, 2:]).sum() / found.said[:, 2:].size
    assert 0.5 / USUAL < given < 2 / USUAL


def test_where_answers_alone_are_learned_counts_speak_in_answers_alone(model: PreTrainedModel) -> None:
    talk = Script((1, 4), ((70,), (71,)), ((5,), (4,)))
    always = chain(4, 70, 70), chain(5, 71, 71)
    both = NGrams(
        tuple(np.concatenate(parts) for parts in zip(*(each.tokens for each in always), strict=True)),
        tuple(np.concatenate(parts) for parts in zip(*(each.counts for each in always), strict=True)),
    )
    found = imagined(model, both, talk, 64, 96, seed=1, train_on="assistant")
    speaker = np.zeros(64, int)
    for at in range(2, found.ids.shape[1]):
        given = found.ids[:, at - 1] == np.array([70, 71])[speaker]
        assert not found.said[(speaker == 0) | given, at].any()
        speaker = np.where(found.ids[:, at - 1] == np.array([70, 71])[speaker], 1 - speaker, speaker)
    assert found.said.any()


def test_other_tokenizers_have_something_to_begin_with() -> None:
    plain = bare(train_tokenizer(TEXTS, 290))
    assert plain.decode(list(script_of(plain).begin)) == "User:"
    unmarked = train_tokenizer(TEXTS, 290)
    unmarked.chat_template = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    assert unmarked.decode(list(script_of(unmarked).begin)) == "<|end|>", (
        "what stands between messages, where nothing opens the first"
    )
    assert not len(markers(unmarked))
