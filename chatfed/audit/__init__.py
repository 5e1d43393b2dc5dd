"""What a trained model gives away, measured and put into words. Takes numbers and callables; knows no run.

`compare_with_twins` looks for words that a model learned by heart, `compare` for what learning gained, `learnable_gain`
for how much of what could be gained that is; `strength` says what an epsilon is worth, `write_report` puts all of it on
one page. An audit: `one_run`, `f_dp`, `product_channel` and `clopper_pearson` make lower bounds on epsilon of guesses
about canaries, `judge` says of the words of a text whether a model gives them away; attacks have their own modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "MOST_DELTA",
    "MOST_EPSILON",
    "SCALE",
    "AuditError",
    "Bound",
    "Calibration",
    "Comparison",
    "Continuations",
    "Design",
    "Finding",
    "Gain",
    "Interval",
    "Matched",
    "Part",
    "Place",
    "Power",
    "Share",
    "Speaker",
    "Table",
    "TextShift",
    "TwinRank",
    "Verdict",
    "WordShift",
    "best_guess",
    "bits_a_word",
    "calibrate",
    "clopper_pearson",
    "coins",
    "commitment",
    "compare",
    "compare_with_twins",
    "direction",
    "draw_twins",
    "epsilon_plot",
    "f_dp",
    "factor_in_words",
    "gain_plot",
    "gain_sentence",
    "guess",
    "guess_in_words",
    "judge",
    "learnable_gain",
    "learning_plot",
    "level",
    "matched",
    "one_run",
    "power",
    "product_channel",
    "rank_among",
    "rates",
    "right",
    "said_of_several",
    "strength",
    "summarise",
    "warnings_of",
    "word_shifts",
    "write_report",
]

if TYPE_CHECKING:
    from chatfed.audit.bounds import (
        Bound,
        Design,
        Power,
        clopper_pearson,
        f_dp,
        guess,
        one_run,
        power,
        product_channel,
        right,
    )
    from chatfed.audit.canary import Matched, coins, commitment, direction, matched
    from chatfed.audit.comparison import Comparison, Interval, compare, rates
    from chatfed.audit.gain import Gain, Share, bits_a_word, gain_sentence, learnable_gain
    from chatfed.audit.leakage import (
        AuditError,
        TextShift,
        TwinRank,
        WordShift,
        level,
        rank_among,
        summarise,
        word_shifts,
    )
    from chatfed.audit.part import Part, Table, Verdict
    from chatfed.audit.plots import epsilon_plot, gain_plot, learning_plot
    from chatfed.audit.report import write_report
    from chatfed.audit.tiers import (
        MOST_DELTA,
        MOST_EPSILON,
        SCALE,
        best_guess,
        factor_in_words,
        guess_in_words,
        said_of_several,
        strength,
        warnings_of,
    )
    from chatfed.audit.twins import Continuations, Place, Speaker, compare_with_twins, draw_twins
    from chatfed.audit.words import Calibration, Finding, calibrate, judge
else:
    from chatfed.lazy import loading

    __getattr__, __dir__ = loading(
        __name__,
        {
            "bounds": "Bound Design Power clopper_pearson f_dp guess one_run power product_channel right",
            "canary": "Matched coins commitment direction matched",
            "part": "Part Table Verdict",
            "words": "Calibration Finding calibrate judge",
            "tiers": "MOST_DELTA MOST_EPSILON SCALE best_guess factor_in_words guess_in_words said_of_several "
            "strength warnings_of",
            "comparison": "Comparison Interval compare rates",
            "gain": "Gain Share bits_a_word gain_sentence learnable_gain",
            "leakage": "AuditError TextShift TwinRank WordShift level rank_among summarise word_shifts",
            "plots": "epsilon_plot gain_plot learning_plot",
            "report": "write_report",
            "twins": "Continuations Place Speaker compare_with_twins draw_twins",
        },
    )
