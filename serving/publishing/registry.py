"""An entry for the public registry of privacy deployments (github.com/opendp/deployments-registry-data).

Written for its schema as of 2026-07-15, commit 3e9c812a924cf01d228f26f6c462c59c391c3f2a; a test validates entries
against a copy of it. An entry is a draft: whoever publishes completes and sends it. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chatfed import __version__
from chatfed.audit.figures import plain

from ..theme import sentences, unit_noun
from . import sp800_226
from .facts import Facts

SCHEMA = "3e9c812a924cf01d228f26f6c462c59c391c3f2a"
HEAD = "# A draft for the schema of commit {schema}.\n# Complete what says TO COMPLETE before you send it.\n"
OPEN = "TO COMPLETE"
SIMULATED = (
    "A simulation: one machine played the server and all clients and held all dialogues. It shows what the program "
    "does, and is no deployment."
)


def entry(facts: Facts) -> str:
    """The entry as YAML."""
    content = {
        "url_slug": facts.slug,
        "status": "Draft",
        "tier": 3,
        "deployment": {
            "basic": _basic(facts),
            "dp_variant": _variant(facts),
            "privacy_loss": _loss(facts),
            "deployment_model": _deployment(facts),
            "accounting": _accounting(facts),
            "implementation": _implementation(facts),
            "administrative": _administrative(facts),
        },
    }
    return HEAD.format(schema=SCHEMA) + "".join(_lines(content))


def _basic(facts: Facts) -> dict[str, Any]:
    learned = "generated dialogues of a help desk" if facts.generated else f"dialogues of clients ({OPEN}: of what)"
    return {
        "name": facts.name,
        "data_curators": list(facts.asked.curators) or [OPEN],
        "intended_use": "Answers and next words in the manner of the dialogues that it learned from.",
        "data_product_type": "Machine learning model",
        "data_product_region": "None: the dialogues are generated" if facts.generated else OPEN,
        "description": f"A small chat model, trained by chatfed on {learned}.",
        "publication_date": facts.date,
    }


def _variant(facts: Facts) -> dict[str, Any]:
    claim = facts.claim or {}
    shown = ["Held-out figures in the model card: measured on held-out dialogues, without noise."]
    if facts.asked.without_evaluation or claim.get("measuring"):
        shown = []
    if facts.audit:
        shown.append("Figures of the audit: measured on the dialogues themselves, without noise.")
    if isinstance(claim.get("person_note"), str):
        shown.append(f"{claim['person_note']}.")
    return {
        "variant_name": "Approximate DP",
        "data_domain": "Sets of dialogues, each held by one client.",
        "unprotected_quantities": "\n".join([*shown, *(f"{each}." for each in sentences(claim.get("excludes")))]),
    }


def _loss(facts: Facts) -> dict[str, Any]:
    claim = facts.claim or {}
    return {
        "privacy_unit": f"One {unit_noun(str(claim.get('unit')))}",
        "privacy_unit_details": f"Neighbours: {claim.get('adjacency')}.",
        "privacy_parameters": {"epsilon": float(claim["epsilon"]), "delta": float(claim["delta"])},
        "privacy_parameters_details": sp800_226.sentence(facts),
    }


def _deployment(facts: Facts) -> dict[str, Any]:
    claim = facts.claim or {}
    actors = [
        "Clients: hold dialogues, clip and add noise; each is trusted with its own dialogues alone.",
        f"Server: adds masked updates up. The guarantee holds against {claim.get('holds_against')}.",
        "Whoever uses the model: not trusted.",
    ]
    return {
        "model_name": "Federated",
        "model_name_details": _where(facts),
        "actors": "".join(f"- {each}\n" for each in actors),
        "release_type": "One release",
        "release_type_details": f"What else was or will be made of the same dialogues: {OPEN}.",
        "data_source_type": "Static",
        "access_type": "Non-interactive",
    }


def _where(facts: Facts) -> str:
    if facts.federation:
        return "Members on machines of their own; updates met in masked sums alone."
    return SIMULATED if facts.federation is False else f"Whether it was a simulation the run does not say: {OPEN}."


def _accounting(facts: Facts) -> dict[str, Any]:
    claim = facts.claim or {}
    return {
        "post_processing": "Server optimisation, and everything that is done with the model afterwards.",
        "composition": (
            f"Accountant: {claim.get('accountant')}. Sampling: {claim.get('sampling')}. Rounds charged: "
            f"{plain(claim.get('rounds'))}; the epsilon is that of the client that took part most."
        ),
    }


def _implementation(facts: Facts) -> dict[str, Any]:
    claim = facts.claim or {}
    mechanisms = [
        f"{sp800_226.mechanism(claim)}, by chatfed {__version__}.",
        f"Noise: {claim.get('noise')}. {sp800_226.NO_SIDE}.",
        f"{sp800_226.NO_SECURITY}.",
    ]
    return {
        "preprocessing_and_hyperparameter_tuning": (
            f"Tokenizer and base saw public text only, or the assumptions say so. Whether settings were chosen by runs "
            f"on the same dialogues, which no epsilon counts: {OPEN}."
        ),
        "mechanisms": "".join(f"- {each}\n" for each in mechanisms),
        "justification": "".join(f"- Assumed: {each}.\n" for each in sentences(claim.get("assumptions"))),
    }


def _administrative(facts: Facts) -> dict[str, Any]:
    claim = facts.claim or {}
    return {
        "sources": facts.asked.repo or f"Where the model can be had: {OPEN}",
        "notes": f"SHA-256 of the weights: {claim.get('model_sha256')}",
        "registry_authors": list(facts.asked.curators) or [OPEN],
    }


def _lines(content: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """The entry's YAML: nested names, numbers, texts and lists of texts; every text in quotes or as a block."""
    blank = "  " * depth
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield f"{blank}{key}:\n"
            yield from _lines(value, depth + 1)
        elif isinstance(value, list):
            yield f"{blank}{key}:\n" + "".join(f"{blank}  - {_quoted(each)}\n" for each in value)
        elif isinstance(value, str) and "\n" in value.strip():
            block = "".join(f"{blank}  {line}\n" for line in value.strip().splitlines())
            yield f"{blank}{key}: |\n{block}"
        else:
            yield f"{blank}{key}: {_quoted(value) if isinstance(value, str) else _number(value)}\n"


def _quoted(text: str) -> str:
    return "'" + " ".join(text.split()).replace("'", "''") + "'"


def _number(value: float) -> str:
    """YAML 1.1 reads 1e-05 as text; 1.0e-05 as a number."""
    mantissa, mark, exponent = repr(value).partition("e")
    return f"{mantissa}{'' if '.' in mantissa or not mark else '.0'}{mark}{exponent}"
