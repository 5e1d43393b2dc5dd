"""What a trained model gives away, measured and put into words. Takes numbers and callables; knows no run.

`compare_with_twins` looks for words that a model learned by heart, `compare` for what learning gained, `learnable_gain`
for how much of what could be gained that is; `strength` says what an epsilon is worth, `write_report` puts all of it on
one page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "MOST_DELTA",
    "MOST_EPSILON",
    "SCALE",
    "AuditError",
    "Comparison",
    "Continuations",
    "Gain",
    "Interval",
    "Place",
    "Share",
    "Speaker",
    "TextShift",
    "TwinRank",
    "WordShift",
    "best_guess",
    "bits_a_word",
    "compare",
    "compare_with_twins",
    "draw_twins",
    "epsilon_plot",
    "factor_in_words",
    "gain_plot",
    "gain_sentence",
    "guess_in_words",
    "learnable_gain",
    "learning_plot",
    "level",
    "rank_among",
    "rates",
    "said_of_several",
    "strength",
    "summarise",
    "warnings_of",
    "word_shifts",
    "write_report",
]

if TYPE_CHECKING:
    from chatfed.audit.bounds import (
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
    from chatfed.audit.plots import epsilon_plot, gain_plot, learning_plot
    from chatfed.audit.report import write_report
    from chatfed.audit.twins import Continuations, Place, Speaker, compare_with_twins, draw_twins
else:
    from chatfed.lazy import loading

    __getattr__, __dir__ = loading(
        __name__,
        {
            "bounds": "MOST_DELTA MOST_EPSILON SCALE best_guess factor_in_words guess_in_words said_of_several "
            "strength warnings_of",
            "comparison": "Comparison Interval compare rates",
            "gain": "Gain Share bits_a_word gain_sentence learnable_gain",
            "leakage": "AuditError TextShift TwinRank WordShift level rank_among summarise word_shifts",
            "plots": "epsilon_plot gain_plot learning_plot",
            "report": "write_report",
            "twins": "Continuations Place Speaker compare_with_twins draw_twins",
        },
    )
