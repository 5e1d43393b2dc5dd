"""Weights that another machine sends for a base that is here: looked at, then kept as a model folder. Runs nothing."""

from __future__ import annotations

from pathlib import Path

from chatfed.model.checkpoint import save_model
from chatfed.model.refusals import ModelError
from chatfed.model.transformer import load_model, untie_output


def keep_received(base: str | Path, weights: bytes, folder: Path, card: str) -> None:
    """Writes the model of `base` with other weights (a safetensors file's bytes) as a folder, whole or not at all.

    An output layer of its own may be among them. Nothing but numbers is taken: the model's kind, its tokenizer and its
    template are the base's. Raises ModelError where names, sizes or types are not the base's, or a number is not
    finite.
    """
    import safetensors.torch
    import torch

    model, tokenizer = load_model(base)
    try:
        given = safetensors.torch.load(weights)
    except Exception as error:  # whatever its reader meets in bytes that another machine made up
        raise ModelError("The weights that were received are no safetensors file.") from error
    if "lm_head.weight" in given and "lm_head.weight" not in dict(model.named_parameters()):
        untie_output(model)
    known = dict(model.named_parameters())
    unlike = [name for name, own in known.items() if name not in given or given[name].shape != own.shape]
    if unlike or len(given) != len(known):
        raise ModelError(f"The weights that were received are not of the base {base} ({[*unlike, *given][0]}).")
    taken = {name: given[name].to(own.dtype) for name, own in known.items()}  # where a larger type's may be infinite
    if not all(given[name].is_floating_point() and bool(torch.isfinite(each).all()) for name, each in taken.items()):
        raise ModelError("The weights that were received are not finite numbers.")
    with torch.no_grad():
        for name, own in known.items():
            own.copy_(taken[name])
    save_model(folder, model, tokenizer, card)
