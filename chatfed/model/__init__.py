"""Chat models as transformers has them: tokens, templates, weights as one vector, folders, adapters, decoding.

Knows no training, no data and no privacy. torch and transformers are loaded by the functions that need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Adapters",
    "Architecture",
    "Check",
    "Decoder",
    "Encoded",
    "TemplateError",
    "Text",
    "attach",
    "build_llama",
    "check_adapters",
    "check_base",
    "dimension",
    "encode_dialogues",
    "encode_prompt",
    "flatten",
    "holds_adapters",
    "llama_gradient",
    "load_adapted",
    "load_flat",
    "load_model",
    "load_tokenizer",
    "refuse_non_finite",
    "refuse_unfit",
    "render",
    "save_adapters",
    "save_model",
    "set_trainable",
    "stay_offline",
    "template_of",
    "train_tokenizer",
    "turn_end_ids",
    "untie_output",
    "weights_digest",
    "weights_file",
    "word_spans",
]

if TYPE_CHECKING:
    from chatfed.model.adapters import Adapters, attach, check_adapters, load_adapted, save_adapters
    from chatfed.model.by_hand import llama_gradient
    from chatfed.model.checkpoint import holds_adapters, save_model, weights_digest, weights_file
    from chatfed.model.decoding import Decoder, Text
    from chatfed.model.examination import Check, check_base, refuse_unfit
    from chatfed.model.parameters import dimension, flatten, load_flat, refuse_non_finite, set_trainable
    from chatfed.model.template import TemplateError, render, template_of
    from chatfed.model.tokenizer import (
        Encoded,
        encode_dialogues,
        encode_prompt,
        train_tokenizer,
        turn_end_ids,
        word_spans,
    )
    from chatfed.model.transformer import (
        Architecture,
        build_llama,
        load_model,
        load_tokenizer,
        stay_offline,
        untie_output,
    )
else:
    from chatfed.lazy import loading

    __getattr__, __dir__ = loading(
        __name__,
        {
            "adapters": "Adapters attach check_adapters load_adapted save_adapters",
            "by_hand": "llama_gradient",
            "checkpoint": "holds_adapters save_model weights_digest weights_file",
            "decoding": "Decoder Text",
            "examination": "Check check_base refuse_unfit",
            "parameters": "dimension flatten load_flat refuse_non_finite set_trainable",
            "template": "TemplateError render template_of",
            "tokenizer": "Encoded encode_dialogues encode_prompt train_tokenizer turn_end_ids word_spans",
            "transformer": "Architecture build_llama load_model load_tokenizer stay_offline untie_output",
        },
    )
