"""An audit to show: parts of every verdict, and what audit.json holds of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatfed.audit.annex import annex
from chatfed.audit.audit_page import powers
from chatfed.audit.part import Part, Table, Verdict
from chatfed.audit.plots import learning_plot

CLAIM: dict[str, Any] = {
    "epsilon": 7.991,
    "delta": 1e-5,
    "unit": "example",
    "adjacency": "add or remove one",
    "accountant": "PLD",
    "sampling": "Poisson",
    "noise": "distributed",
    "holds_against": "whoever sees the sums only",
    "rounds": 3,
    "assumptions": ["sound randomness"],
    "excludes": ["who took part"],
    "strength": "moderate",
    "sentence": "(7.992, 1e-05)-differential privacy for each single dialogue.",
    "model_sha256": "ab" * 32,
}
POWER = {"shortfall": 0.01, "sentence": "Noise that is 1 % too small would have been seen."}
PLOT = learning_plot([{"round": 1, "bits_per_byte": 2.0}, {"round": 2, "bits_per_byte": 1.5}])
LONG = {"figures_of_all_clients.without_the_words_that_stand_in_the_question_itself": {"share": 0.25}}
FAULTS = Table(
    "Planted faults, and the test that saw each",
    ["Fault", "Test", "p-value"],
    [
        ["noise smaller by 1 %", "deviation of the residual, over all coordinates of all rounds", 2.2e-27],
        ["clip skipped", f"a difference of neighbouring runs, {'ab' * 40}", None],
    ],
)
ATTACKS = Table(
    "Attack by recipe",
    ["Attack", "output layer", "all", "adapters", "bands", "client level"],
    [["the same crafted model for all", "open", *["bounded by noise"] * 4], ["inconsistent models", *["refused"] * 5]],
)
PARTS = (
    Part(
        "conformance",
        "Does the program do what the proof assumes?",
        Verdict.HOLDS,
        "Of 24 planted faults each was found.",
        {
            "killed": 24,
            "deep": {"inside": 0.25},
            "coordinates": list(range(30)),
            "faults": [{"p": 0.5}, {"p": 0.25}],
            "power": POWER,
        },
        [FAULTS],
        notes=["A residual is what is left of a sum when its known inputs are taken off."],
    ),
    Part(
        "membership",
        "Who was in the training data?",
        Verdict.UNJUDGED,
        "There are too few controls.",
        {"controls": 40, "attacks": {f"an_attack_with_a_long_name_{at}": {"auc": 0.5} for at in range(20)}, **LONG},
        plots=[PLOT, PLOT],
    ),
    Part(
        "updates",
        "What one client's update tells",
        Verdict.OPEN,
        "From a raw update 96 % of the words can be read.",
        {"rouge_2": 0.96},
        not_protected=["at client level nothing is claimed"],
    ),
    Part("server", "A server that does not keep to the protocol", Verdict.FAULT, "It reads words.", {}, [ATTACKS]),
)


def audit_of(parts: Sequence[Part], verdict: Verdict = Verdict.FAULT) -> dict[str, Any]:
    """What audit.json holds of such parts."""
    audit: dict[str, Any] = {
        "schema": 1,
        "date": "2026-11-29T09:00:00+00:00",
        "chatfed": "0.1.0",
        "machine": "2 cores",
        "run": "cd" * 16,
        "weights_sha256": "ab" * 32,
        "signer": {"public": "ef" * 32, "named": False},
        "verdict": str(verdict),
        "not_protected": [*(each for part in parts for each in part.not_protected), "who took part"],
        "claim": CLAIM,
        "size": {"parameters": 10, "private_tokens": 1000},
        "parts": {part.name: {**part.to_json(), "tries": "tries something", "seconds": 1.5} for part in parts},
        "not_run": {},
    }
    audit["power"] = [{"title": title, "sentence": words} for title, words in powers(audit)]
    return {**audit, "annex": annex(audit)}
