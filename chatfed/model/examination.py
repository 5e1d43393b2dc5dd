"""Whether a base can be learned from and chatted with: it is examined once, by trying, before anything is spent on it.

Each check says in one sentence what is wrong and the mend, or what a person should know. Knows models and tokenizers;
knows no data and no run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chatfed.model.decoding import Decoder, close
from chatfed.model.parameters import refuse_non_finite
from chatfed.model.refusals import ModelError
from chatfed.model.template import PLAIN_TEMPLATE, TemplateError, template_of
from chatfed.model.tokenizer import encode_dialogue, encode_prompt, end_ids, turn_end
from chatfed.model.transformer import context_of, load_model
from chatfed.types import ChatfedError, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

LONG, SHORT = 80, 24  # tokens: longer than the chunks in which some models attend; and how many are drawn one by one
_TALKS = (
    (Turn("user", "hello there"), Turn("assistant", "Hi! We have 5 left.")),
    (Turn("user", "  is it on? "), Turn("assistant", "one\ntwo"), Turn("user", "\nso"), Turn("assistant", "a")),
    (Turn("user", "why?"), Turn("assistant", "<think>\nso\n</think>\n\nBecause.\n")),
    (Turn("system", "be kind"), Turn("user", "漢字 🎉"), Turn("assistant", "Try again, please.")),
)


@dataclass(frozen=True)
class Check:
    """What one look at a base found."""

    name: str
    fault: str = ""  # one sentence with the mend; empty where it is right
    note: str = ""  # what a person should know though nothing is wrong


def check_base(name: str | Path) -> list[Check]:
    """All checks of the base in a folder, or on the hub when `name` is no folder.

    A base that cannot be loaded has the one check that says why.
    """
    try:
        model, tokenizer = load_model(name)
    except ChatfedError as error:
        return [Check("loaded", str(error))]
    kind = str(model.config.model_type)
    return [
        Check("loaded", note=f"{kind}, {_numbers(model):,} parameters, in float32"),
        *examine(model, tokenizer, name),
    ]


def refuse_unfit(name: str | Path, adapters: bool) -> list[str]:
    """What a person should know who starts a run from the base, with `adapters` in every linear layer or without.

    Raises ModelError with the first fault that is found.
    """
    told = {"cache and positions", "token ids", *(["places for adapters"] if adapters else [])}
    notes = []
    for check in check_base(name):
        if check.fault:
            raise ModelError(check.fault)
        if check.note and check.name in told:
            notes.append(f"{check.name}: {check.note}")
    return notes


def examine(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str | Path = "") -> list[Check]:
    """The checks of a loaded base, in order; later ones are left out where an earlier one makes them meaningless."""
    model.train(False)
    looks: Sequence[tuple[str, Callable[[], str | None]]] = (
        ("finite weights", lambda: refuse_non_finite(model, name)),
        ("reads forwards alone", lambda: forwards_alone(Decoder(model))),
        ("cache and positions", lambda: _cache(model)),
        ("length", lambda: _length(model)),
        ("token ids", lambda: _ids(tokenizer)),
        ("end of a turn", lambda: _end(tokenizer)),
        ("places for adapters", lambda: _adapters(model)),
    )
    checks = []
    for title, look in looks:
        try:
            checks.append(Check(title, note=look() or ""))
        except ChatfedError as error:
            checks.append(Check(title, str(error)))
            if len(checks) < 3:
                break
    return checks


def forwards_alone(decoder: Decoder) -> None:
    """Raises ModelError when a later token changes what the model expects before it, or nothing is the same twice."""
    ids, kind = _some_ids(decoder.model, LONG), decoder.model.config.model_type
    once, again = (decoder.whole(torch.tensor([ids]), last=False)[0] for _ in range(2))
    if not close(again, once):
        raise ModelError(f"The base ({kind}) expects something else each time it reads one text; give another base.")
    other = decoder.whole(torch.tensor([[*ids[:-3], *ids[:3]]]), last=False)[0]
    if not close(other[:-3], once[:-3]):
        raise ModelError(
            f"The base ({kind}) reads in both directions: a later word changes what it expects before. Give a causal "
            "model, or, if this one was trained as one, set is_decoder to true in its config.json."
        )


def without_adapters(model: PreTrainedModel) -> list[str]:
    """Weight matrices that "all-linear" adapters do not reach: names with * for a layer's number.

    Embeddings and output layer are no matter.
    """
    from chatfed.model.adapters import ALL_LINEAR, Adapters, attach
    from chatfed.model.transformer import empty_twin

    twin: Any = empty_twin(model)
    with torch.device("meta"):
        attach(twin, Adapters(1, 1.0, (ALL_LINEAR,)))
    weights, head = dict(twin.named_parameters()), getattr(twin.get_output_embeddings(), "weight", None)
    reached = {name.split(".lora_")[0] for name in weights if ".lora_" in name}
    kinds = {name: type(layer).__name__ for name, layer in twin.named_modules()}
    left = [
        re.sub(r"\.\d+\.", ".*.", name)
        for name, weight in weights.items()
        if weight.dim() >= 2
        and min(weight.shape[-2:]) > 1
        and "lora_" not in name
        and not name.endswith(("A_log", "_bias"))
        if "Embedding" not in (kind := kinds[name.rpartition(".")[0]]) and "Conv1d" not in kind and weight is not head
        if not any(name.startswith(f"{place}.") for place in reached)
    ]
    return list(dict.fromkeys(left))


def _cache(model: PreTrainedModel) -> str:
    """Compares tokens read one by one, as a reply is drawn, with the whole text read at once."""
    decoder, ids = Decoder(model), _some_ids(model, SHORT)
    wanted, text = decoder.whole(torch.tensor([ids]), last=False)[0], decoder.text()
    for place, token in enumerate(ids):
        if not close(text.add([token]), wanted[place]):
            raise ModelError(
                f"The base ({model.config.model_type}) expects something else when it reads a text token by token "
                f"(from token {place + 1} on) than when it reads it whole: its replies would be garbage; give another."
            )
    return "decoded without a cache: each token of a reply costs the whole text" if decoder.way == "none" else ""


def _length(model: PreTrainedModel) -> str:
    context = context_of(model)
    return f"{context:,} tokens" if context else "no limit said; the chat uses 1,024 tokens"


def _ids(tokenizer: PreTrainedTokenizerFast) -> str:
    refused: list[str] = []
    taken = 0
    for talk in _TALKS:
        for turns, generate in ((talk, False), (talk[:-1], True)):
            try:
                ours = encode_prompt(tokenizer, turns) if generate else encode_dialogue(tokenizer, turns).ids.tolist()
            except TemplateError as error:
                refused.append(str(error))
                continue
            taken += 1
            if ours != _own_ids(tokenizer, turns, generate):
                raise ModelError(
                    "Dialogues get other token ids than by the base's own chat template; give another base."
                )
    if not taken:
        raise ModelError(refused[0])
    said = [] if tokenizer.chat_template else ["no chat template: plain text with User: and Assistant: is used"]
    return "; ".join([*said, *(f"some dialogues are refused: {reason}" for reason in refused[:1])])


def _own_ids(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Turn], generate: bool) -> list[int]:
    template: Any = template_of(tokenizer)
    plain = template == PLAIN_TEMPLATE
    messages = [
        {"role": turn.role, "content": " ".join(turn.content.splitlines()) if plain else turn.content} for turn in turns
    ]
    text: Any = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=generate
    )
    ids = list(tokenizer(text, add_special_tokens=plain)["input_ids"])
    return ids[:-1] if plain and ids and ids[-1] in (tokenizer.eos_token_id, tokenizer.sep_token_id) else ids


def _end(tokenizer: PreTrainedTokenizerFast) -> str:
    end = turn_end(tokenizer)
    if not end.text and tokenizer.eos_token_id is None:
        raise ModelError(
            "Nothing ends an answer: the base's chat template writes nothing behind it and its tokenizer has no "
            "eos_token; set one."
        )
    if end.marker is None and end.text:
        spelt = str(tokenizer.decode(end_ids(tokenizer)))
        if not spelt.rstrip(" ").endswith(end.text.rstrip(" ")):
            raise ModelError(f"The base's tokenizer cannot spell {end.text!r}, with which its template ends an answer.")
        return f"an answer ends with the text {end.text!r}, and is cut where it holds that"
    return f"an answer ends with {end.text!r}" if end.text else f"an answer ends with {tokenizer.eos_token!r}"


def _adapters(model: PreTrainedModel) -> str:
    try:
        left = without_adapters(model)
    except ChatfedError as error:
        return f"none by all-linear: {error}"
    if not left:
        return ""
    return f'model.lora_targets = ["all-linear"] gives none to {", ".join(left[:4])}{" ..." if len(left) > 4 else ""}'


def _some_ids(model: PreTrainedModel, most: int) -> list[int]:
    """Tokens spread over the vocabulary, as many as the model takes."""
    vocabulary = int(model.config.vocab_size)
    length = min(most, max(8, (context_of(model) or most) - 1))
    drawn = torch.randint(0, vocabulary, (length,), generator=torch.Generator().manual_seed(1))
    return [int(token) for token in drawn]


def _numbers(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def lines(name: str | Path, checks: Sequence[Check]) -> Iterator[str]:
    """The checks as a table of text."""
    width = max(len(check.name) for check in checks)
    yield f"{name}"
    for check in checks:
        yield f"  {'NO' if check.fault else 'ok':2}  {check.name:{width}}  {check.fault or check.note}".rstrip()
