"""Next words as a keyboard shows them: a beam over spellings. Knows a model and the letters of its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from chatfed.model.decoding import Decoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LONGEST_WORD = 5  # tokens of a suggested word
_BEAM = 12  # words whose spelling is followed at once
_PUNCTUATION = tuple(".,!?;:)\"'")


class NextWords:
    """What a model makes of the next word."""

    def __init__(self, decoder: Decoder, tokenizer: PreTrainedTokenizerFast, ends: set[int]) -> None:
        self._decoder, self._tokenizer, self._ends = decoder, tokenizer, ends
        self._spelling = self._spelt()

    @torch.inference_mode()
    def after(self, ids: list[int], half: str) -> dict[str, float]:
        """Words that may follow `ids` and start with `half`, with their probabilities (a beam over spellings)."""
        opens, goes_on, ends_word, texts = self._spelling
        found: dict[str, float] = {}
        beam: list[tuple[float, str, list[int]]] = [(1.0, "", [])]
        prefix = self._decoder.text()
        first = prefix.add(ids)[None]
        logits_after = self._decoder.after(prefix)
        for length in range(LONGEST_WORD + 1):
            logits = logits_after([tokens for _, _, tokens in beam]) if length else first
            probabilities = torch.softmax(logits, dim=-1)
            grown: list[tuple[float, str, list[int]]] = []
            for (likely, word, tokens), row in zip(beam, probabilities, strict=True):
                if word.startswith(half) and word:
                    found[word] = found.get(word, 0.0) + likely * float(row[ends_word].sum())
                most = min(4 * _BEAM if not half else 256, len(row))
                values, indices = torch.where(goes_on if length else opens, row, 0.0).topk(most)
                for value, index in zip(values.tolist(), indices.tolist(), strict=True):
                    spelt = word + texts[index] if value > 0 else ""
                    if value > 0 and (spelt.startswith(half) or half.startswith(spelt)):
                        grown.append((likely * value, spelt, [*tokens, index]))
            beam = sorted(grown, key=lambda item: -item[0])[:_BEAM]
            if not beam:
                break
        return {word: p for word, p in found.items() if p > 0}

    def _spelt(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
        """Per token: does it open a word, go on with one, or end one; and its letters.

        A word ends with a space, a mark or a message's end.
        """
        special = set(self._tokenizer.all_special_ids) | self._ends
        size = int(self._decoder.model.config.vocab_size)
        texts, opens, goes_on, ends = [], [], [], []
        for index, token in enumerate(
            self._tokenizer.convert_ids_to_tokens(list(range(min(size, len(self._tokenizer)))))
        ):
            leads = token.startswith(("Ġ", "▁"))
            text = str(self._tokenizer.convert_tokens_to_string([token])).removeprefix(" ")
            spells = index not in special and bool(text) and all(c.isalnum() or c in "'-" for c in text)
            texts.append(text)
            opens.append(leads and (spells or (index not in special and not text)))  # or a space, spelt out after it
            goes_on.append(not leads and spells)
            ends.append(leads or index in special or text.startswith(_PUNCTUATION) or text[:1].isspace())
        pad = [False] * (size - len(texts))
        flags = [torch.tensor(flag + pad) for flag in (opens, goes_on, ends)]
        return flags[0], flags[1], flags[2], texts
