"""Tokenizers and chat templates of the kinds that other people's bases bring, trained on a few words."""

from __future__ import annotations

import json
from typing import Any

TEXTS = [
    "hello there my laptop will not start, we have 5 left. Try again, please! Is it on?\n\nfirst line\nsecond line",
    "System: be kind\nUser: hi\nAssistant: sure. I think so. [INST] [/INST] ### Response:",
] * 3
MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"]
KINDS = ("byte-level", "regex", "metaspace", "legacy", "unigram")

_CHATML = "{{ '<|im_start|>' + m['role'] + '\n' + m['content']"
_OPENS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
_EACH, _DONE = "{% for m in messages %}", "{% endfor %}"
TEMPLATES = {
    "chatml": _EACH + _CHATML + " + '<|im_end|>\n' }}" + _DONE + _OPENS,
    "trimmed": "{{ bos_token }}{% for m in messages %}"
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "llama2": "{% set rest = messages %}{% set system = false %}{% if messages[0]['role'] == 'system' %}"
    "{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% endif %}{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% set content = m['content'] %}{% if loop.index0 == 0 and system %}"
    "{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + content %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "line before the marker": _EACH + _CHATML + " + '\n<|im_end|>' }}" + _DONE + _OPENS,
    "blank line": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
    "left open": _EACH
    + _CHATML
    + " }}{% if not loop.last or m['role'] != 'assistant' %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}" + _OPENS,
    "response": "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ '### Response:\n' + m['content'] + eos_token + '\n\n' }}"
    "{% else %}{{ '### ' + m['role'] + ':\n' + m['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}",
    "thinking": "{% for m in messages %}{% set content = m['content'] %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% set reasoning = '' %}{% if '</think>' in content %}"
    "{% set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.last %}{{ '<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}"
    "{% else %}{{ content }}{% endif %}{% else %}{{ content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}" + _OPENS,
}


def trained(kind: str, template: str | None = None, texts: list[str] | None = None, special: bool = True) -> Any:
    """A fast tokenizer of that kind with the markers above, and a token put before every text where it is bare."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from tokenizers.pre_tokenizers import ByteLevel, Metaspace
    from transformers import PreTrainedTokenizerFast

    bytewise = kind in ("byte-level", "regex")
    if kind == "unigram":
        made = Tokenizer(models.Unigram())
        trainer: Any = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=["<unk>", *MARKS], unk_token="<unk>", show_progress=False
        )
    else:
        made = Tokenizer(models.BPE(byte_fallback=not bytewise, unk_token=None if bytewise else "<unk>"))
        alphabet = ByteLevel.alphabet() if bytewise else [chr(i) for i in range(32, 127)]
        tokens = ["<unk>", *MARKS, *([] if bytewise else [f"<0x{i:02X}>" for i in range(256)])]
        trainer = trainers.BpeTrainer(
            vocab_size=900, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False
        )
    if kind == "byte-level":
        made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    elif kind == "regex":  # marks take the line ends behind them, as in Llama 3 and Qwen
        from tokenizers import Regex

        split = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+| ?\p{L}+|\p{N}|\s+"
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(split), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    else:
        made.pre_tokenizer = Metaspace(prepend_scheme="first")
    made.decoder = (
        decoders.ByteLevel()
        if bytewise
        else decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    )
    given = texts or TEXTS
    if not bytewise:  # SentencePiece joins nothing across the end of a line
        given = [line for text in given for line in text.splitlines()]
    made.train_from_iterator(given, trainer)
    if kind in ("metaspace", "legacy"):
        made = _as_llama(made, kind == "legacy")
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    fast: Any = PreTrainedTokenizerFast
    described = Tokenizer.from_str(made.to_str())
    described.add_special_tokens([AddedToken(mark, special=special, normalized=False) for mark in MARKS])
    tokenizer = fast(tokenizer_object=described, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = template
    return tokenizer


def _as_llama(made: Any, legacy: bool) -> Any:
    """Bytes are pieces of the vocabulary and no added tokens; in the older form a normalizer puts the first space."""
    from tokenizers import Tokenizer, normalizers

    described = json.loads(made.to_str())
    described["added_tokens"] = [t for t in described["added_tokens"] if not t["content"].startswith("<0x")]
    if legacy:
        described["pre_tokenizer"] = None
    found: Any = Tokenizer.from_str(json.dumps(described))
    if legacy:
        found.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return found
