"""What a run's synthetic copy gives away, and what it is good for: a part of the audit.

Beside it stand as many dialogues of the run without noise, drawn in the same way, and as many of the clients' own (or
all): on these the attacks must succeed, or finding nothing on the copy would say nothing. Neither is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from chatfed.audit.comparison import Sums
from chatfed.audit.gain import learnable_gain
from chatfed.audit.leakage import AuditError
from chatfed.audit.part import Part, Table, Verdict
from chatfed.audit.synthetic import ATTACKS, CHANCE, EACH
from chatfed.conversation.synthetic import STADLER, Provenance, exchanges_of, read_copy
from chatfed.model.checkpoint import base_digest
from chatfed.model.transformer import load_model
from chatfed.types import Turn

from ..base.corpus import public_text, turns_of
from ..base.evaluation import evaluate
from ..base.synthetic import Said, Wanted, dialogues
from ..base.tokens import write_tokens
from .audited import Audited, Say
from .copies import CLIENTS, OF_EACH, House, Leaks, leaks
from .copy_tables import BARE, COPY, HELD, REAL, Shapes, Used, side_by_side, topics
from .references import EPOCHS, LARGEST, public_folder, taught
from .shapes import CLIENTS as WORDS_OF
from .shapes import TOPICAL, WORDS, shape, topic_shares, topical_words

SEED = 1
MEASURED = 400  # held-out dialogues at most

Texts = Sequence[Sequence[Turn]]


def synthetic(run: Audited, say: Say) -> Part:
    """Attacks the run's copy, and learns from it. Raises NoCopy, and AuditError."""
    texts, told = _copy(run)
    say("finding where private facts stand")
    house = House.of(run)
    bare = _bare(run, told, say)
    drawn: dict[str, Texts] = {COPY: texts, **({BARE: [each.turns for each in bare]} if bare else {})}
    random = np.random.default_rng(SEED)
    places = np.sort(random.permutation(len(house.real))[: len(texts)])
    drawn[REAL] = [house.real[at] for at in places]
    found: dict[str, Leaks] = {}
    for name, each in drawn.items():
        say(f"attacking {name}")
        found[name] = leaks(house, each)
    early = {COPY: told.cut / told.dialogues, BARE: sum(each.cut for each in bare) / max(1, len(bare))}
    shaped = shapes(house, {name: each for name, each in drawn.items() if name != REAL}, early | {HELD: _too_long(run)})
    part = _part(found, use(run, drawn, say), {name: len(each) for name, each in drawn.items()}, shaped)
    return replace(part, figures={**part.figures, "dialogues_sha256": told.dialogues_sha256})


def _copy(run: Audited) -> tuple[Texts, Provenance]:
    texts, told = read_copy(run.copy)
    if (told.model_sha256, told.folder_sha256) != (run.weights_sha256, base_digest(run.folder.path / "model").hex()):
        raise AuditError(
            f"{run.copy} is a copy of another model's words, or its tokenizer or template are others now: make it anew "
            f"with chatfed synthesise {run.folder.path} --replace",
            param=str(run.copy),
        )
    return texts, told


def _bare(run: Audited, told: Provenance, say: Say) -> list[Said]:
    """As many dialogues of the run without noise, where there is one: drawn as the copy was, so that noise differs."""
    if run.bare is None:
        return []
    recipe = run.plan.recipe
    exchanges = np.array([told.exchanges], np.int64)
    if not told.exchanges:
        exchanges = exchanges_of(turns_of(public_text(recipe.data, Path(recipe.runtime.cache), [])))
    wanted = Wanted(told.dialogues, exchanges, told.temperature, told.top_p, told.seed)
    source = str(run.bare.folder.path / "model")

    def drawing(done: int, of: int) -> None:
        say(f"drawing as many without noise: {done:,} of {of:,}")

    return dialogues(source, recipe.model.context, wanted, recipe.runtime.workers, drawing)


def _too_long(run: Audited) -> float:
    """The share of held-out dialogues that the context has no room for: what a copy's early ends stand beside."""
    return float((np.diff(run.others.starts) > run.plan.learning.model.context).mean())


def shapes(house: House, drawn: Mapping[str, Texts], early: Mapping[str, float]) -> Shapes:
    """Of each copy, and of HELD, the dialogues of clients that never trained."""
    beside = house.beside
    topical = topical_words(beside.controls, beside.owners, beside.public)
    every = {**drawn, HELD: beside.controls}
    told = {name: shape(texts, early.get(name), beside.controls, topical) for name, texts in every.items()}
    return Shapes(
        told, {name: dict(zip(topical, topic_shares(texts, topical), strict=True)) for name, texts in every.items()}
    )


def use(run: Audited, drawn: Mapping[str, Texts], say: Say) -> Used:
    """How the public model predicts held-out clients once it has learned from each, and its share of REAL's gain.

    With it the public model as it is, and the served one. Nothing where the base is too large to be taught here.
    """
    base = public_folder(run)
    public, tokenizer = load_model(base)
    if sum(each.numel() for each in public.parameters()) > LARGEST:
        return {}
    models: dict[str, Any] = {PUBLIC: public.eval(), SERVED: run.model()[0]}
    context, train_on = run.plan.learning.model.context, run.plan.learning.train_on
    with TemporaryDirectory(prefix="chatfed-copies-") as scratch:
        for number, (name, texts) in enumerate(drawn.items()):
            say(f"learning from {name}")
            table = write_tokens(Path(scratch) / str(number), tokenizer, texts)
            models[name] = taught(base, table, np.arange(len(table)), context, train_on, SEED)
    held = np.sort(np.random.default_rng(SEED).permutation(len(run.others))[:MEASURED])
    scores = {}
    for name, model in models.items():
        say(f"measuring on held-out clients: {name}")
        scores[name] = evaluate(model, run.others, held, context)
    sums: dict[str, Sums] = {name: each.sums for name, each in scores.items()}
    owners = run.others.owners(held)
    gains = {
        name: None if name == PUBLIC else learnable_gain(sums[PUBLIC], each, sums[REAL], owners)
        for name, each in sums.items()
    }
    return {name: (scores[name], gains[name]) for name in scores}


PUBLIC, SERVED = "the public model", "the served model itself"


def _part(found: Mapping[str, Leaks], used: Used, sizes: Mapping[str, int], shaped: Shapes) -> Part:
    mine = found[COPY]
    beside = [side_by_side(found, used, shaped, sizes)]
    return Part(
        name="synthetic",
        title="A synthetic copy",
        verdict=verdict(found),
        sentence=f"{_sentence(found, sizes[REAL])} {_useful(used, sizes[REAL])}".strip(),
        figures={
            "dialogues": dict(sizes),
            "copies": {name: each.to_json() for name, each in found.items()},
            "use": {
                name: {**scores.result().to_json(), "gain": gain.to_json() if gain else None}
                for name, (scores, gain) in used.items()
            },
            "shapes": shaped.to_json(),
        },
        tables=[*beside, _risks(found, sizes), _facts(found), *([_uses(used)] if used else []), topics(shaped)],
        not_protected=[f"The copy gives away more than chance: {', '.join(mine.found)}."] * bool(mine.found),
        notes=NOTES if BARE in found else (*NOTES, NO_BARE),
    )


def verdict(found: Mapping[str, Leaks]) -> Verdict:
    """OPEN where the copy gives something away: no claim says how much of that there may be.

    HOLDS where it gives nothing away and each attack finds something in the clients' own dialogues; else UNJUDGED, as
    where one does better than on controls and no better than with public text.
    """
    if found[COPY].found:
        return Verdict.OPEN
    able = found[REAL].successes == ATTACKS and not found[COPY].doubtful
    return Verdict.HOLDS if able else Verdict.UNJUDGED


def _sentence(found: Mapping[str, Leaks], own: int) -> str:
    mine, real = found[COPY], found[REAL]
    said = mine.verbatim.found
    facts = f"It says {said.hits:,} of {said.of:,} private values that one client alone has"
    if mine.verbatim.phantoms:
        facts += f", and {mine.verbatim.phantoms.hits:,} of {mine.verbatim.phantoms.of:,} of people nobody learned from"
    attacks = f"{', '.join(mine.found)}: more than chance" if mine.found else "no attack does better than by chance"
    if mine.doubtful:
        attacks += f" ({', '.join(mine.doubtful)}: better than on controls, no better than with public text alone)"
    beside = f"on {own:,} of {REAL} {real.successes} of the {ATTACKS} attacks succeed"
    return f"On the copy {attacks}; {beside}. {facts}."


def _useful(used: Used, own: int) -> str:
    gain = used[COPY][1] if used else None
    if gain is None or gain.bits_a_word.share is None:
        return ""
    share = f"{gain.bits_a_word.share:.0%}"
    return f"A model that learns from it gains {share} of what {own:,} of {REAL} give, in bits a word."


def _risks(found: Mapping[str, Leaks], sizes: Mapping[str, int]) -> Table:
    heads = ["Dialogues", "of them", "Attack", "succeeds", "on controls", "naively", "risk", "from", "to", ""]
    rows: list[list[str | int | float | None]] = [
        [
            name, sizes[name], each.attack, *(rate.hits / rate.of for rate in (each.main, each.control, each.naive)),
            each.value, each.low, each.value + each.half, "no better than naively" if each.weak else "",
        ]
        for name, told in found.items()
        for each in told.risks
    ]  # fmt: skip
    rows += [
        [
            name, sizes[name], "recognising a dialogue (area)",
            told.echo.value, None, 0.5, None, told.echo.low, told.echo.high, "",
        ]
        for name, told in found.items()
    ]  # fmt: skip
    return Table("What attacks make of it, beside clients that never trained", heads, rows)


def _facts(found: Mapping[str, Leaks]) -> Table:
    heads = ["Dialogues", "Kind", "values", "said", "never seen", "said", "p"]
    rows: list[list[str | int | float | None]] = []
    for name, told in found.items():
        for kind, each in [*told.kinds.items(), ("all", told.verbatim)]:
            beside = [each.phantoms.of, each.phantoms.hits] if each.phantoms else [0, None]
            rows.append([name, kind, each.found.of, each.found.hits, *beside, each.p])
    return Table("Private values of one client alone that it says word for word, and phantoms", heads, rows)


def _uses(used: Used) -> Table:
    heads = ["Learned from", "bits a byte", "next word right", "share of the gain in bits a word", "from", "to"]
    rows: list[list[str | int | float | None]] = []
    for name, (scores, gain) in used.items():
        told, share = scores.result(), gain.bits_a_word if gain else None
        cells = [share.share, share.low, share.high] if share else [None, None, None]
        rows.append([name, told.bits_per_byte, told.top1, *cells])
    return Table("What the public model learns of it, measured on held-out clients", heads, rows)


NOTES = (
    "Risk is (main - control) / (1 - control) (Giomi et al. 2023, arXiv 2211.10459): main on clients that trained, "
    f"control on as many that never did, {CLIENTS} at most, with as many dialogues each, {OF_EACH} at most; of values, "
    f"on all clients on record. There are {ATTACKS} attacks, and a copy that knows nobody is found to give something "
    f"away with a chance of {CHANCE:.0%} in all: each attack has {EACH:.0%} (Bonferroni), which values word for word "
    f"divide by their kinds. Each interval leaves {EACH:.0%} beyond either end, and takes clients as independent, not "
    "their dialogues. Values word for word are tested as independent of one another.",
    "Naively: with public text in place of the copy (pairs of words of two dialogues; its nearest dialogues; what it "
    "says oftenest, never one of these values). An attack that does no better counts as none. Singling out: two of the "
    "rarest words of a dialogue of the copy, which no public dialogue has, are had by one client alone among those "
    "looked at, not among all that trained. Linking: the halves of a dialogue have a nearest dialogue of the copy in "
    "common. Inferring: what the copy says after the same words, in its most similar dialogue.",
    "Recognising: how much likelier a dialogue's pairs of words are by the copy than by public text (Meeus et al. "
    "2025, arXiv 2502.14921). Phantoms (arXiv 2601.03791): values of clients that never trained; what a copy says of "
    "those it made up. Distances to the closest record are not told: they show nothing (arXiv 2505.01524).",
    STADLER,
    f"Use: the public model after {EPOCHS} passes over each, all alike; a better recipe would give each more. Models "
    "that learned from the clients' own dialogues here are kept nowhere, and no epsilon covers their figures.",
    "Shapes: only of copies and of clients that never trained, whose dialogues are looked at without noise anyway. "
    f"Topical words: the {WORDS} that most of those clients' dialogues have, of those that {TOPICAL[0]:.0%} to "
    f"{TOPICAL[1]:.0%} have, at least {WORDS_OF} of the clients say and public dialogues have, too. Overlap: 1 where "
    "both speak of the same as often, 0 where of nothing alike. It tells which words come, not whether a dialogue "
    "stays with its matter.",
)
NO_BARE = (
    "Beside this copy stands none without noise: chatfed resume RUN --reference makes the same run without noise, and "
    "then a column of this audit shows what the noise buys."
)
