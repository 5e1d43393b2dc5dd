"""The model card: metadata as hubs read it, the guarantee, what was measured and how, what is and is not here.

Hubs have no key for epsilon; none is made up, and none stands among the metrics. Knows no file but those of the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chatfed.audit.comparison import sentence as learned
from chatfed.audit.figures import as_sentence, finite
from chatfed.audit.tiers import said_of_several
from chatfed.model.checkpoint import holds_adapters

from ..theme import sentences, strength_of, unit_noun
from . import sp800_226
from .facts import Facts

TAGS = ("chatfed", "federated-learning")
MEASURES = (  # key of summary.json, how a hub calls the kind, its name, unit, digits
    ("perplexity", "perplexity", "Perplexity per word", 1.0, 2),
    ("top1", "accuracy", "Next word right (top 1)", 100.0, 1),
    ("top3", "accuracy", "Next word among the first three (top 3)", 100.0, 1),
    ("bits_per_byte", "bits_per_byte", "Bits per UTF-8 byte", 1.0, 3),
)
MEASURED_IN_CLEAR = (
    "**The guarantee does not cover these figures**: they were worked out on the held-out dialogues themselves, "
    "without noise. Held-out dialogues were not learned from."
)
MEASURED_BY_SUMS = (
    "Members measured on dialogues that they hold out, and the figures met in masked sums with noise of their own: "
    "epsilon {epsilon}, delta {delta} for a held-out dialogue, apart from the guarantee above."
)
NOT_BOUND = (
    "Configuration, tokenizer and chat template are not bound by that hash: another template makes the same weights "
    "answer otherwise. Their own hashes are in the table below and in `SHA256SUMS`."
)
USE = {
    "transformers": """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{place}")
model = AutoModelForCausalLM.from_pretrained("{place}")
asked = [{{"role": "user", "content": "Hello"}}]
ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**ids, max_new_tokens=60)[0]))
```""",
    "peft": """```python
from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("{place}")
```""",
}


def card(facts: Facts, gguf: str) -> str:
    """README.md of the published folder."""
    parts = [
        _metadata(facts),
        f"# {facts.name}\n",
        _first(facts),
        _made(facts),
        *_guarantee(facts),
        *_evaluation(facts),
        *_audited(facts),
        _use(facts, gguf),
        _limits(facts),
    ]
    return "\n".join(parts)


def library(facts: Facts) -> str:
    """What loads the model."""
    return "peft" if holds_adapters(facts.run.model) else "transformers"


def _metadata(facts: Facts) -> str:
    tags = [*TAGS, *_private_tags(facts.claim)]
    asked = facts.asked
    lines = [
        *([f"license: {asked.license}"] if asked.license else ["license: unknown"]),
        *(["language:", *(f"- {each}" for each in facts.languages)] if facts.languages else []),
        *([f"base_model: {facts.base_model}"] if facts.base_model else []),
        f"library_name: {library(facts)}",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {each}" for each in tags),
        *_model_index(facts),
    ]
    return "\n".join(["---", *lines, "---", ""])


def _private_tags(claim: Mapping[str, Any] | None) -> Iterator[str]:
    """DP-SGD has fresh noise in every step, and clips each example; noise that is correlated over rounds is DP-FTRL."""
    if claim is None:
        return
    yield "differential-privacy"
    if claim.get("coefficients"):
        yield "dp-ftrl"
    elif unit_noun(str(claim.get("unit"))) == "dialogue":
        yield "dp-sgd"


def _model_index(facts: Facts) -> Iterator[str]:
    """Figures of held-out dialogues in the form that hubs read."""
    scores = list(_scores(facts, "after"))
    if not scores:
        return
    data = "generated help-desk dialogues, held out" if facts.generated else "held-out dialogues of the clients"
    yield from ("model-index:", f"- name: {_quoted(facts.name)}", "  results:")
    yield from ("  - task:", "      type: text-generation", "    dataset:", f"      name: {_quoted(data)}")
    yield from ("      type: private", "    metrics:")
    for kind, name, value in scores:
        yield from (f"    - type: {kind}", f"      name: {_quoted(name)}", f"      value: {value}")


def _scores(facts: Facts, model: str) -> Iterator[tuple[str, str, float]]:
    """(kind, name, value) of each figure that there is. model: before or after."""
    summary = facts.run.summary or {}
    scores = summary.get(model)
    if facts.asked.without_evaluation or not isinstance(scores, Mapping):
        return
    for key, kind, name, unit, digits in MEASURES:
        value = finite(scores.get(key))
        if value is not None:
            yield kind, name, round(value * unit, digits)


def _first(facts: Facts) -> str:
    """The card's first sentence is about the guarantee, or that there is none."""
    if facts.claim is None:
        return (
            f"**This model has no privacy guarantee**: {facts.why_none}. It may repeat what its training dialogues "
            "said; treat it as a model trained without protection.\n"
        )
    return f"**{sp800_226.sentence(facts)}** Strength: {strength_of(facts.claim)}.\n"


def _made(facts: Facts) -> str:
    summary = facts.run.summary or {}
    where = {
        True: "Trained by a federation: members on machines of their own, whose updates met in masked sums alone.",
        False: "Trained in a simulation: one machine played the server and all clients, and held all their dialogues.",
        None: "Whether it was trained by a federation or in a simulation, the run does not say.",
    }[facts.federation]
    sizes = [
        f"{summary[key]:,} {name}"
        for key, name in (("parameters", "parameters"), ("clients", "clients"), ("rounds", "rounds"))
        if isinstance(summary.get(key), int)
    ]
    data = " Its dialogues are made up: the generated help desk of chatfed." if facts.generated else ""
    return " ".join([where + data, *([as_sentence(", ".join(sizes))] if sizes else [])]) + "\n"


def _guarantee(facts: Facts) -> Iterator[str]:
    claim = facts.claim
    if claim is None:
        return
    yield "## The guarantee\n"
    weights = f"the weights with the SHA-256 `{claim.get('model_sha256')}`"
    yield f"The guarantee at the top is of {weights}, and of no others. {NOT_BOUND}\n"
    rows = claim.get("person")
    several = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    if several:
        yield "One person with several dialogues is protected less:\n"
        yield "".join(f"- {row.get('who')} together: {said_of_several(row)}\n" for row in several)
        note = claim.get("person_note")
        yield f"{as_sentence(note)}\n" if isinstance(note, str) and note else ""
    yield "".join(f"**Warning:** {each}.\n\n" for each in sentences(claim.get("warnings")))
    yield f"By the points of NIST SP 800-226 (our reading, no legal advice):\n\n{sp800_226.table(facts)}"
    yield "`privacy.json` has every condition as a program reads it.\n"


def _evaluation(facts: Facts) -> Iterator[str]:
    after, before = list(_scores(facts, "after")), {name: value for _, name, value in _scores(facts, "before")}
    if not after:
        return
    summary = facts.run.summary or {}
    rows = "".join(f"| {name} | {before.get(name, '–')} | {value} |\n" for _, name, value in after)
    words, bytes_ = (finite((summary.get("after") or {}).get(key)) for key in ("words", "bytes"))
    on = f" On {words:,.0f} words ({bytes_:,.0f} bytes)." if words and bytes_ else ""
    yield "## Evaluation\n"
    yield f"{learned(summary)}{on}\n"
    yield f"| On held-out dialogues | Before (public model) | After private training |\n|---|---|---|\n{rows}"
    yield (
        "Perplexity and bits per byte: lower is better. A word's first guess is the model's own next word after all "
        "that stands before it in the dialogue; accuracies are in hundredths of all words.\n"
    )
    yield f"{_cover(facts)}\n"


def _cover(facts: Facts) -> str:
    measuring = (facts.run.privacy or {}).get("measuring")
    if isinstance(measuring, Mapping) and finite(measuring.get("epsilon")) is not None:
        return MEASURED_BY_SUMS.format(epsilon=measuring.get("epsilon"), delta=measuring.get("delta"))
    return MEASURED_IN_CLEAR if facts.claim else "They were worked out on the held-out dialogues themselves."


def _audited(facts: Facts) -> Iterator[str]:
    if facts.audit is None:
        return
    results: Mapping[str, Any] = facts.audit.results
    yield "## What attackers got\n"
    parts = results.get("parts")
    found = [part for part in parts.values() if isinstance(part, Mapping)] if isinstance(parts, Mapping) else []
    yield "".join(f"- {part.get('title')} ({part.get('verdict')}): {part.get('sentence')}\n" for part in found)
    signed = f"signed by the key `{facts.audit.signer}`" if facts.audit.signer else "which nobody signed"
    yield (
        f"From `audit.json`, {signed}. These figures were measured on the dialogues themselves, and **no epsilon "
        "covers them**. An attack that found nothing shows that it found nothing.\n"
    )


def _use(facts: Facts, gguf: str) -> str:
    place = facts.asked.repo or "."
    kind = library(facts)
    said = [f"## Use\n\n{USE[kind].format(place=place)}\n"]
    said.append("As a page with chat and leakage probe: `chatfed serve --model FOLDER`.\n")
    if gguf != "none" and kind == "transformers":
        file = f"{facts.slug}-{gguf.upper()}.gguf"
        same = "the same numbers" if gguf == "f32" else f"the same weights rounded to {gguf}"
        said.append(f"With llama.cpp: `{file}` holds {same}, tokenizer and template.\n")
    return "\n".join(said)


def _limits(facts: Facts) -> str:
    license_ = "" if facts.asked.license else "\n\nNobody chose a license: without one, nothing is allowed."
    return (
        "## Limits\n\nThe model is small and answers in the manner of its training dialogues. It can be wrong; do not "
        f"let it decide anything.{license_}\n\n## What is not here\n\nNo dialogue, no seed, key or ledger, no planted "
        "canary, and no model that was trained without privacy beside this one. `SHA256SUMS` has a line for each "
        "file.\n"
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False, allow_nan=False)
