"""NaN and infinity, wherever they come from: refused by name before anything is charged, never written, never right."""

from __future__ import annotations

import ast
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from chatfed.model.parameters import non_finite
from chatfed.secagg.encoding import FixedPoint, OutOfRange
from chatfed.secagg.messages import ProtocolError
from chatfed.types import ChatfedError, ClientId
from tests.training.federation import WEIGHTS, Federation, a_recipe, names
from tests.training.processes import here, one_line, settings, stored
from training.base.learner import Learner
from training.base.tokens import write_tokens
from training.durable import from_json, to_json
from training.parties.aggregator import NotFinite, apply_update, initial_state
from training.parties.session import Session
from training.plan.plan import learning_of
from training.plan.recipe import FederationSection, Recipe
from training.run.run_folder import RunFolder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatfed.data.helpdesk import HelpdeskCorpus

ROOT = Path(__file__).parents[2]
NAN, INF = float("nan"), float("inf")


# The base


def damaged(base: Path, folder: Path, name: str, value: float, dtype: torch.dtype = torch.float32) -> Path:
    """A copy of `base` with one number of one tensor set to `value`, and all stored as `dtype`."""
    folder.mkdir()
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[-1] = value
    save_file({key: each.to(dtype) for key, each in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


FROZEN, TRAINED = "model.layers.1.input_layernorm.weight", "lm_head.weight"


@pytest.mark.parametrize(
    ("name", "value", "dtype"),
    [
        (FROZEN, NAN, torch.float32),
        (TRAINED, NAN, torch.float32),
        ("model.norm.weight", -INF, torch.float32),
        ("model.layers.0.mlp.down_proj.bias", 7e4, torch.float16),  # more than float16 holds
    ],
)
def test_a_base_with_a_number_that_is_not_finite_is_refused_by_the_name_of_its_tensor(
    tiny_base: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tiny_corpus: HelpdeskCorpus,
    tmp_path: Path,
    name: str,
    value: float,
    dtype: torch.dtype,
) -> None:
    broken = damaged(tiny_base, tmp_path / "base", name, value, dtype)
    turns = [dialogue.messages for dialogue in tiny_corpus.public[:3]]
    write_tokens(tmp_path / "tokens", tiny_tokenizer, turns, {ClientId("a"): np.arange(3)})
    with pytest.raises(ChatfedError, match=f"not finite .* in {name}: nothing can be learned") as caught:
        Learner.open(learning_of(Recipe(), 1.0), str(broken), tmp_path / "tokens", tmp_path / "tokens")
    assert "\n" not in str(caught.value)


def test_a_run_on_such_a_base_ends_at_its_start_in_one_line_and_charges_nobody(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    broken = damaged(tiny_base, tmp_path / "base", FROZEN, NAN)
    done = here(
        *("--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl", "--base", broken),
        *("--rounds", "1", "--cohort", "4", "--out", tmp_path / "out"),
        *settings(runtime__workers=1, runtime__evaluation_dialogues=5, model__context=64),
    )
    one_line(done, FROZEN, code=2)
    assert stored(tmp_path / "out") == [] and not list(tmp_path.rglob("summary.json"))


class Odd(torch.nn.Module):
    """Tensors of every kind that a model may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 3))
        self.empty = torch.nn.Parameter(torch.zeros(0, 4))
        self.short = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
        self.register_buffer("mask", torch.tensor([0.0, -INF]))
        self.register_buffer("steps", torch.tensor([1, 2]))
        self.register_buffer("scale", torch.ones(2), persistent=False)


def test_masks_empty_tensors_and_whole_numbers_are_no_fault() -> None:
    assert non_finite(Odd()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("weight", NAN), ("weight", -INF), ("short", 7e4), ("scale", INF), ("scale", NAN), ("mask", NAN), ("mask", INF)],
)
def test_every_kind_of_tensor_is_looked_at(name: str, value: float) -> None:
    module = Odd()
    with torch.no_grad():
        getattr(module, name).view(-1)[0] = value
    assert non_finite(module) == [name]


# A round


@pytest.mark.parametrize("optimizer", ["fedavg", "fedadam"])
@pytest.mark.parametrize(
    ("mean", "what"),
    [([NAN, 0.0], "mean of the clients' updates"), ([0.0, INF], "mean"), ([3e38, 0.0], "global model's")],
)
def test_a_round_that_makes_no_model_gives_no_state_to_go_on_with(
    optimizer: str, mean: list[float], what: str, recwarn: pytest.WarningsRecorder
) -> None:
    state = initial_state(np.full(2, 3e38, np.float32))
    section = FederationSection(server_optimizer=optimizer, server_learning_rate=2.0)
    with pytest.raises(NotFinite, match=f"Round 1 made 1 of 2 numbers in .*{what}.* not finite") as caught:
        apply_update(state, np.array(mean, np.float32), section)
    assert "\n" not in str(caught.value) and "server_learning_rate = 2" in str(caught.value)
    assert state.round == 0 and np.isfinite(state.weights).all() and not recwarn.list


def test_a_client_sent_such_a_model_learns_nothing_and_charges_nothing_and_says_why(tmp_path: Path) -> None:
    federation = Federation(tmp_path, a_recipe(), names(5))
    sent = replace(federation.session(), weights=np.where(np.arange(7) == 3, np.float32(NAN), WEIGHTS))
    with pytest.raises(ProtocolError):
        federation.run(sent)
    assert set(federation.refusals) == set(federation.clients)
    for name in federation.clients:
        assert "1 of 7 numbers are not finite" in federation.refusals[name]
        assert "nothing is charged" in federation.refusals[name] and "\n" not in federation.refusals[name]
        assert federation.learners[name].calls == 0 and federation.charges(name) == 0


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_no_session_with_such_weights_is_read(value: float) -> None:
    weights = np.array([0.0, value], np.float32)
    session = Session(b"r" * 16, b"a" * 16, 0, b"d" * 32, (ClientId("a"), ClientId("b")), weights)
    with pytest.raises(ProtocolError, match="not finite"):
        Session.from_bytes(session.to_bytes())


def test_an_update_that_is_not_finite_is_called_that_and_not_too_long() -> None:
    with pytest.raises(OutOfRange, match=r"not finite.*smaller learning rate"):
        FixedPoint(1.0, 2, 3).encode(np.array([NAN, 0.0], np.float32), 1.0, os.urandom)
    with pytest.raises(OutOfRange, match=r"norm inf is over 1\.0"):
        FixedPoint(1.0, 2, 3).encode(np.array([3e38, 0.0], np.float32), 1.0, os.urandom)


def test_a_checkpoint_with_such_weights_is_not_gone_on_with(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoint(initial_state(np.array([1.0, NAN], np.float32)), {}, [], b"")
    with pytest.raises(ChatfedError, match=r"not finite.*start a new run"):
        folder.latest()


# JSON


def test_a_figure_that_is_not_finite_is_named_and_not_written(tmp_path: Path) -> None:
    rows = [{"round": 1, "top1": 0.5}, {"round": 2, "found": {"top1": [0.1, NAN]}}]
    with pytest.raises(ChatfedError, match=r"^1\.found\.top1\.1 is not finite"):
        to_json(rows)
    with pytest.raises(ChatfedError, match="perplexity"):
        RunFolder(tmp_path).write_json("summary.json", {"after": {"perplexity": INF}})
    with pytest.raises(ChatfedError, match="top1"):
        RunFolder(tmp_path).write_metrics([{"top1": -INF}])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["NaN", '{"a": [1, -Infinity]}', '{"a": Infinity}'])
def test_what_is_no_json_is_not_read(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no JSON number"):
        from_json(text)
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ValueError, match="is no JSON number"):
        RunFolder(tmp_path).read_json("summary.json")


def test_json_that_is_written_reads_back_the_same() -> None:
    content = {"a": [1, 2.5, None, True, "é"], "b": {"c": 1e308}}
    assert from_json(to_json(content)) == content == json.loads(to_json(content, indent=2))
    assert math.isfinite(from_json("1e308"))


def test_no_part_of_the_product_writes_json_that_may_hold_nan() -> None:
    """Each call that writes JSON says `allow_nan=False`."""
    lax = []
    for path in (
        path for room in ("chatfed", "training", "serving", "benchmarks") for path in (ROOT / room).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump"):
                strict = any(each.arg == "allow_nan" and ast.unparse(each.value) == "False" for each in node.keywords)
                lax += [] if strict else [f"{path.relative_to(ROOT)}:{node.lineno}"]
    assert lax == []
