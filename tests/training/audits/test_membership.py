"""Membership on small runs: who learned by heart is found, who saw nobody is not, and too little is said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from chatfed.audit.part import Part, Verdict
from chatfed.model.tokenizer import MARKER
from chatfed.model.transformer import Architecture, build_llama
from chatfed.types import Turn
from tests.training.audits.remembering import CONTEXT, House
from training.audits import controls
from training.audits import membership as references_of
from training.audits.controls import HELD_OUT, MEMBER, Group, Pairing, Trial, client_rows
from training.audits.likelihoods import Cast, end_to_end, learned_from, read
from training.audits.membership import membership
from training.base.tokens import ASSISTANT, write_tokens

OF_EACH = 20  # dialogues of each of five clients: just enough for a rate of 1 %


@pytest.fixture(scope="module")
def models(lived_in: House, public: Any) -> dict[str, Any]:
    """The public model, one that saw more public text only, and one that learned the clients' dialogues by heart."""
    return {
        "public": public,
        "tight": lived_in.taught(lived_in.public, np.arange(len(lived_in.public)), 30),
        "leaky": lived_in.taught(lived_in.private, np.arange(len(lived_in.private)), 220),
    }


@pytest.fixture(scope="module")
def parts(lived_in: House, models: dict[str, Any]) -> dict[str, Part]:
    """What an audit says of runs that claim epsilon 0.1; beside the leaky one stands the tight one."""
    patched = pytest.MonkeyPatch()
    patched.setattr(controls, "OF_EACH", OF_EACH)
    patched.setattr(controls, "NEW_CLIENTS", 6)
    runs = {
        name: lived_in.run(name, models[name], models["public"], epsilon=0.1, delta=1e-5) for name in ("tight", "leaky")
    }
    runs["tight"].__dict__["bare"], runs["leaky"].__dict__["bare"] = None, runs["tight"]
    try:
        leaky = membership(runs["leaky"], lambda said: None)
        patched.setattr(references_of, "LARGEST", 0)
        return {"leaky": leaky, "tight": membership(runs["tight"], lambda said: None)}
    finally:
        patched.undo()


def attacks(part: Part, target: str, level: str = "dialogue") -> dict[str, dict[str, Any]]:
    """Of the first pairing of a level, by attack."""
    pairing = next(each for each in part.figures["pairings"] if each["level"] == level and each["attacks"])
    return {each["attack"]: each for each in pairing["attacks"] if each["target"] == target}


def test_a_model_that_learned_by_heart_is_a_fault_of_a_small_claim(parts: dict[str, Part]) -> None:
    assert parts["leaky"].verdict == Verdict.FAULT
    found = attacks(parts["leaky"], "the served model")
    assert all(found[name]["low"] > 0.5 for name in ("reference ratio", "EZ-MIA"))
    assert parts["leaky"].sentence.endswith("That is more than epsilon 0.1 allows.")
    assert parts["leaky"].figures["claim_allows"]["refutable_epsilon"] > 0.1
    told = found["reference ratio"]["at_0.01"]
    assert told["realised"]["share"] <= 0.01 < 0.1 < told["true_positive_rate"]["share"]


def test_a_model_that_saw_nobody_gives_nobody_away_which_says_nothing_without_a_run_to_compare_with(
    parts: dict[str, Part],
) -> None:
    assert parts["tight"].verdict in (Verdict.UNJUDGED, Verdict.OPEN)  # open: style alone may tell these few clients
    assert all(each["low"] < 0.5 < each["high"] for each in attacks(parts["tight"], "the served model").values())
    assert attacks(parts["leaky"], "the run without noise").keys() == attacks(parts["leaky"], "the served model").keys()
    assert all(each["low"] < 0.5 for each in attacks(parts["leaky"], "the run without noise").values())
    assert parts["leaky"].figures["reference_models"] == 2 and parts["tight"].figures["reference_models"] == 0


def test_attacks_that_fail_without_noise_too_are_said_to_be_weak(parts: dict[str, Part]) -> None:
    told = parts["leaky"].figures["power"]["sentence"]
    assert told.endswith("): no more than by chance, so that finding nothing here says nothing about the noise.")
    assert "power" not in parts["tight"].figures


def test_too_few_controls_are_said_in_place_of_a_rate(parts: dict[str, Part]) -> None:
    found = attacks(parts["tight"], "the served model")["loss"]
    assert found["others"] == 5 * OF_EACH and "true_positive_rate" in found["at_0.01"]
    assert found["at_0.001"] == {"wanted": 0.001, "too_few_controls": 5 * OF_EACH, "needed": 1000}
    cells = [str(cell) for table in parts["tight"].tables for row in table.rows for cell in row]
    assert f"too few controls ({5 * OF_EACH} of 1,000)" in cells


def test_held_out_clients_and_new_ones_are_pairs_of_their_own_and_each_was_tried_without_a_model(
    parts: dict[str, Part],
) -> None:
    pairings = parts["tight"].figures["pairings"]
    assert [each["level"] for each in pairings] == ["dialogue", "client", "client", "dialogue"]
    assert all(0 < each["blind"]["p"] <= 1 for each in pairings)
    assert not pairings[0]["blind"]["refused"]  # fresh dialogues of the same clients
    assert all(each["blind"]["refused"] == (not each["attacks"]) for each in pairings)
    assert "fewer than 5 of one side: clients, by dialogues learned from" in parts["tight"].notes[-1]


def test_a_part_is_json_and_a_plot_without_outside_hosts(parts: dict[str, Part]) -> None:
    for part in parts.values():
        json.dumps(part.to_json(), allow_nan=False)
        assert part.plots and all(plot.startswith("<svg") and "href" not in plot for plot in part.plots)


def test_sides_have_the_same_clients_or_as_many_texts_of_each(lived_in: House) -> None:
    owners = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2]), np.array([1, 1, 2, 3, 3, 3])
    groups = [
        Group(part, lived_in.private, np.arange(len(whose)), whose)
        for part, whose in zip((MEMBER, HELD_OUT), owners, strict=True)
    ]
    trial = Trial(groups, [], HELD_OUT, np.zeros(0, np.int64))
    same = client_rows(trial, Pairing("", "dialogue", MEMBER, HELD_OUT, same_clients=True))
    assert [side.tolist() for side in same] == [[3, 4, 5, 6, 7, 8], [9, 10, 11]]
    clients = client_rows(trial, Pairing("", "client", MEMBER, HELD_OUT))
    assert [side.tolist() for side in clients] == [list(range(9)), [12, 13, 14]]  # who has fewer is left out
    ids, starts = trial.tokens(np.array([9, 1]))
    assert ids.tolist() == [*_dialogue(lived_in, 0), *_dialogue(lived_in, 1)] and starts[1] == len(
        _dialogue(lived_in, 0)
    )


def _dialogue(of: House, at: int) -> list[int]:
    return [int(token) for token in of.private.ids[of.private.starts[at] : of.private.starts[at + 1]]]


def test_readings_are_those_of_one_dialogue_at_a_time(lived_in: House, models: dict[str, Any]) -> None:
    cast = Cast(models, ["public", "tight"], {"leaky": ["public", "leaky"]})
    table, dialogues = lived_in.private, np.array([7, 3, 7])
    found = end_to_end([read(cast, table, dialogues[:2], CONTEXT), read(cast, table, dialogues[2:], CONTEXT)])
    for place, dialogue in enumerate(dialogues):
        mine = slice(int(found.starts[place]), int(found.starts[place + 1]))
        wanted = _slowly(cast, table.ids[table.starts[dialogue] : table.starts[dialogue + 1]].tolist())
        kinds = table.kinds[table.starts[dialogue] + 1 : table.starts[dialogue + 1]] & ~np.uint8(ASSISTANT)
        for name in models:
            assert found.log_probs[name][mine] == pytest.approx(wanted[name][kinds != MARKER], abs=2e-5)
        assert found.missed["leaky"][mine].tolist() == wanted["missed"][kinds != MARKER].tolist()
        assert found.divergence["leaky"][mine] == pytest.approx(wanted["divergence"][kinds != MARKER], abs=2e-5)


def test_of_no_dialogues_every_model_has_readings_that_hold_nothing(lived_in: House, models: dict[str, Any]) -> None:
    cast = Cast(models, ["public", "tight"], {"leaky": ["public", "leaky"]})
    table, none = lived_in.private, np.zeros(0, np.int64)
    found = end_to_end([read(cast, table, none, CONTEXT), read(cast, table, np.array([3]), CONTEXT)])
    alone = read(cast, table, np.array([3]), CONTEXT)
    assert found.starts.tolist() == alone.starts.tolist()
    assert found.divergence["leaky"].tolist() == alone.divergence["leaky"].tolist()
    assert all(found.log_probs[name].tolist() == alone.log_probs[name].tolist() for name in models)


def test_dialogues_without_an_answer_and_groups_that_are_empty_are_left_out_with_a_sentence(lived_in: House) -> None:
    """Where answers alone are learned from, no model says anything of the others."""
    small = build_llama(Architecture(16, 1, 1, 16, CONTEXT), lived_in.tokenizer, seed=1)
    run = lived_in.run("one-sided", small, small)
    asked = (Turn("user", "hello"),)
    table = write_tokens(
        lived_in.folder / "one-sided-table", lived_in.tokenizer, [asked, (*asked, Turn("assistant", "yes")), asked]
    )
    assert learned_from(table, np.arange(3), "assistant").tolist() == [False, True, False]
    assert learned_from(table, np.arange(3), "all").all()
    groups = [
        Group(MEMBER, table, np.arange(3), np.array([4, 5, 6])),
        Group(HELD_OUT, table, np.array([0, 2]), np.array([7, 8])),
    ]
    plan = replace(run.plan, learning=replace(run.plan.learning, train_on="assistant"))
    trial = controls._judged(replace(run, plan=plan), groups, [], np.zeros(0, np.int64))
    assert [each.part for each in trial.groups] == [MEMBER] and trial.owners.tolist() == [5]
    assert trial.left_out == [
        "Left out: 2 dialogues learned from, with no word learned from.",
        "Left out: 2 dialogues held out, with no word learned from.",
        "Not tried, for there are none: dialogues held out.",
    ]


def test_a_run_with_nobody_to_compare_with_is_not_judged_and_asks_no_model(
    lived_in: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Trial([], [Pairing("nobody", "dialogue", MEMBER, HELD_OUT)], HELD_OUT, np.zeros(0, np.int64), ["None."])
    monkeypatch.setattr(references_of, "trial_of", lambda run, scratch: nobody)
    monkeypatch.setattr(references_of, "_cast", lambda *given: pytest.fail("a model was asked"))
    small = build_llama(Architecture(16, 1, 1, 16, CONTEXT), lived_in.tokenizer, seed=1)
    run = lived_in.run("nobody", small, small)
    part = membership(run, lambda said: None)
    assert part.verdict == Verdict.UNJUDGED and "None." in part.notes


def _slowly(cast: Cast, ids: list[int]) -> dict[str, Any]:
    """Token by token, each window from its own start."""
    found: dict[str, list[float]] = {name: [] for name in (*cast.models, "missed", "divergence")}
    for at in range(1, len(ids)):
        before = torch.tensor([ids[(at - 1) // CONTEXT * CONTEXT : at]])
        with torch.no_grad():
            logs = {name: model(input_ids=before).logits[0, -1].log_softmax(-1) for name, model in cast.models.items()}
        for name, each in logs.items():
            found[name].append(float(each[ids[at]]))
        mean = (logs["public"].exp() + logs["tight"].exp()) / 2
        found["missed"].append(float(int(logs["leaky"].argmax()) != ids[at]))
        found["divergence"].append(float((mean * (mean.log() - logs["leaky"])).sum()))
    return {name: np.array(values) for name, values in found.items()}
