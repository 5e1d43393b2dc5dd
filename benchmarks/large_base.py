"""What a pretrained base costs: a token of a reply, and a private gradient, beside transformers and peft.

Replies: the steps that `Chat` draws with (in bfloat16 where the processor has it, elsewhere with weights of 8 bits), in
float32 as well, and `transformers.generate` in float32; greedy, 64 tokens after 64, on two threads. How much of the
memory's bandwidth that is: the weights' bytes by the seconds of a token, over what a sum of a large array reads.
Agreement: on four answers of `generate`, each token given the text before it. Private: each dialogue's gradient as a
learner computes it by itself, the first time and once its frozen layers' outputs are kept, and a plain training loop of
peft's adapters of the same rank on the same layers, eight dialogues at a time, with its optimizer, neither clipped nor
noised; all on one thread.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks import Row, Times, interleaved, machine, parser, print_table, write_json
from chatfed.command_line import exit_code
from chatfed.model.bases import find_base
from chatfed.model.transformer import load_model, stay_offline

if TYPE_CHECKING:
    from chatfed.model.llama_steps import LlamaSteps, Precision

TOKENS, PROMPT, DIALOGUE, BATCH = 64, 64, 168, 8
BYTES: dict[Precision, int] = {"int8": 1, "bfloat16": 2, "float32": 4}  # of a weight
QUESTIONS = (
    "What is the capital of Italy, and what is it known for?",
    "Write a short story about a cat who learns to sail.",
    "How do I reset my password when I have lost my phone?",
    "Explain to a child how a bicycle stays upright.",
)
LAYERS, SHARE = 8, 0.01  # uppermost, and directions of each matrix's inputs: the recipe's
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def replies(base: str, tokens: int) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """Draws so many tokens, each candidate by itself; and the bytes of the weights that each reads for a token."""
    import torch

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

    made = {f"steps, {precision}": (_steps(model, precision), size) for precision, size in BYTES.items()}
    drawn: dict[str, Callable[[], object]] = {name: partial(ours, steps) for name, (steps, _) in made.items() if steps}
    return {**drawn, "generate, float32": theirs}, {name: size * numbers for name, (_, size) in made.items()}


def _steps(model: Any, precision: Precision) -> LlamaSteps | None:
    """None where the processor has not what they take."""
    from chatfed.model.arithmetic import has_bfloat16, has_int8
    from chatfed.model.llama_steps import llama_steps

    there = {"float32": True, "bfloat16": has_bfloat16(), "int8": has_int8()}
    return llama_steps(model, precision) if there[precision] else None


def agreement(base: str, tokens: int) -> dict[str, dict[str, float]]:
    """Of each precision beside float32: the share of likeliest tokens that are the same, and bits of divergence."""
    model, tokenizer = cast(tuple[Any, Any], load_model(base))
    answers = [_answered(model, tokenizer, question, tokens) for question in QUESTIONS]
    steps = {precision: made for precision in BYTES if (made := _steps(model, precision)) is not None}
    return {precision: _beside(made, answers) for precision, made in steps.items()}


def _answered(model: Any, tokenizer: Any, question: str, tokens: int) -> tuple[Any, Any]:
    """A question with its answer, and the model's logits before each token of that: float32[n, vocabulary]."""
    import torch

    asked = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        text = model.generate(prompt, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
        return text, model(text).logits[0, prompt.shape[1] - 1 : -1]


def _beside(steps: LlamaSteps, answers: list[tuple[Any, Any]]) -> dict[str, float]:
    import torch

    pairs = [(steps.add(steps.begin(1), text, last=False)[0, -len(its) - 1 : -1], its) for text, its in answers]
    same = torch.cat([ours.argmax(-1) == its.argmax(-1) for ours, its in pairs]).float().mean()
    return {"same": float(same), "bits": float(torch.cat([_divergence(its, ours) for ours, its in pairs]).mean())}


def _divergence(right: Any, other: Any) -> Any:
    """Bits at each place."""
    right, other = right.log_softmax(-1), other.log_softmax(-1)
    return (right.exp() * (right - other)).sum(-1) / math.log(2)


def bandwidth() -> Callable[[], object]:
    """Reads 512 MB."""
    import torch

    array = torch.zeros(1 << 27)
    return array.sum


def passes(base: str, folder: Path) -> dict[str, Callable[[], object]]:
    """A batch of dialogues' gradients each: ours one dialogue at a time, peft's in one pass."""
    import torch

    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1000, 2000, (BATCH, DIALOGUE + 1), generator=generator)
    peft = {f"peft, {kind}": _peft(base, ids, kind) for kind in ("bfloat16", "float32")}
    return {"private, read before": _private(base, ids, folder), "private, first time": _private(base, ids), **peft}


def uppermost(layers: int) -> list[str]:
    """What learns in a base of so many layers: the matrices of the LAYERS uppermost, by their names' patterns."""
    return [f"model.layers.{at}.*proj.weight" for at in range(max(0, layers - LAYERS), layers)]


def _private(base: str, ids: Any, kept: Path | None = None) -> Callable[[], object]:
    import torch

    from chatfed.model.arithmetic import has_bfloat16
    from chatfed.model.by_hand import llama_gradient
    from chatfed.model.parameters import set_trainable
    from chatfed.model.subspace import Subspace
    from training.base.frozen import FrozenOutputs

    model, _ = load_model(base)
    set_trainable(model, uppermost(len(model.model.layers)))
    space = Subspace(model, SHARE)
    gradient = llama_gradient(model, has_bfloat16(), space.directions)
    assert gradient is not None, "a plain Llama's"
    gradient.kept = FrozenOutputs(kept, 1 << 28) if kept else None
    out, weights = torch.empty(gradient.size), torch.full((1, DIALOGUE), 1 / DIALOGUE)

    def run() -> None:
        for row in ids:
            gradient({"ids": row[None, :-1], "targets": row[None, 1:], "weights": weights}, out)
            out.mul_(min(1.0, 1.0 / float(out.norm())))

    return run


def _peft(base: str, ids: Any, kind: str) -> Callable[[], object]:
    import torch
    from peft import LoraConfig, get_peft_model

    model: Any = load_model(base)[0]
    below, rank = len(model.model.layers) - LAYERS, round(SHARE * model.config.hidden_size)
    layers = list(range(below, below + LAYERS))
    config = LoraConfig(r=rank, lora_alpha=16, target_modules=list(KINDS), layers_to_transform=layers)
    adapted = get_peft_model(model.to(getattr(torch, kind)), config)
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
    share = {name: weights[name] * median_rate(replied[name], tokens) / rate for name in drawn if name in weights}
    same = agreement(base, tokens)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        passed = interleaved(passes(base, Path(folder)), rounds)
    print(machine("torch", "transformers", "peft"))
    print_table("tokens of a reply a second", "", rows_of(replied, "generate, float32", tokens))
    for name, each in share.items():
        print(f"{name}: {each:.0%} of the memory's bandwidth, {rate / 1e9:.1f} GB a second.")
    for precision, found in same.items():
        print(f"{precision} beside float32: {found['same']:.1%} of likeliest tokens, {found['bits']:.1e} bits apart.")
    for beside in (name for name in passed if name.startswith("peft")):
        print_table("tokens a second, training", f"beside {beside}", rows_of(passed, beside, BATCH * DIALOGUE))
    if given.json:
        figures = {name: median_rate(each, tokens) for name, each in replied.items()}
        trained = {name: median_rate(each, BATCH * DIALOGUE) for name, each in passed.items()}
        write_json(given.json, {"replies": figures, "share": share, "same": same, "training": trained})


if __name__ == "__main__":
    sys.exit(exit_code(main))
