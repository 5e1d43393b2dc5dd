"""What is said of a round: epsilon never too small, and how long the others take."""

from __future__ import annotations

import pytest

from training.run.display import Display

ROW = {
    **{"round": 2, "survivors": 4, "cohort": 4, "epsilon_max": 7.9812, "seconds": 3.0},
    **{"bits_per_byte": 2.5, "perplexity": 30.0, "top1": 0.25, "top3": 0.5},
}


def test_epsilon_is_rounded_up_and_the_time_left_is_said_where_there_is_no_bar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = Display()
    display.round_line(ROW, 5, 8.0, 2.75, ", about 12 s left")
    said = capsys.readouterr().out
    assert "bits per byte 2.500 (base 2.750)" in said
    assert "epsilon at most 7.99 of 8" in said and said.rstrip().endswith("3 s, about 12 s left")


def test_a_run_stopped_before_the_evaluation_of_round_2_counts_that_round_once() -> None:
    with Display(quiet=True).rounds(3, 1) as bar:
        assert "left" in bar.finish()  # round 2 is measured
        assert bar.finish() == ""  # and round 3 is the last
        assert bar.done == bar.total == 3
