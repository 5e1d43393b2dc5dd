"""One model instance that learns for any client: global weights and a client's dialogues in, update out.

Knows the model and DP-SGD; knows no protocol, no ledger and no disk but the token table.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chatfed.model.adapters import Adapters, attach, check_adapters
from chatfed.model.arithmetic import has_bfloat16
from chatfed.model.checkpoint import weights_digest
from chatfed.model.ngrams import NGrams
from chatfed.model.parameters import refuse_non_finite, set_trainable
from chatfed.model.subspace import Subspace
from chatfed.model.transformer import load_model
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.types import ChatfedError, ClientId, FloatVector, IntVector

from ..plan.plan import Learning
from ..plan.recipe import LocalSection, ModelSection
from ..plan.upload import Part
from .counting import Counting
from .evaluation import MOST_DIALOGUES, Scores, evaluate, one_by_one
from .frozen import FrozenOutputs
from .imagining import Imagined, imagined, script_of
from .learnable import refuse_unmoved
from .tokens import LENGTHS, DialogueExamples, TokenTable, next_token_loss, open_tokens, private_token_loss

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from chatfed.model.by_hand import LlamaGradient
    from chatfed.privacy.clipping import Gradient
    from chatfed.privacy.dpsgd import DPSGDConfig


@dataclass
class Learner:
    """The model, its public starting point, and the tokens on disk."""

    how: Learning
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    private: TokenTable
    held_out: TokenTable
    base_digest: bytes  # of all weights as the base has them, adapters as they begin and directions included
    space: Subspace  # what is learned, as coordinates
    parameters: int
    frozen: FrozenOutputs | None = None  # of layers below all that is trained, where learning by hand keeps them
    gradient: LlamaGradient | None = None  # by hand, once there is one

    @classmethod
    def open(cls, how: Learning, base: str, private: Path, held_out: Path) -> Learner:
        """One thread, the plan's device; what frozen layers say is kept beside `private`.

        Raises ChatfedError when the base or its trainable part cannot be had.
        """
        import torch

        torch.set_num_threads(1)
        model, tokenizer = load_model(base)
        refuse_non_finite(model, base)
        made = cls.of(how, model, tokenizer, open_tokens(private), open_tokens(held_out))
        if how.frozen_mib:
            made.frozen = FrozenOutputs(private.parent, how.frozen_mib << 20)
        return made

    @classmethod
    def of(
        cls,
        how: Learning,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        private: TokenTable,
        held_out: TokenTable,
    ) -> Learner:
        """With a model at hand, whose trainable part it chooses. Raises ChatfedError as `open`."""
        from chatfed.privacy.clipping import refuse_unsuitable

        choose_trainable(model, how.model)
        _place(model, how.device)
        space = Subspace(model, how.model.share, how.model.whole)
        digest = weights_digest(model)
        if space.share:
            digest = hashlib.sha256(digest + space.digest()).digest()
        parameters = sum(p.numel() for p in model.parameters())
        if how.privacy.unit is Unit.EXAMPLE:
            refuse_unsuitable(model)
        return cls(how, model, tokenizer, private, held_out, digest, space, parameters)

    def for_client(self, client: ClientId) -> Callable[[FloatVector], Iterable[Part]]:
        """The client's training: global weights float32[d] -> the parts of its update, float32[d] each."""
        return lambda weights: self.learn(weights, self.private.clients[client])

    def counts_of(self, client: ClientId) -> Callable[[FloatVector], Iterable[Part]]:
        """The client's count of n-grams: any vector float32[cells] -> the parts of its sketch, float32[cells] each."""
        return lambda weights: self.count(self.private.clients[client], len(weights))

    def measured_of(self, client: ClientId) -> Callable[[FloatVector], Iterable[Part]]:
        """What the client measures on what it holds out: weights float32[d] -> a part of each dialogue, float32[5].

        It never fails for what a dialogue holds: who fails tells of it, in no sum and under no noise.
        """
        mine = self.held_out.clients.get(client, np.empty(0, np.int64))[:MOST_DIALOGUES]
        return lambda weights: one_by_one(self.evaluate(weights, mine, whatever=True))

    def count(self, dialogues: IntVector, cells: int) -> Iterable[Part]:
        """The sketch of each dialogue's n-grams, as a gradient, where each dialogue is protected by shared noise.

        Otherwise one part: their sum, with the noise in it where that is the client's own. Raises ChatfedError for
        another number of cells than this client's.
        """
        if cells != self.how.ngrams.cells:
            raise ChatfedError(f"the server asks for {cells} cells, this client counts in {self.how.ngrams.cells}")
        privacy, counting = self.how.privacy, Counting(self.how.ngrams.longest, cells, self.how.train_on)
        if privacy.unit is Unit.CLIENT:
            return [counting.sketch(self.private, dialogues)]
        gradients = counting.gradients(self.private, dialogues)
        if privacy.noise is Noise.DISTRIBUTED:
            return gradients
        from chatfed.privacy.dpsgd import noisy_mean

        mean = noisy_mean((each.dense(cells) for each in gradients), cells, self._config())
        return [-mean]

    def imagine(self, ngrams: NGrams, texts: int, seed: int) -> Imagined:
        """Texts of the base, as `imagined` says, token by token on the processor."""
        self.space.load(self.initial)
        _place(self.model, "cpu")
        try:
            script, on = script_of(self.tokenizer), self.how.train_on
            return imagined(self.model.eval(), ngrams, script, texts, self.context, seed, train_on=on)
        finally:
            _place(self.model, self.how.device)

    def learn(self, weights: FloatVector, dialogues: IntVector) -> Iterable[FloatVector]:
        """Learns from `weights`: the parts of the update, float32[d] each.

        After - before, by DP-SGD where the noise is the client's own; where it is shared and each dialogue protected,
        the gradient of each sampled one, for the one step that the server takes.
        """
        if weights.shape != self.initial.shape:
            raise ChatfedError(f"the server sent {len(weights)} weights, this client trains {len(self.initial)}")
        _ = self.by_hand if self.how.privacy.unit is Unit.EXAMPLE else self.way  # tried on the base: before it goes
        self.space.load(weights)
        lengths = self.private.starts[dialogues + 1] - self.private.starts[dialogues]
        by_length = dialogues[np.argsort(lengths, kind="stable")]  # spares padding
        examples = DialogueExamples(self.private, by_length, self.context, self.how.train_on, self.how.device)
        if self.how.privacy.unit is Unit.CLIENT:
            if (step := self._only_step(examples)) is not None:
                return [step]
            train_plainly(self.model, examples, self.how.local, self.way)
        elif self.how.privacy.noise is Noise.DISTRIBUTED:
            return self._parts(examples)
        else:
            self._train_privately(examples, weights)
        return [self.space.moved(weights)]

    def _only_step(self, examples: DialogueExamples) -> FloatVector | None:
        """The update float32[d] of a client that takes one step of plain training; None where there are more.

        It is the gradient, times a number: the model need not take the step, nor be read and set back after it.
        """
        local, by_hand = self.how.local, self.way.by_hand
        one = local.epochs == 1 and 0 < len(examples) <= local.batch
        if not one or by_hand is None or self.space.share:
            return None
        from chatfed.privacy.clipping import flushing

        with flushing():  # no layer of the model is called
            gradient = by_hand.flat(examples.rows(np.arange(len(examples)))[0]).numpy()
            step: FloatVector = gradient * np.float32(-local.learning_rate / len(examples))  # no denormals either
        return step

    @cached_property
    def way(self) -> Way:
        """How plain training computes: the quickest, measured on the base and on text that no claim covers.

        So neither a client's data nor a server chooses how another's is computed. Raises ClippingError for a model that
        carries something from one client to another.
        """
        from chatfed.privacy.clipping import refusing_memory, steady

        self.space.load(self.initial)
        first = np.arange(min(len(self.held_out), self.how.local.batch))
        shown = DialogueExamples(self.held_out, first, self.context, self.how.train_on, self.how.device)
        with steady(self.model), refusing_memory(self.model):
            if len(first):
                _loss(self.model, shown, first, lower=False)
        way = quickest_way(self.model, shown)
        self._keeping(way.by_hand)
        self._rest()
        return way

    def _train_privately(self, examples: DialogueExamples, weights: FloatVector) -> None:
        from chatfed.privacy.dpsgd import noisy_mean, train_private

        config = self._config()
        if not self.space.share:
            return train_private(self.model, examples, private_token_loss, config, by_hand=self.by_hand)
        for _ in range(config.steps):
            step = noisy_mean(self._parts(examples), len(weights), config)
            weights = weights - np.float32(config.learning_rate) * step
            self.space.load(weights)

    def _parts(self, examples: DialogueExamples) -> Iterator[FloatVector]:
        """Each sampled dialogue's gradient: float32[d], in coordinates, for whoever sums them to clip."""
        from chatfed.privacy.dpsgd import gradients

        given = self.model, examples, private_token_loss, self._config()
        if self.by_hand is not None:
            return gradients(*given, by_hand=self.by_hand, coordinates=self.space.dimension)
        return map(self.space.of_gradient, gradients(*given))

    @cached_property
    def by_hand(self) -> Gradient | None:
        """What takes autograd's place for single dialogues; None where the model is not one that it knows."""
        from chatfed.model.by_hand import llama_gradient

        lower = has_bfloat16()  # of the machine alone: no data chooses the arithmetic
        self.space.load(self.initial)  # tried on the base, whatever weights the server sent
        return self._keeping(llama_gradient(self.model, lower, self.space.directions))

    def _keeping(self, made: LlamaGradient | None) -> LlamaGradient | None:
        """The same, which keeps what frozen layers say where this learner does."""
        if made is not None:
            made.kept, self.gradient = self.frozen, made
        return made

    def _config(self) -> DPSGDConfig:
        from chatfed.privacy.dpsgd import DPSGDConfig

        privacy = self.how.privacy
        return DPSGDConfig(
            privacy.clip_norm,
            self.how.noise_multiplier,
            privacy.sampling_rate,
            privacy.expected_batch_size,
            privacy.local_steps,
            privacy.learning_rate,
            clipping=privacy.clipping,
        )

    def refuse_unmoved(self) -> None:
        """Raises ChatfedError when a trained parameter has no part in the loss of a held-out dialogue."""
        first = np.arange(min(1, len(self.held_out)))
        if not len(first):
            return
        refuse_unmoved(self.model, DialogueExamples(self.held_out, first, self.context, device=self.how.device))

    def evaluate(self, weights: FloatVector, dialogues: IntVector, whatever: bool = False) -> Scores:
        """Scores of held-out dialogues under the global model with trainable part `weights`.

        whatever: zeros for a dialogue whose probabilities are not finite, in the place of an error.
        """
        self.space.load(weights)
        model, device = self.model.eval(), self.how.device
        found = evaluate(model, self.held_out, dialogues, self.context, device, whatever=whatever)
        self._rest()
        return found

    def _rest(self) -> None:
        """After frozen weights were read in float32: who learns by hand does not."""
        if self.gradient is not None:
            self.gradient.rest()

    @property
    def initial(self) -> FloatVector:
        """float32[d]: what is trained, as the base has it."""
        return self.space.start

    @property
    def context(self) -> int:
        """Tokens in a window: the recipe's, but no more than the model takes."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return min(self.how.model.context, int(limit or self.how.model.context))


def choose_trainable(model: PreTrainedModel, section: ModelSection) -> PeftModel | None:
    """Makes trainable what the recipe says, and nothing else; returns the adapters' cover where it says adapters."""
    if section.lora_rank:
        return attach(model, adapters_of(section))
    set_trainable(model, section.trainable)
    return None


def adapters_of(section: ModelSection) -> Adapters:
    """What `model` says of adapters."""
    return Adapters(section.lora_rank, section.lora_alpha, section.lora_targets)


def check_trainable(section: ModelSection) -> None:
    """Raises ChatfedError when the model will not take the recipe's adapters. Loads no weights."""
    if section.lora_rank:
        check_adapters(adapters_of(section), section.base, section.layers)


@dataclass(frozen=True)
class Way:
    """How the gradient of plain training is computed."""

    lower: bool = False  # in bfloat16; weights and steps stay float32
    by_hand: LlamaGradient | None = None  # else autograd


def train_plainly(
    model: torch.nn.Module, examples: DialogueExamples, settings: LocalSection, way: Way | None = None
) -> None:
    """SGD on the dialogues' mean loss, in place.

    Nothing here is private: what leaves must be clipped and noised, whatever arithmetic made it. Without dropout all
    the same: a worker serves many clients, and masks drawn from one generator would let one shift another's update.
    """
    import torch

    from chatfed.privacy.clipping import steady

    with steady(model):
        for _ in range(settings.epochs):
            order = np.random.default_rng().permutation(len(examples))
            for start in range(0, len(order), settings.batch):
                mine = order[start : start + settings.batch]
                trained, gradients = _gradients(model, examples, mine, way or Way())
                with torch.no_grad():
                    torch._foreach_add_(trained, gradients, alpha=-settings.learning_rate / len(mine))


def _gradients(
    model: torch.nn.Module, examples: DialogueExamples, mine: IntVector, way: Way
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Trained parameters, and the gradient of each of the sum of the dialogues' losses."""
    import torch

    if way.by_hand is not None:
        return way.by_hand.apart(examples.rows(mine)[0])
    trained = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(_loss(model, examples, mine, way.lower), trained, allow_unused=True)
    some = [(p, gradient) for p, gradient in zip(trained, found, strict=True) if gradient is not None]
    return [p for p, _ in some], [gradient for _, gradient in some]


def _loss(model: torch.nn.Module, examples: DialogueExamples, mine: IntVector, lower: bool) -> torch.Tensor:
    import torch

    batch, _ = examples.rows(mine)
    with torch.autocast("cpu", torch.bfloat16, enabled=lower):
        return next_token_loss(model, batch, LENGTHS if lower else 1).sum()


def quickest_way(model: torch.nn.Module, examples: DialogueExamples, by_hand: bool = True) -> Way:
    """The way that takes clearly less processor time than plain autograd for these dialogues' gradient, if one does.

    Trains nothing. bfloat16 is tried only where the processor has such arithmetic; elsewhere it is slower by far.
    `by_hand`: whether that is tried.
    """
    from chatfed.model.by_hand import llama_gradient

    if examples.device != "cpu" or not len(examples):
        return Way()
    lower = (False, True) if has_bfloat16() else (False,)
    made = [Way(low, llama_gradient(model, low)) for low in lower if by_hand]
    least = dict.fromkeys([*map(Way, lower), *made], math.inf)  # where there is none by hand the same twice
    for _ in range(3):  # the first time sets kernels up
        for way in least:
            began = time.thread_time()
            _gradients(model, examples, np.arange(len(examples)), way)
            least[way] = min(least[way], time.thread_time() - began)
    quickest = min(least, key=lambda way: least[way])
    return quickest if least[quickest] < 0.9 * least[Way()] else Way()


def check_device(device: str) -> None:
    """Raises ChatfedError when torch has no such device here."""
    import torch

    _place(torch.zeros(1), device)


def _place(what: torch.nn.Module | torch.Tensor, device: str) -> None:
    try:
        what.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ChatfedError(f"runtime.device = {device!r} cannot be used: {reason}", param="runtime.device") from None
