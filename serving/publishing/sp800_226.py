"""The guarantee by the points of NIST SP 800-226, Guidelines for Evaluating Differential Privacy Guarantees (2025).

In our words: it is our reading, and no legal advice. Knows privacy.json by its keys; says nothing that is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chatfed.audit.audit_page import proven
from chatfed.audit.figures import above, finite, plain
from chatfed.audit.tiers import guess_in_words, said_of_several

from ..theme import format_small, sentences, strength_of, unit_noun
from .facts import Facts
from .model_files import digests

HEAD = """# The guarantee by the points of NIST SP 800-226

The points are those of *Guidelines for Evaluating Differential Privacy Guarantees* (NIST SP 800-226, March 2025), in
our words. It is our reading and no legal advice; the text says of no epsilon that it is low enough.

"""
NO_SIDE = (
    "Not covered: how long a client takes, and whether it fails, may depend on its data. Noise is drawn in whole "
    "steps, as unpredictably as the operating system's generator, so that no low bits of floats show"
)
NO_SECURITY = "Not covered: how the machines that hold dialogues and keys are kept. No dialogue leaves the client"
NOT_BOUND = "configuration, tokenizer and chat template; their SHA-256 as published"
ONE_MACHINE = "; in this simulation one machine held all dialogues, so that nothing is claimed against that machine"


def page(facts: Facts) -> str:
    """The file: a table, or that there is nothing to evaluate."""
    if facts.claim is None:
        return f"{HEAD}There is no guarantee to evaluate: {facts.why_none}.\n"
    return HEAD + table(facts)


def sentence(facts: Facts) -> str:
    """What holds, for a person who has never heard of epsilon, then for one who has."""
    if facts.claim is None:
        return f"No privacy guarantee: {facts.why_none}."
    return f"{proven(facts.claim)} {in_figures(facts.claim)}."


def in_figures(claim: Mapping[str, Any]) -> str:
    """Epsilon, delta, unit and adjacency together: none of them says anything alone."""
    return (
        f"In figures: ({above(float(claim['epsilon']))}, {format_small(claim.get('delta'))})-differential privacy for "
        f"one {unit_noun(str(claim.get('unit')))} ({claim.get('adjacency')}), against {claim.get('holds_against')}"
    )


def table(facts: Facts) -> str:
    """The points with what holds here, as Markdown."""
    assert facts.claim is not None, "without a claim there is no table"
    rows = [*_rows(facts.claim), *_around(facts)]
    lines = "".join(f"| {point} | {_cell(says)} |\n" for point, says in rows if says)
    return f"| Point | What holds here |\n|---|---|\n{lines}"


def _rows(claim: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    unit = unit_noun(str(claim.get("unit")))
    epsilon, delta = float(claim["epsilon"]), finite(claim.get("delta")) or 0.0
    yield "Unit of privacy", f"one {unit}"
    yield "Adjacency", str(claim.get("adjacency"))
    yield "Epsilon and delta", f"ε = {above(epsilon)}, δ = {format_small(delta)}"
    yield "What they mean", f"{strength_of(claim)}: an even guess is right in at most {guess_in_words(epsilon, delta)}"
    yield "One person with several", "; ".join(_several(claim))
    yield "Trust model", f"noise: {claim.get('noise')}; holds against {claim.get('holds_against')}"
    yield "Mechanism", mechanism(claim)
    yield "Sampling", str(claim.get("sampling"))
    yield "Composition", f"accountant: {claim.get('accountant')}; rounds charged: {plain(claim.get('rounds'))}"
    yield "Assumptions", "; ".join(sentences(claim.get("assumptions")))


def _several(claim: Mapping[str, Any]) -> Iterator[str]:
    rows = claim.get("person")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping):
            yield f"{row.get('who')} together: {said_of_several(row)}"


def mechanism(claim: Mapping[str, Any]) -> str:
    """What was clipped and how much noise was added."""
    named = {
        "noise multiplier": claim.get("noise_multiplier"),
        "clip norm": claim.get("clip_norm"),
        "sampling rate": claim.get("sampling_rate"),
        "steps a round": claim.get("local_steps"),
        "honest shares of noise": claim.get("honest_shares"),
    }
    said = ", ".join(f"{name} {plain(value)}" for name, value in named.items() if value is not None)
    kind = (
        "Discrete Gaussian noise, correlated over rounds," if claim.get("coefficients") else "Discrete Gaussian noise"
    )
    return f"{kind} on sums of clipped vectors ({said})"


def _around(facts: Facts) -> Iterator[tuple[str, str]]:
    claim = facts.claim or {}
    masks = claim.get("secure_aggregation")
    against = masks.get("holds_against") if isinstance(masks, Mapping) else None
    yield "Secure aggregation", f"holds against {against}" if against else ""
    yield "Side channels", NO_SIDE
    yield "Security and access", NO_SECURITY + ("" if facts.federation else ONE_MACHINE)
    yield "Not covered", "; ".join(sentences(claim.get("excludes")))
    yield "Warnings", "; ".join(sentences(claim.get("warnings")))
    yield "SHA-256 of the weights", f"`{claim.get('model_sha256')}`"
    yield "Not bound by that hash", f"{NOT_BOUND}: {digests(facts.files)}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
