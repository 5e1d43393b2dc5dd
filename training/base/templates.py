"""Dialogues that a base's chat template does not take, told while their file is read. Knows one base's template."""

from __future__ import annotations

import hashlib

from chatfed.data.reading import Refusal
from chatfed.model.template import TemplateError, render, template_of
from chatfed.model.transformer import load_tokenizer
from chatfed.types import Turn


def template_refusal(base: str) -> Refusal:
    """Makes dialogues that the base's chat template does not take bad lines of their file, before anything runs."""
    tokenizer = load_tokenizer(base)

    def reason(turns: tuple[Turn, ...]) -> str:
        try:
            render(tokenizer, turns)
        except TemplateError as error:
            return str(error).rstrip(".")
        return ""

    template = f"{template_of(tokenizer)}{tokenizer.special_tokens_map}"
    return Refusal(reason, hashlib.sha256(template.encode()).hexdigest())
