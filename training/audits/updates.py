"""Part of an audit: what one client's update tells, from the raw one to the noised sum.

Says of the run's own recipe which of masks, sum and noise keeps which text from a server: `ladder` climbs, `matched`
weighs. What it does not know: attacks that read several updates of a client together, and texts of more places than the
matrix that is read has inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from chatfed.audit.part import Part, Table, Verdict
from chatfed.audit.updates import presence_ceiling
from chatfed.types import IntVector

from ..base.tokens import TokenTable
from ..plan.terms import client_terms
from ..plan.variants import without_noise
from . import matched
from .audited import Audited, Say
from .ladder import Attacker, Climb, Read, climbed, manners_of
from .victims import COHORT, Setting

TRIALS = 2500  # of a client in the matched filter: its rate is known to a hundredth
NEAR = 0.02  # of chance, or of a ceiling
RARELY = 1 / 20_000  # accused by chance
READ = 0.9  # of a raw update, by a measure that works
HEARD = 0.8  # of a sum without noise: tokens that one client's texts share with another's are fewer
ENOUGH = 0.7  # of what an attack can read: places of the texts that it is tried on
TITLE = "What one client's update tells"
HEADS = ["what is seen", "views", "ROUGE-2", "words, F1", "deviation of its mean"]
TOO_OFTEN = "A known dialogue is found in what the server sees more often than the noise allows."


def filters(setting: Setting) -> list[matched.Filtered]:
    """The matched filter on what real clients of a setting give: how often it names the one of two with an update."""
    return [matched.filtered(setting, seen, trials=TRIALS) for seen in matched.Seen]


def updates(run: Audited, say: Say) -> Part:
    """What a server of this run saw of clients, and what an attack at full strength reads out of it."""
    setting = Setting.small("this run", run.plan.recipe, run.plan.terms)
    say("matched filter")
    found = filters(setting)
    learner = run.learner()
    attacker = Attacker(learner, learner.initial)
    if not attacker.readable:
        return _unread(found, setting)
    say("a round of the run's clients")
    climb = Climb(attacker, (bare(everybody(setting)), everybody(setting)), _short(learner.private, attacker.capacity))
    say("reading")
    return _part(setting, climbed(climb, manners_of(learner.held_out)), found, attacker.capacity)


def everybody(setting: Setting) -> Setting:
    """The same where all dialogues join the step: the target is there."""
    privacy = replace(setting.recipe.privacy, sampling_rate=1.0)
    return replace(setting, recipe=replace(setting.recipe, privacy=privacy))


def bare(setting: Setting) -> Setting:
    """The same without noise, and without a claim."""
    recipe = without_noise(setting.recipe)
    return Setting(f"{setting.name}, without noise", recipe, client_terms(recipe, COHORT))


def _short(table: TokenTable, capacity: int) -> list[IntVector]:
    """One dialogue for each of COHORT clients, drawn from those that can be read; or the shortest."""
    lengths = np.diff(table.starts)
    fitting = np.flatnonzero(lengths <= ENOUGH * capacity)
    if len(fitting) < COHORT:
        fitting = np.argsort(lengths, kind="stable")[:COHORT]
    drawn = np.random.default_rng(0).choice(fitting, COHORT, replace=False)
    return [np.array([at], np.int64) for at in drawn]


def _part(setting: Setting, read: Sequence[Read], found: Sequence[matched.Filtered], capacity: int) -> Part:
    rung = {each.rung: each for each in read}
    verdict, sentence = _judged(setting, rung, found)
    rows = [(each.rung, each.views, each.rouge, each.words, each.deviation) for each in read]
    return Part(
        "updates",
        TITLE,
        verdict,
        sentence,
        {
            "rungs": {each.rung: {"rouge_2": each.rouge, "words_f1": each.words} for each in read},
            "places_readable": capacity,
            **_of_filters(setting, found),
        },
        [Table("Text recovered", HEADS, rows), _filter_table(found)],
        not_protected=_not_protected(rung),
        notes=_notes(capacity),
    )


def _judged(setting: Setting, rung: Mapping[str, Read], found: Sequence[matched.Filtered]) -> tuple[Verdict, str]:
    """A fault where anything is above what is allowed; it holds only where the attack is seen to work."""
    masked, noised = rung["masked"], rung["noised sum"]
    if beyond := _beyond(masked, rung["chance"]):
        return Verdict.FAULT, f"A masked update gives away more than random numbers do: {beyond}."
    if _too_often(setting, found):
        return Verdict.FAULT, TOO_OFTEN
    if beyond := _beyond(noised, rung["chance of a sum"]):
        return Verdict.OPEN, f"A sum tells of its texts in spite of its noise: {beyond}."
    if setting.bare:
        return Verdict.OPEN, f"Of a client's raw update are read {_told(rung['raw'])}, and no noise is in sums."
    if weak := _weak(rung["raw"], found):
        return Verdict.UNJUDGED, f"The attack is too weak to judge by: {weak}."
    return Verdict.HOLDS, _holds(rung)


def _beyond(one: Read, chance: Read) -> str:
    """What is read of a rung beyond chance, in words: by more than NEAR, and than so few draws differ by themselves.

    By each measure; how much draws differ is seen where there is chance alone, in few of them: Student's t, so that one
    case in 20,000 is accused by chance, as by a filter.
    """
    beyond = float(stats.t.ppf(1 - RARELY, chance.views - 1)) if chance.views > 1 else 0.0
    apart = beyond * (1 / one.views + 1 / chance.views) ** 0.5
    found = [
        (what, got, least)
        for what, got, least, spread in (
            ("word pairs, ROUGE-2", one.rouge, chance.rouge, chance.rouge_spread),
            ("words, F1", one.words, chance.words, chance.spread),
        )
        if got > least + max(NEAR, apart * spread)
    ]
    return "; ".join(f"{what} {got:.2f}, where chance has {least:.2f}" for what, got, least in found)


def _too_often(setting: Setting, found: Sequence[matched.Filtered]) -> bool:
    """Whether a filter is above what the noise in what it sees allows, but for one case in 20,000."""
    return not setting.bare and any(each.surely > each.by_noise for each in found)


def _weak(raw: Read, found: Sequence[matched.Filtered]) -> str:
    """What the attack cannot do where nothing is in its way; empty where it can: its positive controls."""
    cannot = [] if _measures(raw, READ) else [f"of a raw update it reads no more than {_told(raw)}"]
    cannot += [
        f"its matched filter finds {each.found.value:.2f} of {each.seen}, not {each.by_noise:.2f}"
        for each in found
        if not _tight(each)
    ]
    return "; ".join(cannot)


def _measures(bare: Read, enough: float) -> list[str]:
    """By what a rung that hides nothing is read, and so by what the one with masks or noise is judged."""
    return [what for what, got in (("word pairs", bare.rouge), ("words", bare.words)) if got >= enough]


def _told(read: Read) -> str:
    return f"{read.rouge:.0%} of the word pairs and F1 {read.words:.2f} of the words"


def _holds(rung: Mapping[str, Read]) -> str:
    """What was judged, and by what."""
    by, by_sum = _measures(rung["raw"], READ), _measures(rung["sum"], HEARD)
    summed = (
        f"of a sum with noise no {' or '.join(by_sum)} (without noise F1 of words {rung['sum'].words:.2f})"
        if by_sum
        else "texts of sums were not judged, as they are not read without noise either"
    )
    return (
        f"Of a client's raw update are read {_told(rung['raw'])}; behind masks no {' or '.join(by)} beyond chance; "
        f"{summed}. A known update is found in a sum, and in an upload without its masks, as often as the noise in it "
        "allows and no oftener."
    )


def _of_filters(setting: Setting, found: Sequence[matched.Filtered]) -> dict[str, object]:
    z = setting.terms.noise_multiplier
    return {
        "noise_multiplier": z,
        "best_guess_present": presence_ceiling(z),
        "best_guess_which_of_two": matched.ceiling(z),
        "matched_filter": {
            each.seen.name.lower(): {**each.to_json(), "rate": each.found.value, "tight": _tight(each)}
            for each in found
        },
    }


def _tight(each: matched.Filtered) -> bool:
    """Within NEAR of its ceiling, on both sides, as far as 95 % of chance allow to tell.

    A weak attack must not pass for a strong defence, nor a few trials' luck for a weak attack.
    """
    return bool(each.found.low - NEAR <= each.by_noise <= each.found.high + NEAR)


def _filter_table(found: Sequence[matched.Filtered]) -> Table:
    rows = [
        [str(each.seen), each.found.value, each.by_noise, "yes" if _tight(each) else "no", each.ceiling]
        for each in found
    ]
    heads = ["what is seen", "right", "ceiling, by the noise in it", "within 0.02", "ceiling of one release"]
    return Table("Which of two has a known update in it", heads, rows)


def _not_protected(rung: Mapping[str, Read]) -> list[str]:
    made = [
        f"Whoever saw one unmasked update without noise could read the dialogues in it: {rung['raw'].rouge:.0%} of the "
        "word pairs of short ones were. Masks and noise are what prevents it."
    ]
    if _beyond(rung["sum"], rung["chance of a sum"]):
        made.append(
            f"A sum of {COHORT} clients without noise tells which words they used (F1 {rung['sum'].words:.2f}): masks "
            "alone hide who said a word, not that it was said."
        )
    return made


def _notes(capacity: int) -> list[str]:
    return [
        "The span of a gradient's rows (DAGER, arXiv 2405.15586) and a search token by token (arXiv 2510.15511), with "
        f"the model of the first round; {COHORT} clients of one short dialogue each, all of which join the step.",
        f"Texts of more than {capacity} places together are not read by this attack; that does not make them safe.",
        "ROUGE-2 as an F-measure over tokens that are words. Words: as many tokens guessed as there are, F1. Chance: "
        "the same attack on random ring elements.",
        f"Beyond chance: by more than {NEAR}, and by more than one case of chance in 20,000, as draws of chance "
        f"have it. Judged only by a measure that works where nothing is hidden: {READ} of a raw update, {HEARD} of a "
        "sum.",
        "Matched filter: how often the one of two sums is named that has a known update of the clip norm in it, at "
        "most q Phi(1 / (z sqrt 2)) + (1 - q) / 2 at a sampling rate of q; whether it is in one sum is guessed with at "
        "most Phi(1 / (2 z)). In one client's upload z is that of its share of the noise.",
    ]


def _unread(found: Sequence[matched.Filtered], setting: Setting) -> Part:
    sentence = "This recipe trains no matrix that the attack can read: the texts of raw updates were not tried."
    figures, tables, fault = _of_filters(setting, found), [_filter_table(found)], _too_often(setting, found)
    verdict = Verdict.FAULT if fault else Verdict.UNJUDGED
    return Part("updates", TITLE, verdict, TOO_OFTEN if fault else sentence, figures, tables)
