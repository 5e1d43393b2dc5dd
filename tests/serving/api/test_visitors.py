"""What a visitor's settings become: the same request the same reply, and no search for a probability."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chatfed import Chat, Generation, Turn
from serving.api import visitors
from serving.api.requests import Sampling
from serving.api.visitors import coarse, mixed
from tests.serving.api.running import Running

PATH = "/v1/chat/completions"
ASKED = Sampling(most=1, temperature=1.0, top_p=0.5, repetition_penalty=1.0, seed=7)


def said(server: Running, key: str | None, **more: Any) -> str:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, "temperature": 1}
    answer = server.json(PATH, body | {"seed": 7} | more, *([] if key else [None]))
    return str(answer["choices"][0]["message"]["content"])


def test_settings_are_coarse_and_never_none() -> None:
    fine = replace(ASKED, temperature=0.71, top_p=0.001, repetition_penalty=0.01)
    found = coarse(fine)
    assert (found.temperature, found.top_p, found.repetition_penalty) == (0.7, 0.05, 0.05)
    assert coarse(ASKED) == ASKED
    Generation(top_p=found.top_p, repetition_penalty=found.repetition_penalty)


def test_each_setting_and_the_prompt_move_the_draw_and_the_same_request_keeps_it() -> None:
    moved = [
        mixed(ASKED, [1, 2]), mixed(ASKED, [1, 3]), mixed(replace(ASKED, top_p=0.55), [1, 2]),
        mixed(replace(ASKED, temperature=0.95), [1, 2]), mixed(replace(ASKED, repetition_penalty=1.05), [1, 2]),
        mixed(replace(ASKED, seed=8), [1, 2]),
    ]  # fmt: skip
    assert len({each.seed for each in moved} | {ASKED.seed}) == len(moved) + 1
    assert mixed(ASKED, [1, 2]) == moved[0] and mixed(replace(ASKED, seed=None), [1]).seed is None


def test_another_process_draws_otherwise() -> None:
    before = mixed(ASKED, [1])
    visitors._secret.cache_clear()
    assert mixed(ASKED, [1]).seed != before.seed


def test_a_bound_that_closes_in_on_a_probability_stops_at_the_grid(api_server: Running) -> None:
    low, high = 0.476, 0.524
    found = {said(api_server, None, top_p=low + (high - low) * step / 7) for step in range(8)}
    assert len(found) == 1, "a visitor may tell bounds apart that are closer than the grid"


def test_the_operators_seed_is_the_models_and_a_visitors_is_not(api_server: Running, wide_chat: Chat) -> None:
    own = wide_chat.reply([Turn("user", "hi")], Generation(max_new_tokens=8, temperature=1.0, top_p=1.0, seed=7))
    assert said(api_server, "operator") == own
    seen = {said(api_server, None) for _ in range(3)}
    assert len(seen) == 1 and seen != {own}
