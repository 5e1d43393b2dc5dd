"""What a synthetic copy of dialogues is, and what may be said of it: shape, files, provenance, card.

A copy is a folder: dialogues.jsonl, provenance.json, README.md. Knows no model and no run; takes their facts as values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.types import ChatfedError, IntVector, Turn

DIALOGUES, PROVENANCE, CARD_FILE = "dialogues.jsonl", "provenance.json", "README.md"
SCHEMA = 2  # 1 told no files but the weights, and not which number of exchanges was asked for
_LONGEST = 64  # exchanges of a dialogue that are looked at


class NoCopy(ChatfedError):
    """A folder that holds no synthetic copy, or not the one that its provenance speaks of."""

    code = "no_copy"
    mend = "name a folder that chatfed synthesise wrote, or make the copy anew"


@dataclass(frozen=True)
class Provenance:
    """Where a copy comes from; what it says is what can be defended."""

    dialogues: int
    cut: int  # that had no more room in the model's context
    repeated: int  # that say, word for word, what another of them says
    run: str  # id of the run, hex
    model_sha256: str  # of the weights, as the claim names them
    folder_sha256: str  # of the model's folder: weights, tokenizer, template and settings (checkpoint.base_digest)
    claim: Mapping[str, Any]  # privacy.json: of the model, so of what it says
    exchanges: int  # of each dialogue; 0: as many as public ones have
    temperature: float
    top_p: float
    seed: int
    chatfed: str  # version
    date: str
    dialogues_sha256: str = ""  # of dialogues.jsonl

    @property
    def private(self) -> bool:
        """Whether anything is claimed of the model."""
        return self.claim.get("epsilon") is not None

    @property
    def lengths(self) -> str:
        """Where the numbers of exchanges come from."""
        return f"the number of exchanges that was asked for, {self.exchanges}" if self.exchanges else PUBLIC_LENGTHS

    @property
    def why(self) -> str:
        """Why the claim holds for the copy, or that there is none."""
        return WHY.format(lengths=self.lengths) if self.private else NOTHING

    def to_json(self) -> dict[str, Any]:
        """What provenance.json holds."""
        return {
            "schema": SCHEMA,
            **asdict(self),
            "claim": dict(self.claim),
            "further_epsilon": 0.0 if self.private else None,
            "why": self.why,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Provenance:
        """Raises KeyError or TypeError for what is none."""
        if told["schema"] != SCHEMA:
            raise KeyError("schema")
        return cls(**{name: told[name] for name in cls.__dataclass_fields__})


PUBLIC_LENGTHS = "public text's numbers of exchanges"
WHY = (
    "Every word was drawn from the model, from {lengths}, and from a seed. No dialogue of a "
    "client was read. So this is post-processing of the model: what is proven of it holds for this copy, and for any "
    "number of copies, at no further epsilon (Dwork and Roth 2014, proposition 2.1)."
)
NOTHING = "The model was trained without noise: nothing is claimed of it, and nothing of what it says."
CARD = """# {title}

{count:,} dialogues that a model said by itself{given}. They are no record of what anybody said.

## What protects people in it

{protects}

## What that does not mean

A copy is not anonymous because it is synthetic. What many clients say comes back; what one client said comes back as
rarely as the model lets it, and no more rarely. `chatfed audit synthetic` counts that for this copy. {stadler}

## How it was made

- {cut:,} of the dialogues ended early, where the model's context was full; {repeated:,} repeat another word for word.
- Lengths: {lengths}. Temperature {temperature:g}, top-p {top_p:g}, seed {seed}.
- Model: run {run}, SHA-256 of the weights `{model_sha256}`, and of its folder's files, tokenizer and template
  among them, `{folder_sha256}`.
- SHA-256 of dialogues.jsonl: `{dialogues_sha256}`.
- chatfed {chatfed}, {date}.
"""
STADLER = (
    "That such copies protect outliers badly, and that one cannot foresee which, was found for tables "
    "(Stadler, Oprisanu and Troncoso 2022, arXiv 2011.07018) and is disputed for generators that are differentially "
    "private and correctly built (arXiv 2407.07926). Measure, and believe neither."
)


def card(told: Provenance) -> str:
    """README.md of a copy."""
    title = "Synthetic dialogues" if told.private else "SYNTHETIC WITHOUT PRIVACY: never share it"
    protects = f"{_claimed(told.claim)}\n\n{told.why}" if told.private else f"Nothing. {NOTHING}"
    given = " after federated training with differential privacy" if told.private else ""
    values = {name: getattr(told, name) for name in told.__dataclass_fields__}
    more = {"count": told.dialogues, "given": given, "lengths": told.lengths, "stadler": STADLER}
    return CARD.format(title=title, protects=protects, **more, **values)


def _claimed(claim: Mapping[str, Any]) -> str:
    """The model's claim, whole: no epsilon stands alone."""
    lines = [
        f"- epsilon {claim['epsilon']:.2f} at delta {claim['delta']:g}, of one {claim['unit']} ({claim['adjacency']})",
        f"- sampling: {claim['sampling']}",
        f"- accountant: {claim['accountant']}",
        f"- it holds against {claim['holds_against']}",
        *(f"- it assumes: {each}" for each in claim["assumptions"]),
        *(f"- it does not count: {each}" for each in claim["excludes"]),
    ]
    return "\n".join(lines)


def exchanges_of(dialogues: Iterable[Sequence[Turn]]) -> IntVector:
    """How many exchanges of a user and the assistant each dialogue has: int64[n], without those that have none.

    >>> exchanges_of([[Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")], [Turn("user", "d")]]).tolist()
    [1]
    """
    counts = [_exchanges([turn.role for turn in turns]) for turns in dialogues]
    return np.array([each for each in counts if each], np.int64)


def _exchanges(roles: Sequence[str]) -> int:
    spoken = [role for role in roles if role in ("user", "assistant")]
    answered = sum(pair == ("user", "assistant") for pair in pairwise(spoken))
    return min(answered, _LONGEST)


def repeated(dialogues: Sequence[Sequence[Turn]]) -> int:
    """How many dialogues say word for word what one before them says."""
    return len(dialogues) - len({tuple((turn.role, turn.content) for turn in each) for each in dialogues})


def to_lines(dialogues: Iterable[Sequence[Turn]]) -> bytes:
    """What dialogues.jsonl holds, UTF-8: a line each, as `chatfed train --data` reads it."""
    lines = [
        json.dumps(
            {"messages": [{"role": turn.role, "content": turn.content} for turn in turns]},
            ensure_ascii=False,
            allow_nan=False,
        )
        for turns in dialogues
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def digest(lines: bytes) -> str:
    """SHA-256 of dialogues.jsonl, hex."""
    return hashlib.sha256(lines).hexdigest()


def foreign_in(folder: Path) -> str:
    """What in a folder is no copy's, so that it must not be removed as one: a few words, empty where nothing is.

    A copy's are its three files, beside a provenance.json of this or an earlier schema.
    """
    if not folder.is_dir():
        return "it is no folder"
    names = sorted(path.name for path in folder.iterdir())
    if others := [name for name in names if name not in (DIALOGUES, PROVENANCE, CARD_FILE)]:
        return f"it holds {others[0]!r}" + (f" and {len(others) - 1} more that no copy has" if others[1:] else "")
    try:
        told = json.loads((folder / PROVENANCE).read_bytes())
        known = 1 <= told["schema"] <= SCHEMA and {"dialogues_sha256", "model_sha256", "claim", "seed"} <= set(told)
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    return "" if known else f"it holds no {PROVENANCE} of a copy"


def read_copy(folder: Path) -> tuple[list[tuple[Turn, ...]], Provenance]:
    """The dialogues of a copy and where they come from. Raises NoCopy where there is none, or another one."""
    try:
        told = Provenance.from_json(json.loads((folder / PROVENANCE).read_bytes()))
        lines = (folder / DIALOGUES).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoCopy(
            f"{folder} holds no readable copy ({type(error).__name__}: {error}): make one with chatfed synthesise.",
            param=str(folder),
        ) from None
    if digest(lines) != told.dialogues_sha256:
        raise NoCopy(
            f"{folder / DIALOGUES} is not what {PROVENANCE} speaks of: its SHA-256 is another. Make the copy anew.",
            param=str(folder / DIALOGUES),
        )
    rows = [json.loads(line)["messages"] for line in lines.decode().split("\n") if line]
    return [tuple(Turn(**turn) for turn in row) for row in rows], told
