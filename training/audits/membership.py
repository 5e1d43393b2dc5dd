"""Membership inference on a run's models: was a dialogue learned from, was a client there?

Every attack is tried on the served model and, where the run without noise is beside it, on that one too: there it must
work, or its failure on the served model would say nothing. Formulas are chatfed/audit's; which dialogues are compared
is controls.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from chatfed.audit.blind import FOLDS, Blind, blind_baseline
from chatfed.audit.membership import ATTACKS, of_clients, scores
from chatfed.audit.part import Part, Table
from chatfed.audit.plots import roc_plot
from chatfed.audit.roc import FALSE_RATES, LEVEL, AtRate, Scores, TooFew, area, at_false_rate, roc_curve
from chatfed.model.transformer import context_of, load_model
from chatfed.types import IntVector

from .audited import Audited, Say
from .controls import Pairing, Trial, client_rows, trial_of
from .judging import BARE, SERVED, Claim, Result, allowed, cautious, claim_of, conclusion, covered_by, verdict
from .likelihoods import Cast, Readings, end_to_end, read
from .references import LARGEST, REFERENCES, public_folder, taught

PUBLIC = "public"


def membership(run: Audited, say: Say) -> Part:
    """Scores members and others by every attack. Raises AuditError where the run has no dialogues to compare."""
    with TemporaryDirectory() as scratch:
        say("drawing dialogues to compare with")
        trial = trial_of(run, Path(scratch))
        blind = {pairing: _blind(trial, pairing) for pairing in trial.pairings if _enough(trial, pairing)}
        sound = [pairing for pairing, found in blind.items() if not found.refused]
        if not sound:
            return _part(run, trial, blind, [], 0)
        cast = _cast(run, trial, say)
        readings = _read(run, cast, trial, say)
    results = [result for target in cast.sequences for result in _attacked(target, cast, readings, trial, sound)]
    return _part(run, trial, blind, results, len(cast.references) - 1)


def _enough(trial: Trial, pairing: Pairing) -> bool:
    """Whether there are so many of both sides that anything can be said."""
    sides = client_rows(trial, pairing)
    counted = [len(np.unique(trial.owners[side])) if pairing.level == "client" else len(side) for side in sides]
    return min(counted) >= FOLDS


def _blind(trial: Trial, pairing: Pairing) -> Blind:
    """What tells the pairing apart without a model; a client is all its texts together."""
    members, others = client_rows(trial, pairing)
    texts = np.concatenate([members, others])
    ids, starts = trial.tokens(texts)
    member, owners = np.arange(len(texts)) < len(members), trial.owners[texts]
    if pairing.level == "dialogue":
        return blind_baseline(ids, starts, member, owners if pairing.same_clients else None)
    opens = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))  # a client's texts stand together
    return blind_baseline(ids, np.concatenate([starts[opens], starts[-1:]]), member[opens])


def _cast(run: Audited, trial: Trial, say: Say) -> Cast:
    """The models: the served one and the bare one, what was published before them, the public one, taught ones."""
    models: dict[str, Any] = {PUBLIC: load_model(public_folder(run))[0].eval()}
    sequences: dict[str, Sequence[str]] = {}
    for name, each in ((SERVED, run), (BARE, run.bare)):
        if each is None:
            continue
        models[name] = each.model()[0]
        counted = each.folder.state / "counted"
        between = [f"{name}, counted"] if (counted / "config.json").exists() else []
        models |= {told: each.model("state/counted")[0] for told in between}
        sequences[name] = [PUBLIC, *between, name]
    small = sum(each.numel() for each in models[PUBLIC].parameters()) <= LARGEST
    references = [
        f"taught {number}" for number in range(1, REFERENCES + 1) if small and len(trial.teaching) >= REFERENCES
    ]
    for number, name in enumerate(references):
        say(f"teaching reference model {number + 1} of {len(references)}")
        mine = trial.teaching[number :: len(references)]
        models[name] = taught(
            public_folder(run), run.others, mine, _context(run, models[PUBLIC]), _train_on(run), number
        )
    return Cast(models, [PUBLIC, *references], sequences)


def _context(run: Audited, model: Any) -> int:
    own = run.plan.learning.model.context
    return min(own, context_of(model) or own)


def _train_on(run: Audited) -> str:
    return run.plan.learning.train_on


def _read(run: Audited, cast: Cast, trial: Trial, say: Say) -> Readings:
    context, found = _context(run, cast.models[PUBLIC]), []
    for number, group in enumerate(trial.groups, 1):
        say(f"asking {len(cast.models)} models for {len(group.dialogues):,} dialogues, {number} of {len(trial.groups)}")
        found.append(read(cast, group.table, group.dialogues, context, _train_on(run)))
    return end_to_end(found)


def _attacked(target: str, cast: Cast, readings: Readings, trial: Trial, pairings: Sequence[Pairing]) -> list[Result]:
    """Every attack on one model in every pairing that may be judged."""
    sequence = [readings.log_probs[name] for name in cast.sequences[target]]
    population = np.flatnonzero(trial.parts == trial.population)
    by_attack = scores(readings.of(target, cast), sequence, population)
    return [
        _result(target, pairing, attack, values, trial, cautious(len(pairings)))
        for pairing in pairings
        for attack, values in by_attack.items()
    ]


def _result(target: str, pairing: Pairing, attack: str, values: Scores, trial: Trial, level: float) -> Result:
    rows = client_rows(trial, pairing)
    owners = trial.owners[rows[0]], trial.owners[rows[1]]
    sides = values[rows[0]], values[rows[1]]
    whose: tuple[IntVector, IntVector] | None = owners
    if pairing.level == "client":
        sides, whose = (of_clients(sides[0], owners[0]), of_clients(sides[1], owners[1])), None
    rates = tuple(at_false_rate(*sides, wanted) for wanted in FALSE_RATES)
    return Result(target, pairing, attack, area(*sides, whose, level), rates, sides, whose)


def _part(
    run: Audited, trial: Trial, blind: Mapping[Pairing, Blind], results: Sequence[Result], references: int
) -> Part:
    served, bare = ([each for each in results if each.target == target] for target in (SERVED, BARE))
    claim = claim_of(run)
    figures = {
        "pairings": [_pairing_json(pairing, each, results) for pairing, each in blind.items()],
        "confidence": LEVEL,
        "reference_models": references,
        **_power(bare),
        **({"claim_allows": allowed(results, claim)} if claim and results else {}),
        "dialogues": {str(part): int((trial.parts == part).sum()) for part in np.unique(trial.parts)},
    }
    return Part(
        name="membership",
        title="Who was in the training data?",
        verdict=verdict(results, claim),
        sentence=_sentence(served, bare, claim),
        figures=figures,
        tables=[
            _blind_table(blind),
            *(_table(pairing, results) for pairing, each in blind.items() if not each.refused),
        ],
        plots=_plots(results),
        not_protected=_not_protected(claim, results),
        notes=[*_notes(blind, references), *_reach(results, claim), *_left_out(trial, blind)],
    )


def _pairing_json(pairing: Pairing, blind: Blind, results: Sequence[Result]) -> dict[str, Any]:
    mine = [each.to_json() for each in results if each.pairing == pairing]
    return {"name": pairing.name, "level": pairing.level, "blind": blind.to_json(), "attacks": mine}


def _best(results: Sequence[Result], level: str) -> tuple[Result, AtRate] | None:
    """The attack that finds most members at the first of FALSE_RATES."""
    rated = [(each, rate) for each in results for rate in each.rates[:1] if isinstance(rate, AtRate)]
    there = [pair for pair in rated if pair[0].pairing.level == level]
    return max(there, key=lambda pair: pair[1].found.share, default=None)


def _sentence(served: Sequence[Result], bare: Sequence[Result], claim: Claim | None) -> str:
    if not served:
        return "Nothing can be said: there are too few dialogues to compare with, or they differ without the model."
    return " ".join(filter(None, [_found(served, bare), conclusion([*served, *bare], claim)]))


def _found(served: Sequence[Result], bare: Sequence[Result]) -> str:
    told = []
    for level in ("dialogue", "client"):
        best = _best(served, level)
        if best is None:
            continue
        found = f"the best of {len(ATTACKS)} attacks recognises {_of(best[1])} {level}s that were learned from"
        beside = _best(bare, level)
        told.append(found + (f", and {_of(beside[1])} where no noise was added" if beside else ""))
    chance = f"{100 * FALSE_RATES[0]:g} in 100"
    if not told:
        return f"There are too few controls to say how many are recognised where {chance} others are taken for such."
    return f"{'; '.join(told).capitalize()}, while it takes at most {chance} others for such: by chance, {chance}."


def _power(bare: Sequence[Result]) -> dict[str, Any]:
    """What the same attacks find where there is something to find, if a run without noise is there."""
    best = _best(bare, "dialogue")
    if best is None:
        return {}
    there = [each for each in bare if each.pairing.level == "dialogue"]
    largest = max(each.area.value for each in there)
    told = f"Against the same run without noise these attacks recognise {_of(best[1])} dialogues (area {largest:.2f})"
    weak = "no more than by chance, so that finding nothing here says nothing about the noise"
    return {"power": {"sentence": f"{told}." if any(each.succeeds for each in there) else f"{told}: {weak}."}}


def _of(rate: AtRate) -> str:
    return f"{100 * rate.found.share:.1f} in 100"


def _blind_table(blind: Mapping[Pairing, Blind]) -> Table:
    rows = [
        [pairing.name, each.auc, each.auc_of_length, each.p, "refused" if each.refused else "may be judged"]
        for pairing, each in blind.items()
    ]
    heads = ["Who is told apart", "AUC of words alone", "AUC of length alone", "p", ""]
    return Table("Do members and controls differ without the model?", heads, rows)


def _table(pairing: Pairing, results: Sequence[Result]) -> Table:
    heads = ["Model", "Attack", "AUC", "from", "to"]
    for wanted in FALSE_RATES:
        heads += [f"found at {100 * wanted:g} %", "from", "to", "realised"]
    rows = [
        [each.target, each.attack, each.area.value, each.area.low, each.area.high, *_cells(each.rates)]
        for each in results
        if each.pairing == pairing
    ]
    counts = next(each.area for each in results if each.pairing == pairing)
    return Table(f"{pairing.name}: {counts.members:,} against {counts.others:,}".capitalize(), heads, rows)


def _cells(rates: Sequence[AtRate | TooFew]) -> list[str | float | None]:
    cells: list[str | float | None] = []
    for each in rates:
        if isinstance(each, TooFew):
            cells += [str(each), None, None, None]
        else:
            cells += [each.found.share, each.found.low, each.found.high, each.false.share]
    return cells


def _plots(results: Sequence[Result]) -> list[str]:
    """Of each level the served model's best attack by area, and the same attack's on the run without noise."""
    plots = []
    for level in ("dialogue", "client"):
        there = [each for each in results if each.pairing.level == level]
        if not there:
            continue
        best = max(there, key=lambda each: (each.target == SERVED, each.area.value))
        shown = [each for each in there if (each.pairing, each.attack) == (best.pairing, best.attack)]
        plots.append(roc_plot([(each.target, *roc_curve(*each.sides)) for each in shown], f"{best.attack}, {level}s"))
    return plots


def _not_protected(claim: Claim | None, results: Sequence[Result]) -> list[str]:
    if claim is None:
        return ["No noise was added: nothing bounds how well a dialogue that was learned from can be recognised."]
    within = [each for each in covered_by(results, claim) if each.succeeds]
    said = [f"Members can be told from others beyond chance. {conclusion(results, claim)}"] if within else []
    if claim.of_clients:
        return said
    open_ = any(each.succeeds for each in results if each.target == SERVED and each.pairing.level == "client")
    found = "attacks on this run do better than chance at that" if open_ else "the attacks here did not manage to"
    said += [f"The claim is about one dialogue. Whether a person took part at all, with many, may be told: {found}."]
    return said


def _reach(results: Sequence[Result], claim: Claim | None) -> list[str]:
    """What no attack could have shown on so few dialogues."""
    if claim is None or not results:
        return []
    told = allowed(results, claim)
    return [
        f"Had every member scored above all others, these {told['tests']} tests, together wrong in at most "
        f"{1 - LEVEL:.0%} of sound runs, would refute an epsilon below {told['refutable_epsilon']:.2f}; the claim is "
        f"{claim.epsilon:.2f}. Of a larger one they can show no fault: the canaries' bound looks closer."
    ]


def _notes(blind: Mapping[Pairing, Blind], references: int) -> list[str]:
    notes = [
        f"Attacks: {', '.join(ATTACKS)}; reference models beside the public one: {references}. Areas have intervals "
        f"over clients that hold for all attacks on a model together at {LEVEL:.0%}; rates have exact ones each, with "
        "a threshold set on the same controls, whose realised rate stands beside it. The best attack is chosen "
        "afterwards, which favours the attacker. These are no bounds on epsilon.",
        "EZ-MIA where nothing fell: the highest score. Sequence: the public model, the one after the count, the served "
        "one; models of single rounds are not kept.",
    ]
    refused = [pairing for pairing, each in blind.items() if each.refused]
    notes += [
        f"Not judged: {pairing.name}. Words or length tell them apart without any model (p = {blind[pairing].p:.3f}), "
        "so an attack's success would say nothing. Sound controls are dialogues of the same clients that they held out "
        "by chance: data.hold_out makes them."
        for pairing in refused
    ]
    return notes


def _left_out(trial: Trial, blind: Mapping[Pairing, Blind]) -> list[str]:
    few = [pairing.name for pairing in trial.pairings if pairing not in blind]
    return [*trial.left_out, *(f"Not tried, for there are fewer than {FOLDS} of one side: {name}." for name in few)]
