"""A finished run that may be published: a tiny model, its claim, and what must stay at home."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from chatfed.secagg.primitives import identity_public, sign
from chatfed.signed_audit import LABEL

SECRETS = {
    "state/run.json": '{"apart": false}',
    "state/canaries.seed": "SECRET-seed",
    "state/clients/0.db": "SECRET-ledger",
    "canaries/seed": "SECRET-canary",
    "ceiling/model/model.safetensors": "SECRET-ceiling",
    "without-noise/model/config.json": "SECRET-bare",
    "reference/config.json": "SECRET-reference",
    "quiz.json": "SECRET-quiz",
    "report.html": "SECRET-report",
    "metrics.jsonl": '{"round": 1, "epsilon_max": 7.5, "said": "SECRET-metrics"}\n',
    "notes-of-mine.txt": "SECRET-notes",
    "model/notes.txt": "SECRET-beside-the-weights",
}
KEY = bytes(range(32))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def claim_of(run: Path, **changed: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "epsilon": 7.5001,
        "delta": 1e-5,
        "unit": "dialogue",
        "adjacency": "add or remove one",
        "accountant": "PLD",
        "sampling": "Poisson at rate 0.5",
        "noise": "distributed",
        "holds_against": "whoever sees the sums only: users | others",
        "rounds": 3,
        "assumptions": ["keys are kept"],
        "excludes": ["the held-out dialogues and the perplexities measured on them"],
        "strength": "moderate",
        "person": [
            {"who": "5 dialogues", "dialogues": 5, "epsilon": 18.2, "strength": "weak", "best_guess": "99.99 %"}
        ],
        "model_sha256": digest(run / "model" / "model.safetensors"),
        "per_round": [5.0, 6.5, 7.5001],
        "noise_multiplier": 1.1,
        "clip_norm": 1.0,
        "budget_epsilon": 8.0,
        "clients": 30,
        "clients_charged": 29,
        "epsilon_mean": 6.1,
    }
    return said | changed


def write_claim(run: Path, **changed: Any) -> dict[str, Any]:
    claim = claim_of(run, **changed)
    (run / "privacy.json").write_text(json.dumps(claim, allow_nan=False))
    return claim


def write_audit(run: Path, **changed: Any) -> None:
    """audit.json, audit.html and audit.sig, signed by KEY."""
    weights = digest(run / "model" / "model.safetensors")
    bound = {"epsilon_lower_bound_distribution_free": 0.4321}
    part = {"title": "Guesses", "verdict": "holds", "sentence": "Guesses were <b>no better</b> than a coin.", **bound}
    audit = {"weights_sha256": weights, "claim": json.loads((run / "privacy.json").read_text()), "parts": {"one": part}}
    (run / "audit.json").write_text(json.dumps({**audit, "not_protected": ["timing"], **changed}, allow_nan=False))
    (run / "audit.html").write_text("<p>an audit</p>")
    lines = [f"{digest(run / name)}  {name}" for name in ("audit.json", "audit.html", "model/model.safetensors")]
    message = "\n".join([LABEL, *lines, f"ed25519 {identity_public(KEY).hex()}", ""])
    (run / "audit.sig").write_text(f"{message}signature {sign(KEY, message.encode()).hex()}\n")


def write_run(run: Path, model: Path) -> Path:
    """A run around a copy of `model`."""
    for name, content in SECRETS.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(content)
    for path in model.iterdir():
        (run / "model" / path.name).write_bytes(path.read_bytes())
    (run / "recipe.toml").write_text(f'[data]\nsource = "{run}/private.jsonl"\n[model]\nbase = ""\n')
    scores = {"perplexity": 61.237, "top1": 0.3821, "top3": 0.5, "bits_per_byte": 2.1, "words": 1234, "bytes": 5678}
    compared = {name: {"difference": 0.1, "low": 0.05, "high": 0.2} for name in ("bits_per_byte", "top1", "top3")}
    summary = {
        "before": scores | {"perplexity": 96.4},
        "after": scores,
        "reference": scores | {"perplexity": 48.123456},
        "ceiling": scores | {"perplexity": 31.987654},
        "comparison": {"verdict": "learned", "over": "clients", "groups": 30, "level": 0.95, **compared},
        "clients": 30,
        "rounds": 3,
        "parameters": 18288,
    }
    (run / "summary.json").write_text(json.dumps(summary))
    write_claim(run)
    return run


@pytest.fixture
def run(tiny_base: Path, tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", tiny_base)
