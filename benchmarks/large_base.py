"""What a pretrained base costs: a token of a reply, and a private gradient, beside transformers and peft.

Replies: the steps that `Chat` draws with, in bfloat16 and in float32, and `transformers.generate` in float32; greedy,
64 tokens after 64, on two threads. How much of the memory's bandwidth that is: the weights' bytes by the seconds of a
token, over what a sum of a large array reads. Private: each dialogue's gradient as a learner computes it by itself, and
a plain training loop of peft's adapters of the same rank on the same layers, in bfloat16, eight dialogues at a time,
with its optimizer, neither clipped nor noised; both on one thread.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import Row, Times, interleaved, machine, parser, print_table, write_json
from chatfed.command_line import exit_code
from chatfed.model.bases import find_base
from chatfed.model.transformer import load_model, stay_offline

TOKENS, PROMPT, DIALOGUE, BATCH = 64, 64, 168, 8
LAYERS, SHARE = 8, 0.01  # uppermost, and directions of each matrix's inputs: the recipe's
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def replies(base: str, tokens: int) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """Draws so many tokens, each candidate by itself; and the bytes of the weights that each reads for a token."""
    import torch

    from chatfed.model.llama_steps import LlamaSteps, llama_steps

    model: Any = load_model(base)[0]
    prompt = torch.randint(1000, 2000, (1, PROMPT), generator=torch.Generator().manual_seed(1))
    numbers = sum(p.numel() for p in model.parameters())

    def ours(steps: LlamaSteps) -> None:
        cache = steps.begin(1)
        token = steps.add(cache, prompt).argmax(-1, keepdim=True)
        for _ in range(tokens - 1):
            token = steps.add(cache, token).argmax(-1, keepdim=True)

    def theirs() -> None:
        with torch.inference_mode():
            model.generate(prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)

    made = {name: llama_steps(model, lower) for name, lower in (("steps, bfloat16", True), ("steps, float32", False))}
    drawn: dict[str, Callable[[], object]] = {name: partial(ours, steps) for name, steps in made.items() if steps}
    return {**drawn, "generate, float32": theirs}, {"steps, bfloat16": 2 * numbers, "steps, float32": 4 * numbers}


def agreement(base: str, tokens: int) -> float:
    """Share of places at which bfloat16 has float32's likeliest token, each given the same text before it."""
    import torch

    from chatfed.model.llama_steps import llama_steps

    model: Any = load_model(base)[0]
    prompt = torch.randint(1000, 2000, (4, PROMPT), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        text = model.generate(prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)
    said = [
        steps.add(steps.begin(4), text, last=False)[:, PROMPT - 1 :].argmax(-1) for steps in _both(model, llama_steps)
    ]
    return float((said[0] == said[1]).float().mean())


def _both(model: Any, steps: Any) -> list[Any]:
    return [steps(model, lower) for lower in (True, False)]


def bandwidth() -> Callable[[], object]:
    """Reads 512 MB."""
    import torch

    array = torch.zeros(1 << 27)
    return array.sum


def passes(base: str) -> dict[str, Callable[[], object]]:
    """A batch of dialogues' gradients each: ours one dialogue at a time, peft's in one pass, bfloat16 both."""
    import torch

    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1000, 2000, (BATCH, DIALOGUE + 1), generator=generator)
    return {"private, by hand": _private(base, ids), "peft, not private": _peft(base, ids)}


def _private(base: str, ids: Any) -> Callable[[], object]:
    import torch

    from chatfed.model.by_hand import llama_gradient
    from chatfed.model.parameters import set_trainable
    from chatfed.model.subspace import Subspace

    model, _ = load_model(base)
    below = len(model.model.layers) - LAYERS
    set_trainable(model, [f"model.layers.{i}.*proj.weight" for i in range(below, below + LAYERS)])
    space = Subspace(model, SHARE)
    gradient = llama_gradient(model, lower=True, directions=space.directions)
    assert gradient is not None, "a plain Llama's"
    out, weights = torch.empty(gradient.size), torch.full((1, DIALOGUE), 1 / DIALOGUE)

    def run() -> None:
        for row in ids:
            gradient({"ids": row[None, :-1], "targets": row[None, 1:], "weights": weights}, out)
            out.mul_(min(1.0, 1.0 / float(out.norm())))

    return run


def _peft(base: str, ids: Any) -> Callable[[], object]:
    import torch
    from peft import LoraConfig, get_peft_model

    model: Any = load_model(base)[0]
    below, rank = len(model.model.layers) - LAYERS, round(SHARE * model.config.hidden_size)
    layers = list(range(below, below + LAYERS))
    config = LoraConfig(r=rank, lora_alpha=16, target_modules=list(KINDS), layers_to_transform=layers)
    adapted = get_peft_model(model.to(torch.bfloat16), config)
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], 1e-4)

    def run() -> None:
        optimizer.zero_grad()
        adapted(input_ids=ids[:, :-1], labels=ids[:, :-1]).loss.backward()
        optimizer.step()

    return run


def rows_of(times: dict[str, Times], beside: str, tokens: int) -> list[Row]:
    """Tokens a second of wall time, each beside `beside`."""
    its = median_rate(times[beside], tokens)
    return [
        (name, f"{median_rate(each, tokens):.1f}", f"{its:.1f}", f"{1 / each.wall_over(times[beside]):.2f}")
        for name, each in times.items()
        if name != beside
    ]


def median_rate(times: Times, tokens: int) -> float:
    """Tokens a second of wall time."""
    return tokens / sorted(times.wall)[len(times.wall) // 2]


def main(argv: list[str] | None = None) -> None:
    """Runs the comparison."""
    options = parser("large_base", re.split(r"\n\s*\n", __doc__ or "")[0])
    options.add_argument(
        "--base", default="smollm2", help="a folder, or a base that was got by name (default: smollm2)"
    )
    given = options.parse_args(argv)
    stay_offline()
    import torch

    base, rounds, tokens = find_base(given.base), 1 if given.quick else 5, 8 if given.quick else TOKENS
    torch.set_num_threads(2)
    drawn, weights = replies(base, tokens)
    replied = interleaved({**drawn, "memory": bandwidth()}, rounds)
    rate = (1 << 29) / sorted(replied.pop("memory").wall)[rounds // 2]
    share = {name: weights[name] * median_rate(replied[name], tokens) / rate for name in weights}
    same = agreement(base, tokens)
    torch.set_num_threads(1)
    passed = interleaved(passes(base), rounds)
    print(machine("torch", "transformers", "peft"))
    print_table("tokens of a reply a second", "", rows_of(replied, "generate, float32", tokens))
    for name, each in share.items():
        print(f"{name}: {each:.0%} of the memory's bandwidth, {rate / 1e9:.1f} GB a second.")
    print(f"Likeliest tokens that are the same in bfloat16 and float32: {same:.1%}.")
    print_table("tokens a second, training", "", rows_of(passed, "peft, not private", BATCH * DIALOGUE))
    if given.json:
        figures = {name: median_rate(each, tokens) for name, each in replied.items()}
        trained = {name: median_rate(each, BATCH * DIALOGUE) for name, each in passed.items()}
        write_json(given.json, {"replies": figures, "share": share, "same": same, "training": trained})


if __name__ == "__main__":
    sys.exit(exit_code(main))
