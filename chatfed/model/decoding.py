"""A causal model token by token: with a key-value cache where that gives what the whole text gives, without otherwise.

Which cache a model takes, and whether it takes several tokens at once behind one, is tried once on a short text. Only
the logits that are asked for are made. Knows no text and no template.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatfed.model.arithmetic import has_bfloat16, has_int8
from chatfed.model.by_hand import plain_llama
from chatfed.model.llama_rows import LlamaRows
from chatfed.model.llama_small import small_steps
from chatfed.model.llama_steps import LlamaSteps, Precision, llama_steps
from chatfed.model.refusals import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CLOSE = 1e-3  # of the spread of a position's logits: two ways of computing the same differ by less
NEAR = 5e-2  # and in bfloat16, or with weights of 8 bits
_CACHES = ("cache", "past_key_values", "cache_params", "state", "past_buckets_states")  # what models call theirs
_LOGITS_AT_ONCE = 1 << 22  # float32: 16 MiB, and a few times that while they turn into probabilities
_ROWS_BYTES = 1 << 26  # of caches that continuations of one prefix hold at a time
_LARGE = 1 << 25  # parameters, above which reading weights is what a token costs
# Up to which calling torch is: numpy is quicker by 1.6 and 1.4 (of 1 and 16 rows) at 1.3 M, by 1.2 and 1.4 at 5.8 M, by
_SMALL = 1 << 23  # 1.0 and 1.1 at 12.5 M and 19 M (processor time side by side, two cores of a Xeon with AVX-512)
_LAST_ONLY: ContextVar[bool] = ContextVar("last_only", default=False)


class Decoder:
    """One model and the way in which it is asked. Safe to use from several threads."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._arguments = set(inspect.signature(model.forward).parameters)
        if "logits_to_keep" not in self._arguments:
            _cut_before_head(model)
        self._packing = Lock()
        self._steps: tuple[object, LlamaSteps | None] | None = None  # with the weights that they are of
        self.way, self.in_chunks = self._choose()

    def text(self) -> Text:
        """An empty text that grows."""
        return Text(self)

    def drawn(self, rows: int = 1) -> Drawn:
        """So many empty texts of one length that grow by what is drawn, as quickly as this model can be asked.

        A large plain Llama then computes in bfloat16 where the processor has it, and elsewhere with weights of 8 bits
        (AVX2): its logits are off by about a hundredth of their spread. For replies, not for scores.
        """
        return Drawn(self, rows)

    @property
    def steps(self) -> LlamaSteps | None:
        """The model's quick steps, tried on a short text and made anew when its weights change; None: it has none."""
        if not plain_llama(self.model):  # or it has a hook by now
            return None
        weights = tuple((p.data_ptr(), p._version) for p in self.model.parameters())
        with self._packing:
            if self._steps is None or self._steps[0] != weights:
                self._steps = weights, self._packed()
            return self._steps[1]

    def _packed(self) -> LlamaSteps | None:
        size = sum(p.numel() for p in self.model.parameters())
        ways: list[tuple[Callable[[], LlamaSteps | None], float]] = [(lambda: llama_steps(self.model), CLOSE)]
        if size > _LARGE:
            here: list[tuple[Precision, bool]] = [("bfloat16", has_bfloat16()), ("int8", has_int8())]
            ways[:0] = [(partial(llama_steps, self.model, precision), NEAR) for precision, there in here if there]
        elif size <= _SMALL:
            ways.insert(0, (lambda: small_steps(self.model), CLOSE))
        for way, share in ways:
            try:
                made = way()
                if made is None or self._steps_agree(made, share):
                    return made
            except RuntimeError:  # an operator that this machine's torch has not
                continue
        return None

    def _steps_agree(self, made: LlamaSteps, share: float) -> bool:
        """With the whole text, on two rows, read at once and one by one, and grown beside each other."""
        one = example(int(self.model.config.vocab_size))
        ids = torch.tensor([one, one[::-1]])
        cache, wanted, at = made.begin(2), self.whole(ids, last=False), 0
        for step in (3, 1, 1, 2):
            found, at = made.add(cache, ids[:, at : at + step]), at + step
            if not all(close(*pair, share) for pair in zip(found, wanted[:, at - 1], strict=True)):
                return False
        rows, begun = LlamaRows(made), (made.begin(1), made.begin(1))
        for cache, row in zip(begun, ids, strict=True):
            made.add(cache, row[None, :5])
        places = [rows.put(cache) for cache in begun]
        grown = [rows.grow(dict(zip(places, ids[:, at].tolist(), strict=True)))[1] for at in (5, 6)]
        pairs = zip(torch.cat(grown), wanted[:, 5:].transpose(0, 1).flatten(0, 1), strict=True)
        return all(close(*pair, share) for pair in pairs)

    def whole(self, rows: Tensor, last: bool = True) -> Tensor:
        """Logits of the tokens int64[n, T], computed without a cache: float32[n, T, vocabulary].

        `last`: float32[n, vocabulary], those after the last token of each row.
        """
        found: Tensor = self._ask(rows, last, {"use_cache": False} if "use_cache" in self._arguments else {}).logits
        return found.float()

    def after(self, prefix: Text) -> Callable[[Sequence[Sequence[int]]], Tensor]:
        """A function of continuations of `prefix`, all of one length: the logits after each, float32[n, vocabulary].

        The prefix is read once, and stays as it is.
        """
        if self.way != "given" or not self.in_chunks:
            return lambda rows: self._after_anew(prefix.ids, rows)
        return lambda rows: self._after_shared(prefix.cache, rows)

    def scores(self, ids: Sequence[int]) -> Iterator[Tensor]:
        """Logits float32[k, vocabulary] after each token of `ids`, some positions at a time."""
        if self.way == "none" or not self.in_chunks:
            yield self.whole(torch.tensor([list(ids)]), last=False)[0]
            return
        step = max(1, _LOGITS_AT_ONCE // int(self.model.config.vocab_size))
        text = self.text()
        for start in range(0, len(ids), step):
            yield text.add(ids[start : start + step], last=False)

    def _after_anew(self, prefix: Sequence[int], rows: Sequence[Sequence[int]]) -> Tensor:
        at_once = max(1, 4096 // (len(prefix) + len(rows[0])))
        whole = [[*prefix, *row] for row in rows]
        return torch.cat([self.whole(torch.tensor(whole[i : i + at_once])) for i in range(0, len(rows), at_once)])

    def _after_shared(self, cache: Any, rows: Sequence[Sequence[int]]) -> Tensor:
        at_once = max(1, _ROWS_BYTES // max(1, _bytes_of(cache)))
        found = []
        for start in range(0, len(rows), at_once):
            part = torch.tensor([list(row) for row in rows[start : start + at_once]])
            with torch.inference_mode():
                own = copy.deepcopy(cache)
                own.batch_repeat_interleave(len(part))
            found.append(self._ask(part, True, self._given(own)).logits.float())
        return torch.cat(found)

    def _given(self, cache: Any) -> dict[str, Any]:
        return {"use_cache": True, "cache" if "cache" in self._arguments else "past_key_values": cache}

    def _ask(self, rows: Tensor, last: bool, options: dict[str, Any]) -> Any:
        if last and "logits_to_keep" in self._arguments:
            options = {**options, "logits_to_keep": 1}
        before = _LAST_ONLY.set(last)
        try:
            with torch.inference_mode():
                said: Any = self.model(input_ids=rows, **options)
        finally:
            _LAST_ONLY.reset(before)
        if last:
            said.logits = said.logits[:, -1]
        return said

    def _choose(self) -> tuple[str, bool]:
        """The first way that agrees with the whole text, and whether several tokens may come behind a cache."""
        ids = example(int(self.model.config.vocab_size))
        try:
            wanted = self.whole(torch.tensor([ids]), last=False)[0]
        except Exception as error:  # a model that cannot be asked as a causal one says so in its own way
            kind, lines = self.model.config.model_type, str(error).strip().splitlines()
            reason = lines[0] if lines else type(error).__name__
            raise ModelError(
                f"The base ({kind}) cannot be asked for the next token: {reason}. Give another base."
            ) from None
        for way in ("given", "own"):
            self.way, self.in_chunks = way, True
            if self._agrees(ids, wanted, (3, 1, 1, 1, 1)):
                return way, self._agrees(ids, wanted, (3, 2, 2))
        return "none", False

    def _agrees(self, ids: list[int], wanted: Tensor, steps: Sequence[int]) -> bool:
        text, at = self.text(), 0
        try:
            for step in steps:
                found = text.add(ids[at : at + step])
                at += step
                if not close(found, wanted[at - 1]):
                    return False
            if len(steps) == 3 and self.way == "given":  # continuations share what was computed for their prefix
                found = self._after_shared(text.cache, [[ids[0], ids[1]], [ids[2], ids[3]]])[1]
                return close(found, self.whole(torch.tensor([[*ids, ids[2], ids[3]]]))[0])
        except Exception:  # a model that does not take this kind of cache says so in its own way
            return False
        return True


class Text:
    """A text as far as the model has read it."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.ids: list[int] = []
        self.cache: Any = new_cache(decoder.model) if decoder.way == "given" else None
        self._own: dict[str, Any] = {}

    def copy(self) -> Text:
        """The same text, which then grows apart."""
        other = Text(self._decoder)
        other.ids = list(self.ids)
        with torch.inference_mode():
            other.cache, other._own = copy.deepcopy(self.cache), copy.deepcopy(self._own)
        return other

    def add(self, ids: Sequence[int], last: bool = True) -> Tensor:
        """Goes on with `ids`; logits float32[vocabulary] after the last, or [len(ids), vocabulary] after each."""
        decoder = self._decoder
        if len(ids) > 1 and self.ids and decoder.way != "none" and not decoder.in_chunks:
            each = [self.add([token]) for token in ids]
            return each[-1] if last else torch.stack(each)
        self.ids += ids
        if decoder.way == "none":
            found = decoder.whole(torch.tensor([self.ids]), last)[0]
            return found if last else found[-len(ids) :]
        options = decoder._given(self.cache) if decoder.way == "given" else {"use_cache": True, **self._own}
        said = decoder._ask(torch.tensor([list(ids)]), last, options)
        if decoder.way == "own":
            given = [name for name in _CACHES if said.get(name) is not None]
            if not given:
                raise ValueError("the model gives no cache back")
            self._own = {given[0]: said[given[0]]}  # where there are more, they are older names of the same
        return said.logits[0].float()  # type: ignore[no-any-return]


class Drawn:
    """Several texts of one length that grow together by what is drawn."""

    def __init__(self, decoder: Decoder, rows: int) -> None:
        self._decoder = decoder
        self._ids: Tensor | None = None
        self._steps = decoder.steps
        self._cache: Any = self._steps.begin(rows) if self._steps else None
        self._text = Text(decoder) if self._steps is None and rows == 1 else None  # which takes a model's own cache too
        if self._steps is None and decoder.way == "given" and decoder.in_chunks:
            self._cache = new_cache(decoder.model)

    def add(self, ids: NDArray[np.int32]) -> Tensor:
        """Goes on with int32[rows, n]: the logits after the last of each, float32[rows, vocabulary]."""
        more = torch.from_numpy(ids.astype(np.int64))
        if self._steps is not None:
            return self._steps.add(self._cache, more)
        if self._text is not None:
            return self._text.add(ids[0].tolist())[None]
        if self._cache is not None:
            found: Tensor = self._decoder._ask(more, True, self._decoder._given(self._cache)).logits
            return found.float()
        self._ids = more if self._ids is None else torch.cat([self._ids, more], 1)
        return self._decoder.whole(self._ids)


def example(vocabulary: int) -> list[int]:
    """Seven different tokens, to try a model on."""
    return [(5 + 11 * at) % vocabulary for at in range(7)]


def close(found: Tensor, wanted: Tensor, share: float = CLOSE) -> bool:
    """Whether two computations of positions' logits are one, up to rounding: apart by a share of their spread."""
    spread = float(wanted.max() - wanted.min())
    return bool(torch.isfinite(found).all()) and float((found - wanted).abs().max()) <= share * spread + 1e-7


def new_cache(model: PreTrainedModel) -> Any:
    """An empty key-value cache for token-by-token generation with `model`."""
    from transformers import DynamicCache

    return DynamicCache(config=model.config)


def _bytes_of(cache: Any) -> int:
    """Memory of a cache's tensors."""
    tensors = [value for layer in cache.layers for value in vars(layer).values() if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _cut_before_head(model: Any) -> None:
    """Lets a model that has no option for it compute its output layer on the last position alone."""
    head: Any = model.get_output_embeddings()
    if head is None or getattr(head, "cuts", False):
        return

    def cut(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        wanted = _LAST_ONLY.get() and inputs and isinstance(inputs[0], Tensor) and inputs[0].dim() == 3
        return (inputs[0][:, -1:], *inputs[1:]) if wanted else None

    head.register_forward_pre_hook(cut)
    head.cuts = True
