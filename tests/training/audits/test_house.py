"""The house that a run is compared with, and runs that have none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chatfed.audit.leakage import AuditError
from chatfed.audit.part import Verdict
from training.audits.copies import House
from training.audits.extraction import extraction
from training.audits.house import house_of, why_none
from training.plan.recipe import DataSection


def run_on(data: DataSection) -> Any:
    return SimpleNamespace(plan=SimpleNamespace(recipe=SimpleNamespace(data=data)), folder=SimpleNamespace(path="run"))


@pytest.mark.parametrize(
    ("data", "why"),
    [(DataSection(redact=True), "data.redact put placeholders"), (DataSection(source="mine.jsonl"), "nobody recorded")],
)
def test_a_run_that_learned_no_recorded_facts_has_no_house_and_each_part_says_why(data: DataSection, why: str) -> None:
    run = run_on(data)
    assert house_of(run) is None and why_none(run).startswith(why)
    part = extraction(run, lambda said: None)
    assert part.verdict == Verdict.UNJUDGED and why in part.sentence
    with pytest.raises(AuditError, match=why):
        House.of(run)


def test_the_generated_house_as_it_speaks_is_one() -> None:
    assert why_none(run_on(DataSection())) == ""
