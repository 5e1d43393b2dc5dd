"""A server that cheats: the matrix of attacks by recipe, the audited run's own first, and one model that isolates.

What it does not know: attacks that nobody has thought of, and time. In each cell few real clients are attacked; floors,
noise and budget are the recipe's. How much gets through is measured apart, once for each recipe: `matched.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from chatfed.audit.part import Part, Table, Verdict

from .audited import Audited, Say
from .isolating import Isolated, isolated
from .matrix import ATTACKS, Matrix, faults, matrix, settings_of
from .outcomes import Cell, Outcome
from .victims import COHORT, Setting


def server(run: Audited, say: Say) -> Part:
    """What a server that cheats gets of this run, and would get of others."""
    settings = settings_of(run.plan)
    cells = matrix(settings, say=say)
    learner = run.learner()
    say("a model that isolates one dialogue")
    models = isolated(learner, settings[0])
    return part(settings, cells, models)


def part(settings: Sequence[Setting], cells: Matrix, models: Mapping[bool, Isolated]) -> Part:
    """What was found, in words."""
    own, wrong = cells[settings[0].name], faults(settings, cells)
    titles = {attack.key: attack.title for attack in ATTACKS}
    opened = [f"Open: {titles[key]} ({cell.why})." for key, cell in own.items() if cell.outcome is Outcome.OPEN]
    verdict = Verdict.FAULT if wrong else Verdict.OPEN if opened else Verdict.HOLDS
    counts = {outcome: sum(cell.outcome is outcome for cell in own.values()) for outcome in Outcome}
    sentence = (
        f"Of {len(own)} ways in which a server may cheat, this run's clients refuse {counts[Outcome.REFUSED]}, noise "
        f"bounds what {counts[Outcome.BOUNDED]} give, and {counts[Outcome.OPEN]} succeed"
        + (f"; {len(wrong)} of all that were tried succeed against a claim." if wrong else ".")
    )
    figures = {
        "cells": {name: {key: _figures(cell) for key, cell in column.items()} for name, column in cells.items()},
        "faults": wrong,
        "isolating_model": {
            ("with_noise" if noise else "without_noise"): dataclasses.asdict(found) for noise, found in models.items()
        },
    }
    tables = [_matrix(settings, cells), _why(settings[0], own), *_models(models)]
    return Part("server", "A server that cheats", verdict, sentence, figures, tables, (), [*wrong, *opened], NOTES)


NOTES = (
    "In each cell the attack is played against the real client and the real secure sum in one process, "
    f"{COHORT} clients with the recipe's privacy, noise, threshold, colluders and budget, and made-up updates of few "
    "numbers. Ledgers begin empty: a count of n-grams is not in them, and one upload hides behind a share for so few, "
    "which is larger than a real cohort's.",
    "Refused: a client's error, with nothing unmasked and no secret spent, or masks that do not cancel. Bounded: a "
    "matched filter, the best there is against noise, finds no more than one release may tell as it is charged; or "
    "what is asked again is charged, until the budget ends it. Open: it found more.",
    "The matched filter looks for canaries of exactly the clip norm where a perfectly isolating model puts them, in "
    "sums at the floor of survivors and without the colluders' noise. It is measured once for each recipe, and its "
    "figure stands in every cell that has one: one crafted model, overflow and few puppets among them. Where one "
    "dialogue is protected it runs real clients and secure sums; where whole clients are (client level, bands), the "
    "clients' own encoder and decoder alone, since masks cancel.",
    "Isolating heads and norms are tried as one construction: embeddings and output layer of nought, one loud matrix. "
    "It is run for this run's own recipe, where one dialogue is protected and those layers are trained, and for no "
    "other.",
    "With identities none, shared noise is claimed against a server that follows the protocol; whoever cheats is "
    "outside that claim. On a roster that a server has filled with its own, nothing is claimed either.",
)


def _figures(cell: Cell) -> dict[str, object]:
    seen = cell.filtered.to_json() if cell.filtered else {}
    return {"outcome": str(cell.outcome), "why": cell.why, "error": cell.error, **seen}


def _matrix(settings: Sequence[Setting], cells: Matrix) -> Table:
    heads = ("attack", *(setting.name for setting in settings))
    rows = [
        (attack.title, *(_outcome(cells[setting.name].get(attack.key)) for setting in settings)) for attack in ATTACKS
    ]
    return Table("What comes of each attack", heads, rows)


def _outcome(cell: Cell | None) -> str:
    return "–" if cell is None else str(cell.outcome)


def _why(setting: Setting, own: Mapping[str, Cell]) -> Table:
    titles = {attack.key: attack.title for attack in ATTACKS}
    rows = [(titles[key], str(cell.outcome), cell.why) for key, cell in own.items()]
    return Table(f"Why, in {setting.name}", ("attack", "outcome", "what happened"), rows)


def _models(models: Mapping[bool, Isolated]) -> list[Table]:
    rows = [
        (
            "with this run's noise" if noise else "without noise",
            f"{found.silent} of {found.dialogues}",
            found.tokens,
            round(found.found.value, 3),
            f"{found.found.low:.3f} to {found.found.high:.3f}",
            round(found.read, 3),
            round(found.tokens / found.vocabulary, 3),
        )
        for noise, found in models.items()
    ]
    heads = (
        "sum",
        "dialogues silenced",
        "words of the one left",
        "area of its words",
        "95 %",
        "right among as many",
        "by chance",
    )
    return (
        [Table("One model for all that isolates one dialogue, through the real learner", heads, rows)] if rows else []
    )
