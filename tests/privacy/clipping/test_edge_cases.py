"""What a dialogue at an edge adds to a clipped sum is what the table in DialogueGradients' docstring says of it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from chatfed.privacy.clipping import ClipRule, DialogueGradients

NORM, GAMMA, WIDTH = 0.5, 0.1, 3
Gradient = list[float]


def table() -> dict[tuple[str, str], str]:
    """{(dialogue, style): what it adds} from the docstring's table, columns of several styles apart."""
    lines = inspect.cleandoc(DialogueGradients.__doc__ or "").splitlines()
    first, second, last = (at for at, line in enumerate(lines) if line.startswith("===="))
    edges = [0]
    for rule in lines[first].split()[:-1]:
        edges.append(lines[first].index("=", edges[-1] + len(rule)))
    rows = [
        [line[start:stop].strip() for start, stop in zip(edges, [*edges[1:], None], strict=True)]
        for line in [lines[first + 1], *lines[second + 1 : last]]
    ]
    (_, *heads), *body = rows
    return {
        (dialogue, style): added
        for dialogue, *cells in body
        for head, added in zip(heads, cells, strict=True)
        for style in head.split(", ")
    }


ROWS: dict[str, tuple[list[Gradient], float]] = {  # the dialogue's inputs, which are its gradient, and their weight
    "short": ([[0.1, -0.2, 0.0]], 1.0),
    "long": ([[3.0, 0.0, -4.0], [0.0, 1.0, 0.0]], 1.0),
    "zero": ([[0.0, 0.0, 0.0]], 1.0),
    "infinite": ([[0.1, math.inf, 0.1]], 1.0),
    "not a number": ([[0.1, 0.1, 0.1], [0.0, math.nan, 0.0]], 1.0),
    "beyond 10^30 C": ([[1e31, 0.0, 0.0]], 1.0),
    "masked out": ([[0.1, 0.2, 0.3], [5.0, 0.0, 0.0]], 0.0),
    "without rows": ([], 1.0),
    "in several passes": ([[3.0, 0.0, 0.0]] * 5 + [[0.0, 0.0, 4.0]] * 5, 1.0),  # each pass alone is clipped otherwise
}

ADDS: dict[str, Callable[[Tensor], Tensor]] = {
    "0": torch.zeros_like,
    "g": lambda g: g,
    "C g / |g|": lambda g: NORM * g / g.norm(),
    "C g / (|g| + gamma)": lambda g: NORM * g / (g.norm() + GAMMA),
}


def weighted(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """float[rows]; the gradient for the only weight is a row's input, times the row's weight."""
    found: Tensor = module(batch["x"]).squeeze(-1) * batch["weight"]
    return found


def added(cases: list[str], style: str, way: str, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The clipped sum float32[WIDTH] of the dialogues `cases`."""
    rows = [(row, ROWS[case][1]) for case in cases for row in ROWS[case][0]]
    batch = {
        "x": torch.tensor([row for row, _ in rows]).reshape(len(rows), WIDTH),
        "weight": torch.tensor([weight for _, weight in rows]),
    }
    gradients = DialogueGradients(nn.Linear(WIDTH, 1, bias=False))
    total, rule, bounds = torch.zeros(WIDTH), ClipRule(NORM, style, GAMMA), list[tuple[int, int]]()
    for case in cases:
        start = bounds[-1][1] if bounds else 0
        bounds.append((start, start + len(ROWS[case][0])))
    if way == "alone":
        for first, last in bounds:
            part = {key: value[first:last] for key, value in batch.items()}
            gradients.add_alone(weighted, part, last - first, 2, rule, total)
    else:
        monkeypatch.setattr(gradients, "_overlaps_pay", lambda *_: way == "overlap")
        gradients.add_batch(weighted, batch, bounds, rule, total)
    gradients.close()
    return total


def expected(case: str, style: str) -> Tensor:
    rows, weight = ROWS[case]
    gradient = weight * torch.tensor(rows).reshape(len(rows), WIDTH).sum(0)
    return ADDS[table()[case, style]](gradient)


@pytest.mark.parametrize("way", ["alone", "formed", "overlap"])
@pytest.mark.parametrize(("case", "style"), table())
def test_a_dialogue_at_an_edge_adds_what_the_table_says(
    case: str, style: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = added([case], style, way, monkeypatch)
    torch.testing.assert_close(found, expected(case, style), rtol=1e-5, atol=1e-7)
    assert float(found.double().norm()) <= NORM


@pytest.mark.parametrize("way", ["alone", "formed", "overlap"])
@pytest.mark.parametrize(("case", "style"), table())
def test_it_changes_nothing_of_what_the_others_add(
    case: str, style: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = added(["short", case, "long"], style, way, monkeypatch)
    parts = [expected(each, style) for each in ("short", case, "long")]
    torch.testing.assert_close(found, torch.stack(parts).sum(0), rtol=1e-5, atol=1e-6)


def test_no_dialogues_at_all_add_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for way in ("alone", "formed"):
        assert not added([], "flat", way, monkeypatch).any()


def test_the_table_has_every_edge_that_is_tried_here_in_every_style() -> None:
    assert set(table()) == {(case, style) for case in ROWS for style in ("flat", "per_layer", "automatic")}
