"""The page of an audit: what is not protected as large as what is, nothing hidden, safe to open."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatfed.audit.annex import POINTS, TESTS, annex, found, unmapped
from chatfed.audit.audit_page import MEANS, NO_POWER, OWN_KEY, UNKNOWN_KEY, proven, render, summary
from chatfed.audit.page import POLICY
from chatfed.audit.part import Part, Table, Verdict
from tests.audit.audits import CLAIM, PARTS, audit_of
from tests.audit.test_report import Reader


def text_of(parts: tuple[Part, ...] = PARTS, **changes: Any) -> str:
    return " ".join(Reader(page_of(parts, **changes)).text.split())


def page_of(parts: tuple[Part, ...] = PARTS, **changes: Any) -> str:
    return render({**audit_of(parts), **changes}, parts)


def test_proven_and_not_protected_stand_first_and_then_what_was_tried_and_then_every_part() -> None:
    page = page_of()
    order = [
        page.index(f">{head}</h2>")
        for head in ("What is proven", "What is not protected", "What was tried, and what it found")
    ]
    assert order == sorted(order) and order[-1] < page.index('<section id="conformance">')
    boxes = page[page.index('class="first"') : page.index("</div>", page.index('class="first"'))]
    assert boxes.count('<section class="said">') == 2 and boxes.count('<section class="said warn">') == 1


def test_the_first_screen_gives_the_proof_in_a_sentence_and_the_smallest_leak_that_would_be_found() -> None:
    text = text_of()
    first = text[: text.index("What was tried, and what it found")]
    assert "at most 99.97\u00a0% of cases" in page_of()
    assert "Noise that is 1 % too small would have been seen." in first
    assert all(f"{part.name}: {part.verdict}" in first for part in PARTS)
    assert "At client level nothing is claimed." in first


@pytest.mark.parametrize(
    ("epsilon", "delta", "said"),
    [
        (8.0, 1e-5, "at most 99.97 % of cases"),
        (1.0, 1e-5, "at most 73.11 % of cases"),
        (None, None, "Nothing: no noise was added"),
        (23.0, 1e-5, "Nothing: at ε = 23.00"),
        (1.0, 0.1, "Nothing: at ε = 1.00 and δ = 0.1"),
    ],
)
def test_what_is_proven_is_the_best_guess_and_nothing_where_the_bound_says_nothing(
    epsilon: float | None, delta: float | None, said: str
) -> None:
    assert said in proven({"epsilon": epsilon, "delta": delta, "unit": "dialogue"})


def test_where_no_part_says_what_it_could_have_found_the_page_says_that() -> None:
    assert NO_POWER in text_of(PARTS[1:2]) and NO_POWER not in text_of()


def test_a_part_that_could_not_judge_is_not_counted_with_those_that_found_nothing() -> None:
    assert summary(PARTS) == (
        "Of 4 attacks and checks, 1 found more than the claim allows, or failed, 1 found nothing beyond what is "
        "proven, 1 succeeded where nothing is claimed, 1 could not judge."
    )
    assert "this is no sign of safety" in MEANS[Verdict.UNJUDGED]
    assert summary(()) == "Nothing was tried."
    assert summary(PARTS[:1]) == "Of 1 attack or check, 1 found nothing beyond what is proven."


def test_everything_in_a_part_is_on_the_page_and_each_of_its_numbers_is_right_aligned() -> None:
    page, text = page_of(), text_of()
    for part in PARTS:
        assert part.title in text and part.sentence in text
        assert all(note in text for note in part.notes) and all(plot in page for plot in part.plots)
    assert (
        all(key in text for key in ("deep.inside", "faults.1.p", "faults.2.p", "20 figures, in audit.json"))
        and "{'p'" not in text
    )
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 … (30 in audit.json)" in text
    assert '<th scope="col" class="n">p-value</th>' in page and '<td class="n">2.2e-27</td>' in page
    assert "<wbr>".join(["ab" * 12] * 3 + ["ab" * 4]) in page
    assert '<th scope="col">Test</th>' in page and '<td class="n">–</td>' in page


def test_what_was_not_tried_stands_with_its_reason() -> None:
    assert "words: it was not asked for" in text_of(not_run={"words": "it was not asked for"})
    assert "What was not tried" not in text_of(not_run={})


def test_the_page_says_whose_key_it_is_not() -> None:
    made, named = ({"public": "ab" * 32, "named": named} for named in (False, True))
    assert UNKNOWN_KEY in text_of(signer=made) and OWN_KEY not in text_of(signer=made)
    assert OWN_KEY in text_of(signer=named) and UNKNOWN_KEY not in text_of(signer=named)


def test_the_page_needs_nothing_from_anywhere_and_runs_nothing() -> None:
    reader = Reader(page_of())
    (policy,) = [
        each["content"] for tag, each in reader.elements if each.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == POLICY and not any(tag in ("script", "link", "img") for tag, _ in reader.elements)
    named = [value for _, attributes in reader.elements for key, value in attributes.items() if key in ("src", "href")]
    assert sorted(each or "" for each in named) == sorted(f"#{part.name}" for part in PARTS)
    targets = {attributes.get("id") for tag, attributes in reader.elements if tag == "section"}
    assert {part.name for part in PARTS} <= targets


@given(st.text(max_size=12), st.sampled_from(["<script>alert(1)</script>", '"><img src=x>', "</style>", "&amp;"]))
def test_no_text_of_a_part_or_claim_becomes_an_element(around: str, evil: str) -> None:
    words = around + evil
    table = Table(words, [words, "n"], [[words, 1.0]])
    part = Part("membership", words, Verdict.OPEN, words, {words: words}, [table], [], [words], [words])
    audit = audit_of((part,)) | {"claim": {**CLAIM, "holds_against": words, "sentence": words}, "machine": words}
    reader = Reader(render({**audit, "not_protected": [words], "not_run": {words: words}}, (part,)))
    assert not any(tag in ("script", "img") for tag, _ in reader.elements)
    assert sum(tag == "style" for tag, _ in reader.elements) == 1


def test_every_key_of_an_audit_has_its_place_in_the_annex() -> None:
    audit = audit_of(PARTS) | {"annex": []}
    assert list(unmapped(audit)) == []
    assert list(unmapped({**audit, "new": 1, "claim": {**CLAIM, "also": 2}, "parts": {"other": {}}})) == [
        "new",
        "claim.also",
        "parts.other",
    ]


def test_the_annex_names_only_what_is_there_and_leaves_no_point_out() -> None:
    audit = audit_of(PARTS)
    rows = annex(audit)
    assert len(rows) == len(POINTS) and all(found(audit, place) is not None for row in rows for place in row["places"])
    assert {place for row in rows if row["text"] == TESTS for place in row["places"]} == {
        "parts.membership",
        "parts.updates",
        "parts.server",
    }
    assert json.loads(json.dumps(rows)) == rows


def test_an_empty_point_of_the_annex_is_said_to_be_empty() -> None:
    assert "Training data repeated by the modelNothing in this audit." in text_of(annex=annex(audit_of(PARTS)))
