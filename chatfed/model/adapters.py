"""Low-rank adapters on a frozen base (LoRA, Hu et al. 2021), by peft: put on, saved in peft's form, loaded for a chat.

Knows no training. The base's own layers stay as they are; each chosen one gets two small matrices beside it, whose
product, times alpha / rank, is added to what it gives.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatfed.model.checkpoint import new_folder, weights_file
from chatfed.model.refusals import ModelError
from chatfed.model.transformer import empty_twin, load_model, load_tokenizer, refuse_sizes, skeleton

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

ALL_LINEAR = "all-linear"
SEED = 1  # of the first matrices: public, and the same for everybody


@dataclass(frozen=True)
class Adapters:
    """Sizes and places."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = ()  # ends of layers' names; or "all-linear" alone; empty: peft's choice for the kind


def attach(model: PreTrainedModel, adapters: Adapters) -> PeftModel:
    """Puts adapters into `model`, in place; what comes back is peft's cover of the same model, for `save_adapters`.

    From then on they alone are trainable, and it answers as before until they are trained. First matrices are drawn
    from a public seed, second ones are 0 (section 4.1). Raises ModelError when a target is no layer of the model or
    of a kind that takes no adapter, and for a kind of model for which peft has no choice.
    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    targets: Any = ALL_LINEAR if adapters.targets == (ALL_LINEAR,) else list(adapters.targets) or None
    alpha: Any = adapters.alpha  # peft multiplies by it; that it says int is a habit
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM, r=adapters.rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets
    )
    _refuse_unknown(model, adapters.targets)
    with torch.random.fork_rng(devices=[]), _without_advice():
        torch.manual_seed(SEED)
        try:
            made = get_peft_model(model, config)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"No adapters can be put on a model of kind {model.config.model_type}: {reason}. {_mend(model)}",
                param="model.lora_targets",
            ) from None
    return made


def check_adapters(adapters: Adapters, base: str, layers: int) -> None:
    """Raises, before anything is trained, what `attach` would. No weights are loaded.

    For the kind of model in `base`, or, where that is empty, for the small Llama of so many layers.
    """
    import torch

    model = skeleton(base, layers)
    with torch.device("meta"):
        attach(model, adapters)


def _refuse_unknown(model: PreTrainedModel, targets: tuple[str, ...]) -> None:
    names = [name for name, _ in model.named_modules()]
    for target in targets:
        if targets != (ALL_LINEAR,) and not any(f".{name}".endswith(f".{target}") for name in names):
            raise ModelError(
                f"model.lora_targets: {target!r} is no layer of this model. {_mend(model)}", param="model.lora_targets"
            )


def _mend(model: PreTrainedModel) -> str:
    """Names that model.lora_targets may have, each tried: peft refuses some layers of some kinds (Mamba's output)."""
    from torch import nn

    untyped: Any = model
    head = untyped.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, layer in model.named_modules()
        if layer is not head and (isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D")
    }
    taken = [name for name in sorted(linear) if _takes(model, [name])]
    every = [f'["{ALL_LINEAR}"]'] if _takes(model, ALL_LINEAR) else []
    return f"Give model.lora_targets some of {', '.join(taken)}{', or '.join(['', *every])}."


def _takes(model: PreTrainedModel, targets: Any) -> bool:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    with torch.device("meta"), _without_advice():
        try:
            get_peft_model(empty_twin(model), LoraConfig(task_type=TaskType.CAUSAL_LM, r=1, target_modules=targets))
        except ValueError:
            return False
    return True


def save_adapters(folder: Path, adapted: PeftModel, tokenizer: PreTrainedTokenizerFast, card: str, base: str) -> None:
    """Writes a plain peft folder: adapters alone, tokenizer, and the model card `card` (markdown).

    `base`, a folder or a hub name, stands in it as the model that they belong to.
    """
    adapted.peft_config["default"].base_model_name_or_path = base
    with new_folder(folder, tokenizer, card) as scratch, _without_advice():
        adapted.save_pretrained(str(scratch), save_embedding_layers=False)  # "auto" would ask the hub about the base


def base_of(folder: Path) -> str:
    """The base that the adapters in `folder` belong to, folder or hub name.

    A folder that is gone, as when a run was moved, is looked for in `reference/` beside. Raises ModelError.
    """
    path = folder / "adapter_config.json"
    try:
        named = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        named = None
    if not isinstance(named, str) or not named:
        raise ModelError(
            f"{path} cannot be read or names no base model (base_model_name_or_path); restore it.", param=str(path)
        )
    if not Path(named).is_absolute() or Path(named).is_dir():
        return named
    beside = folder.resolve().parent / "reference"
    if not (beside / "config.json").is_file():
        raise ModelError(
            f"{folder} holds adapters for {named}, which is not there: bring it back, or to {beside}.",
            param=str(folder),
        )
    return str(beside)


def base_folder(folder: Path) -> Path | None:
    """Where on this machine that base lies, in the hub's cache too; None when it would have to be fetched."""
    base = base_of(folder)
    if Path(base).is_dir():
        return Path(base)
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(base, "config.json")
    except ValueError:  # no name that a hub could know
        return None
    return Path(found).parent if isinstance(found, str) else None


def load_adapted(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The base with the adapters in `folder` on it, and the tokenizer beside them. Raises ModelError."""
    base = base_of(folder)
    if not weights_file(folder).is_file():  # peft would take a pickle in its place, or ask the hub
        raise ModelError(
            f"There is no {weights_file(folder)}; restore it, or save the adapters as safetensors.", param=str(folder)
        )
    model, _ = load_model(base)
    from peft import PeftModel

    with _without_advice():
        try:
            adapted = PeftModel.from_pretrained(model, str(folder)).eval()
            _refuse_missing(adapted, weights_file(folder))
        except Exception as error:  # safetensors, torch and peft raise types of their own
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(f"The adapters in {folder} cannot be put on {base}: {reason}", param=str(folder)) from None
    tokenizer = load_tokenizer(folder, needs_model=False)
    refuse_sizes(model, tokenizer, folder)
    return model, tokenizer


def _refuse_missing(adapted: PeftModel, file: Path) -> None:
    """Peft fills in what a file lacks and passes over what it cannot place, with a warning."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    if adapted.peft_config["default"].is_prompt_learning:
        raise ValueError("they are prompts, no adapters in layers")
    with safe_open(str(file), "pt") as stored:
        names = set(stored.keys())
    wanted = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    odd = sorted((wanted - names) | {name for name in names - wanted if "lora_" in name})
    if odd:
        raise ValueError(f"{len(odd)} tensors are in one of both only, {odd[0]} among them; is it another base's?")


@contextmanager
def _without_advice() -> Iterator[None]:
    """Peft warns of layers of GPT-2 that it then treats rightly, and of transformers' older names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
