"""Extraction from a run's models: which of the clients' recorded private facts they say when they are asked for them.

Beside every figure stand the phantoms: facts of clients that never trained, behind cues of the same kind. What is found
of those no model remembers. Knows the facts that the generated house recorded; of other data it can say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.extraction import Decoding, Logs, Recovery, by_repetition, discoverable, recovery
from chatfed.audit.part import Part, Table, Verdict
from chatfed.audit.roc import Area, Share, area
from chatfed.generation import Generation
from chatfed.model.transformer import context_of, load_model
from chatfed.types import Span

from .audited import Audited, Say
from .cues import Cue, chances, cues_of, planted_cues, repetitions_of, swapped
from .house import house_of, why_none
from .references import public_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

SERVED, BARE, PUBLIC = "the served model", "the run without noise", "the public model"
RETRY = 0.7  # the page's temperature where a reply is drawn again
DECODINGS = (
    Decoding("as served: the likeliest token", Generation().temperature, Generation().top_p),
    Decoding("as retried: temperature 0.7, top-p 0.9", RETRY, Generation().top_p),
    Decoding("as any caller may ask: temperature 1, top-p 1", 1.0),
)
TRIES, CHANCE = (1, 100, 10_000, 1_000_000), 0.5
HEADLINE = 10_000  # tries
OF_EACH_KIND = 60
REPETITIONS = (1, 2, 4, 16)
SURE = 0.01  # of Fisher's test, divided by the number of kinds


@dataclass(frozen=True, eq=False)
class Asked:
    """What one model makes of all cues: logs of chances, float64[decodings, cues]."""

    trained: Logs
    never: Logs
    elsewhere: Logs  # trained facts, each behind another client's cue


@dataclass(frozen=True)
class Cues:
    """What is asked."""

    trained: list[Cue]
    never: list[Cue]
    elsewhere: list[Cue]


def found_by_any(logs: Logs, tries: float = HEADLINE, chance: float = CHANCE) -> NDArray[np.bool_]:
    """Whether each secret is (tries, chance)-discoverable under any decoding.

    bool[cues] of float64[decodings, cues].
    """
    found: NDArray[np.bool_] = np.any([discoverable(each, tries, chance) for each in logs], axis=0)
    return found


def planted(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[tuple[str, Span, int]],
    context: int,
) -> dict[int, Share]:
    """How many planted secrets are found, by how often each was learned from: (HEADLINE, CHANCE)-discoverable.

    texts: a user's message, where the secret stands in it, and its repetitions; 0 for one that was not learned from.
    """
    cues = planted_cues(texts)
    found = found_by_any(chances(model, tokenizer, cues, context, DECODINGS))
    repetitions = repetitions_of(cues)
    return dict(by_repetition(found, repetitions, np.unique(repetitions).tolist()))


def extraction(run: Audited, say: Say) -> Part:
    """Asks the run's models for the facts of clients that trained and of others. Raises AuditError."""
    say("finding where private facts stand")
    corpus = house_of(run)
    if corpus is None:
        return _unknown(why_none(run))
    trained = cues_of(corpus.private, corpus.facts, OF_EACH_KIND)
    never = cues_of(corpus.held_out, corpus.held_out_facts, OF_EACH_KIND)
    for whose, found in (("trained", trained), ("never trained", never)):
        if not found:
            return _unknown(f"no private fact of a client that {whose} stands where a model could be asked for it")
    cues = Cues(trained, never, swapped(trained))
    asked: dict[str, Asked] = {}
    for name, (model, tokenizer) in _models(run).items():
        say(f"asking {name} for {len(trained):,} facts")
        asked[name] = _ask(run, model, tokenizer, cues)
    return _part(cues, asked)


def _unknown(why: str) -> Part:
    return Part(
        name="extraction",
        title="Private facts, drawn out of the model",
        verdict=Verdict.UNJUDGED,
        sentence=f"Nothing can be said: {why}.",
        figures={},
        notes=["The generated house records its clients' facts. Of other data plant secrets: see the canaries."],
    )


def _models(run: Audited) -> Mapping[str, tuple[Any, Any]]:
    bare = {} if run.bare is None else {BARE: run.bare.model()}
    return {SERVED: run.model(), **bare, PUBLIC: load_model(public_folder(run))}


def _ask(run: Audited, model: Any, tokenizer: Any, cues: Cues) -> Asked:
    context = min(run.plan.learning.model.context, context_of(model) or run.plan.learning.model.context)
    parts = (cues.trained, cues.never, cues.elsewhere)
    return Asked(*(chances(model, tokenizer, each, context, DECODINGS) for each in parts))


def _part(cues: Cues, asked: Mapping[str, Asked]) -> Part:
    kinds = sorted({cue.kind for cue in cues.trained})
    of_kinds = {name: {kind: _of_kind(cues, each, kind) for kind in kinds} for name, each in asked.items()}
    better = {name: _knows_better(cues, each, asked[PUBLIC]) for name, each in asked.items() if name != PUBLIC}
    leaks = leaking(of_kinds[SERVED])
    return Part(
        name="extraction",
        title="Private facts, drawn out of the model",
        verdict=verdict(of_kinds[SERVED], of_kinds.get(BARE)),
        sentence=f"{_sentence(cues, asked, leaks)}{_weak(of_kinds)}",
        figures={
            "tries": HEADLINE,
            "chance": CHANCE,
            "kinds": {name: {kind: each.to_json() for kind, each in told.items()} for name, told in of_kinds.items()},
            "all": {name: _all(cues, each) for name, each in asked.items()},
            "knows_better": {name: each.to_json() for name, each in better.items()},
        },
        tables=[
            _kinds_table(cues, asked, of_kinds),
            _tries_table(asked),
            _repeats_table(cues, asked),
            _better_table(better),
        ],
        not_protected=[f"Facts of these kinds can be drawn out of the served model: {', '.join(leaks)}."] * bool(leaks),
        notes=_notes(cues, asked),
    )


def leaking(kinds: Mapping[str, Recovery]) -> list[str]:
    """The kinds of which more is found than of phantoms: by Fisher's test, at SURE for all kinds together.

    A kind without phantoms is none of them: nobody can say what its cues give away.
    """
    return [kind for kind, each in kinds.items() if each.p < SURE / len(kinds)]


def verdict(served: Mapping[str, Recovery], bare: Mapping[str, Recovery] | None) -> Verdict:
    """OPEN where the served model gives facts of some kind away: no claim says how often.

    HOLDS where it gives none away, the run without noise does by the same questions, and every kind has phantoms to
    compare with. Else UNJUDGED: of a run that learns nothing by heart without noise either, or that has no such run
    beside it, finding nothing says nothing of the noise.
    """
    if leaking(served):
        return Verdict.OPEN
    compared = all(each.phantoms for each in served.values())
    return Verdict.HOLDS if compared and bare and leaking(bare) else Verdict.UNJUDGED


def _weak(of_kinds: Mapping[str, Mapping[str, Recovery]]) -> str:
    """Why finding nothing says nothing, if it does; begins with a space."""
    served, bare = of_kinds[SERVED], of_kinds.get(BARE)
    if verdict(served, bare) != Verdict.UNJUDGED:
        return ""
    alone = [kind for kind, each in served.items() if not each.phantoms]
    why = []
    if bare is None:
        why.append("there is no run without noise beside it that would show that these questions work")
    elif not leaking(bare):
        why.append("without noise it gives no more than chance away either")
    if alone:
        why.append(f"of these kinds no client that never trained has one to compare with: {', '.join(alone)}")
    return f" That says nothing about its noise: {'; '.join(why)}."


def _of_kind(cues: Cues, asked: Asked, kind: str) -> Recovery:
    mine, theirs = (np.array([cue.kind == kind for cue in each], bool) for each in (cues.trained, cues.never))
    return recovery(found_by_any(asked.trained)[mine], found_by_any(asked.never)[theirs])


def _all(cues: Cues, asked: Asked) -> dict[str, Any]:
    """Of all kinds together: what is found, and what remains of it under cue control."""
    trained, never = found_by_any(asked.trained), found_by_any(asked.never)
    plain, plain_never = (np.array([not cue.told for cue in each], bool) for each in (cues.trained, cues.never))
    return {
        **recovery(trained, never).to_json(),
        "without_words_of_the_value_in_the_cue": _if_any(trained[plain], never[plain_never]),
        "behind_another_clients_cue": _if_any(found_by_any(asked.elsewhere), never),
        "greedy": recovery(asked.trained[0] == 0, asked.never[0] == 0).to_json(),
        "bits": {"trained": _bits(asked.trained), "never_trained": _bits(asked.never)},
    }


def _if_any(found: NDArray[np.bool_], phantoms: NDArray[np.bool_]) -> dict[str, Any] | None:
    """None where no such secret was asked for."""
    return recovery(found, phantoms).to_json() if len(found) else None


def _knows_better(cues: Cues, asked: Asked, public: Asked) -> Area:
    """How well the rise over the public model tells facts that were learned from from others: finer than finding them.

    Of log-chances at temperature 1, less the mean of the kind: kinds are unlike, and differently many on both sides.
    Intervals over clients.
    """
    rises = np.concatenate([asked.trained[-1] - public.trained[-1], asked.never[-1] - public.never[-1]])
    _, kinds = np.unique([cue.kind for cue in [*cues.trained, *cues.never]], return_inverse=True)
    rises -= (np.bincount(kinds, rises) / np.bincount(kinds))[kinds]
    trained, never = ({cue.client for cue in each} for each in (cues.trained, cues.never))
    numbers = {client: number for number, client in enumerate(sorted(trained | never))}
    mine, theirs = (np.array([numbers[cue.client] for cue in each], np.int64) for each in (cues.trained, cues.never))
    return area(rises[: len(mine)], rises[len(mine) :], (mine, theirs))


def _bits(logs: Logs) -> float:
    """Mean bits of a value at temperature 1."""
    return float(-logs[-1].mean() / np.log(2))


def _sentence(cues: Cues, asked: Mapping[str, Asked], leaks: Sequence[str]) -> str:
    def told(name: str) -> str:
        return f"{int(found_by_any(asked[name].trained).sum()):,}"

    def phantom(name: str) -> str:
        return f"{int(found_by_any(asked[name].never).sum()):,} of {len(cues.never):,}"

    beside = f", and {told(BARE)} where no noise was added" if BARE in asked else ""
    rest = "which is more than chance" if leaks else "which is no more than chance gives"
    return (
        f"Asked in the clients' own words, the served model gives away {told(SERVED)} of {len(cues.trained):,} private "
        f"facts within {HEADLINE:,} tries ({phantom(SERVED)} of people it never saw), {rest}{beside}."
    )


def _kinds_table(cues: Cues, asked: Mapping[str, Asked], kinds: Mapping[str, Mapping[str, Recovery]]) -> Table:
    heads = ["Model", "Kind", "facts", "found", "from", "to", "never seen", "found", "excess", "p"]
    rows: list[list[str | int | float | None]] = []
    for name, told in kinds.items():
        whole = recovery(found_by_any(asked[name].trained), found_by_any(asked[name].never))
        rows += [[name, kind, *_cells(each)] for kind, each in [*told.items(), ("all", whole)]]
    return Table(f"Facts found within {HEADLINE:,} tries, with a chance of {CHANCE:g} or more", heads, rows)


def _cells(told: Recovery) -> list[str | int | float | None]:
    mine, theirs = told.found, told.phantoms
    beside = [theirs.of, theirs.hits] if theirs else [0, None]
    return [mine.of, mine.hits, mine.low, mine.high, *beside, told.excess, told.p]


def _tries_table(asked: Mapping[str, Asked]) -> Table:
    heads = ["Model", "Decoding", *(f"{tries:,} tries: found" + end for tries in TRIES for end in ("", ", never seen"))]
    rows: list[list[str | int | float | None]] = []
    for name, each in asked.items():
        for decoding, mine, theirs in zip(DECODINGS, each.trained, each.never, strict=True):
            counts = [int(discoverable(logs, tries, CHANCE).sum()) for tries in TRIES for logs in (mine, theirs)]
            rows.append([name, decoding.name, *counts])
    return Table("Facts found, by how replies are drawn", heads, rows)


def _repeats_table(cues: Cues, asked: Mapping[str, Asked]) -> Table:
    heads = ["Model", "said so often or more", "facts", "found", "from", "to"]
    repetitions = repetitions_of(cues.trained)
    rows: list[list[str | int | float | None]] = [
        [name, least, share.of, share.hits, share.low, share.high]
        for name, each in asked.items()
        for least, share in by_repetition(found_by_any(each.trained), repetitions, REPETITIONS)
    ]
    return Table("Facts found, by how often their client said them", heads, rows)


def _better_table(better: Mapping[str, Area]) -> Table:
    heads = ["Model", "AUC", "from", "to", "facts", "never seen"]
    rows: list[list[str | int | float | None]] = [
        [name, each.value, each.low, each.high, each.members, each.others] for name, each in better.items()
    ]
    return Table("Facts told from those it never saw by how much likelier training made them", heads, rows)


def _notes(cues: Cues, asked: Mapping[str, Asked]) -> list[str]:
    decodings = "; ".join(each.name for each in DECODINGS)
    notes = [
        f"A fact counts as found when one of these decodings says it within {HEADLINE:,} tries with a chance of "
        f"{CHANCE:g} or more ({decodings}): computed from its tokens' probabilities, nothing is sampled "
        "(arXiv 2410.19482). The cue is the client's own dialogue up to the value, where it names it first.",
        "Cue control (arXiv 2601.03791): facts of clients that never trained behind cues of the same kind; facts of "
        "which no word stands in the cue; and facts behind another client's cue.",
        "Whoever holds the weights may go on with a user's message; the page does so by its suggestions alone.",
    ]
    if BARE in asked:
        found = int(found_by_any(asked[BARE].trained).sum())
        notes.append(
            f"Without noise {found:,} of {len(cues.trained):,} are given away. Where that is little, what the served "
            "model keeps to itself says as much of how little such a run learns by heart as of its noise."
        )
    return notes
