"""What a server sees of clients, and what text it gets out of that: raw update, masked, summed, summed with noise.

Updates are the learner's, rounds the real clients'. A raw update never leaves a client where masks or the client's own
noise stand before it: it is what they are there for. All is looked at under the best conditions for the attacker: it
has the model, knows how many dialogues an update is made of, and all of them join the step. Whole texts are read by
`chatfed.audit.inversion`.
"""

from __future__ import annotations

import inspect
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.inversion import Rules, States, Text, read
from chatfed.audit.updates import Matrix, Rows, Span, distance, f1, labels, most_likely, rouge_of_batch, span_of
from chatfed.model.parameters import trainable
from chatfed.model.tokenizer import MARKER, TURN_END
from chatfed.privacy.noise import system_random
from chatfed.secagg.encoding import pack, unpack
from chatfed.secagg.integers import SignedSum
from chatfed.secagg.masking import ring_dtype, ring_length
from chatfed.types import ClientId, FloatVector, IntVector

from ..base.learner import Learner
from ..base.tokens import ASSISTANT, TokenTable
from ..parties.client import Learn
from ..parties.session import Session, Step
from ..plan.plan import learning_of
from ..plan.upload import NoisyUpload, PlainUpload, Upload
from .victims import Setting, Victims, names

TRIED = 128  # tokens that are tried at each place, at most
SURE = 0.9  # probability from which a token is read off the model, as it leaves next to nothing in the output layer
TOGETHER = 512  # of them in one pass
SUMS = 3  # with noise, each with its own
CHANCES = 8  # draws of random numbers in a sum's place: how much they differ is what a sum is judged by
TIMES = 3  # that many for each client: of most draws no word is right, so that few tell little of how they differ
ATTENTION = ("q_proj", "k_proj", "v_proj")


@dataclass
class Attacker:
    """Whoever has the model of a round, and reads what an update says of the texts that it was made of."""

    learner: Learner
    weights: FloatVector = field(repr=False)  # float32[d], that clients learned from

    @cached_property
    def places(self) -> Mapping[str, tuple[slice, tuple[int, int]]]:
        """Of each trained matrix: where its coordinates are, and their shape."""
        found, at, along = {}, 0, self.learner.space.directions
        for name, p in trainable(self.learner.model):
            shape = tuple(p.shape) if p not in along else (len(p), int(along[p].shape[1]))
            size = math.prod(shape)
            if len(shape) == 2 and p not in along:
                found[name] = (slice(at, at + size), shape)
            at += size
        return found

    def matrix(self, update: FloatVector, name: str) -> Matrix:
        """A matrix's part of an update, as a gradient's direction: float32[outputs, inputs]."""
        where, shape = self.places[name]
        return -update[where].reshape(shape)

    @property
    def layers(self) -> int:
        """Of the model."""
        return int(self.learner.model.config.num_hidden_layers)

    @cached_property
    def level(self) -> int:
        """The layer whose inputs are looked for: the second, where it is learned; else the output layer."""
        return 1 if any(".layers.1.self_attn." in name for name in self.places) else self.layers

    @cached_property
    def readable(self) -> bool:
        """Whether there is a matrix that this attack knows how to read."""
        known = self.learner.model.config.model_type == "llama" and self.layers > 1
        return known and (self.level < self.layers or "lm_head.weight" in self.places)

    @cached_property
    def capacity(self) -> int:
        """Places of texts from which on every vector lies in the span, and nothing is read."""
        hidden = int(self.learner.model.config.hidden_size)
        rank = self.learner.how.model.lora_rank
        return min(hidden, rank) if rank else hidden

    def spans(self, update: FloatVector, noise: float, level: int) -> list[Span]:
        """Where the inputs of a layer lie, as the update tells."""
        if level == self.layers:
            return [span_of(self.matrix(update, "lm_head.weight"), noise)]
        first = f"model.layers.{level}.self_attn."
        if self.learner.how.model.lora_rank:
            return self._of_adapters(update, noise, first)
        rows = [self.matrix(update, name) for name in self._attention(first, ".weight")]
        return [span_of(np.concatenate(rows), noise)]

    def _attention(self, first: str, last: str) -> list[str]:
        names = [f"{first}{each}{last}" for each in ATTENTION]
        return [name for name in names if name in self.places]

    def _of_adapters(self, update: FloatVector, noise: float, first: str) -> list[Span]:
        """The inputs' span from first matrices; and while second ones are 0, the span behind each first one."""
        outer = self._attention(first, ".lora_A.default.weight")
        rows = [self.matrix(update, name) for name in outer]
        if any(row.any() for row in rows):
            return [span_of(np.concatenate(rows), noise)]
        read = [name for name in outer if "q_proj" not in name] or outer  # a place that predicts nothing asks nothing
        held = {name: p.detach().numpy() for name, p in trainable(self.learner.model) if name in read}
        inner = [self.matrix(update, name.replace("lora_A", "lora_B")) for name in read]
        return [span_of(row, noise, through=held[name]) for row, name in zip(inner, read, strict=True)]

    def tokens(self, update: FloatVector, noise: float) -> Rows:
        """How much each token looks as if it were in the texts: float64[tokens], above 0 where it seems so."""
        embedding = "model.embed_tokens.weight"
        if embedding in self.places:
            lengths: Rows = np.linalg.norm(self.matrix(update, embedding).astype(np.float64), axis=1)
            lengths -= 1e-3 * lengths.max()
            return lengths
        if self.level == self.layers:
            return labels(self.matrix(update, "lm_head.weight"), self.towards)
        every = np.arange(self.learner.model.config.vocab_size)[:, None]
        away = distance(self.spans(update, noise, 0), self.after((), every, 0).inputs)
        scores: Rows = Rules.fits - away
        return scores

    @cached_property
    def towards(self) -> FloatVector:
        """Where hidden states point on average, on text that is not the clients': float32[hidden]."""
        ids, width = self.learner.held_out.ids, min(32, self.learner.context, len(self.learner.held_out.ids))
        rows = ids[: min(16, len(ids) // width) * width].astype(np.int64).reshape(-1, width)
        mean: FloatVector = self.after((), rows, self.layers).inputs.mean(0).astype(np.float32)
        return mean

    def after(self, prefix: Text, moves: IntVector, level: int) -> States:
        """As `inversion.After`."""
        parts = [self._after(prefix, moves[at : at + TOGETHER], level) for at in range(0, len(moves), TOGETHER)]
        return States(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def _after(self, prefix: Text, moves: IntVector, level: int) -> tuple[Any, Any, Any]:
        import torch

        model: Any = self.learner.model
        with torch.no_grad():
            kept = {}
            if prefix:
                read: Any = model.model(input_ids=torch.tensor([prefix]), use_cache=True)[1]
                read.batch_repeat_interleave(len(moves))
                kept = {self._cache: read, "use_cache": True}
            made = model.model(input_ids=torch.from_numpy(moves), output_hidden_states=True, **kept).hidden_states
            last = made[level][:, -1]
            inputs = last if level == self.layers else model.model.layers[level].input_layernorm(last)
            sure, likely = torch.softmax(model.lm_head(made[-1][:, -1]).float(), -1).max(-1)
        return inputs.double().numpy(), sure.double().numpy(), likely.numpy()

    @cached_property
    def _cache(self) -> str:
        """What this version of transformers calls what it keeps of a prefix."""
        body: Any = self.learner.model.base_model
        return "cache" if "cache" in inspect.signature(body.forward).parameters else "past_key_values"

    def texts(self, update: FloatVector, noise: float, manners: Manners, count: int, longest: int) -> list[Text]:
        """What an update float32[d] says that it was made of: of `count` texts, tokens up to `longest`."""
        last = self.level == self.layers
        rules = Rules(manners.begins, manners.turns if last else (), count, longest, sure=SURE if last else 2.0)
        scores = self.tokens(update, noise)
        tried = np.union1d(most_likely(scores, min(TRIED, max(1, int((scores > 0).sum())))), manners.markers)
        spans = self.spans(update, noise, self.level)
        return read(spans, lambda prefix, moves: self.after(prefix, moves, self.level), tried, rules)


@dataclass(frozen=True)
class Manners:
    """How the program writes texts, which everybody knows."""

    begins: Sequence[Text]  # markers before the first word
    turns: Sequence[Text]  # between two messages

    @cached_property
    def markers(self) -> IntVector:
        """All tokens that are no words: int64[n]."""
        return np.unique(np.concatenate([*self.begins, *self.turns])).astype(np.int64)

    def words(self, text: Sequence[int]) -> list[int]:
        """The text without them."""
        no_words = set(self.markers.tolist())
        return [token for token in text if token not in no_words]


def manners_of(table: TokenTable, most: int = 256) -> Manners:
    """From dialogues that are nobody's secret."""
    begins, turns = set[Text](), set[Text]()
    for at in range(min(most, len(table))):
        span = slice(int(table.starts[at]), int(table.starts[at + 1]))
        ids, spoken = table.ids[span], ~np.isin(table.kinds[span] & ~np.uint8(ASSISTANT), (MARKER, TURN_END))
        edges = np.flatnonzero(np.diff(np.concatenate([[0], spoken, [0]]).astype(np.int8)))  # words begin, words end
        begins |= {tuple(ids[:at].tolist()) for at in edges[:1]}  # none where nobody says a word
        turns |= {tuple(ids[a:b].tolist()) for a, b in zip(edges[1:-1:2], edges[2::2], strict=True)}
    return Manners(sorted(begins), sorted(turns))


@dataclass(frozen=True)
class Rung:
    """What a server may come to see, at some point of the way."""

    name: str
    views: Sequence[tuple[FloatVector, IntVector]] = field(repr=False)  # float32[d], and whose dialogues it is about
    noise: float = 0.0  # deviation of each coordinate


@dataclass(frozen=True)
class Climb:
    """A cohort's round, without noise and with it, from the raw update up."""

    attacker: Attacker
    settings: tuple[Setting, Setting]  # without noise, with it
    batches: Sequence[IntVector]  # each client's dialogues, of the learner's table

    def raw(self, clients: int) -> Rung:
        """The updates of so many clients as they would be if nothing were done to them."""
        return Rung("raw", [(self._learned(dialogues), dialogues) for dialogues in self.batches[:clients]])

    def rungs(self, raw: int = 1) -> list[Rung]:
        """From the raw updates of so many clients up; and random ring elements, which tell of nobody: chance."""
        bare, *noised = (self._round(self.settings[at]) for at in [0] + [1] * SUMS)
        own, everybody = list(self.batches), np.concatenate(self.batches)
        deviation = self._noise(noised[0].code) * math.sqrt(len(own))
        return [
            self.raw(raw),
            Rung("masked", list(zip(bare.masked, own, strict=True))),
            Rung("chance", [(bare.random(), dialogues) for _ in range(TIMES) for dialogues in own]),
            Rung("sum", [(bare.total, everybody)]),
            Rung("noised sum", [(each.total, everybody) for each in noised], deviation),
            Rung("chance of a sum", [(bare.random(), everybody) for _ in range(CHANCES)]),
        ]

    def _learned(self, dialogues: IntVector) -> FloatVector:
        self._learn_as(self.settings[0])
        (raw,) = self.attacker.learner.learn(self.attacker.weights, dialogues)
        return raw.copy()

    def _noise(self, code: Upload) -> float:
        """Deviation of what one client adds to each coordinate of the sum."""
        setting = self.settings[1]
        if isinstance(code, NoisyUpload):
            return code.mechanism.std / code.scale * code.clip_norm
        privacy, z = setting.recipe.privacy, setting.terms.noise_multiplier
        once = privacy.learning_rate * z * privacy.clip_norm / privacy.expected_batch_size
        return once * math.sqrt(privacy.local_steps)

    def _learn_as(self, setting: Setting) -> None:
        self.attacker.learner.how = learning_of(setting.recipe, setting.terms.noise_multiplier)

    def _round(self, setting: Setting) -> Seen:
        self._learn_as(setting)
        learner, weights = self.attacker.learner, self.attacker.weights
        with tempfile.TemporaryDirectory(prefix="chatfed-audit-") as folder:
            everybody = names(len(self.batches) * setting.bands)
            learns = dict[ClientId, Learn]()
            those = Victims(Path(folder), setting, everybody, learns, len(weights))
            try:
                session = those.session(weights=weights)
                for name, dialogues in zip(session.cohort, self.batches, strict=True):
                    learns[name] = partial(learner.learn, dialogues=dialogues)
                return _watched(those, session)
            finally:
                those.close()


def _watched(those: Victims, session: Session) -> Seen:
    sent = dict[ClientId, bytes]()

    def exchange(messages: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        for name, answer in those(messages):
            if answer[0] == Step.SHARES:
                sent[name] = answer
            yield name, answer

    outcome, code = those.round(session, exchange), those.code(session)
    masked = [_taken(sent[name][-_size(code) :], code) for name in session.cohort]
    return Seen(code, masked, outcome.mean * np.float32(len(outcome.survivors)))


def _size(code: Upload) -> int:
    """Bytes of a masked vector, which stands last in its message."""
    return ring_length(code.coordinates, code.ring_bits) * ring_dtype(code.ring_bits).itemsize


def _taken(raw: bytes, code: Upload) -> FloatVector:
    """Ring elements, decoded as if they were a sum of one: float32[d]. They are brought to what the code decodes."""
    vector: Any = np.frombuffer(raw, ring_dtype(code.ring_bits))
    narrow = code.ring_bits == 21  # three fields in 64 bits: the last bit is nobody's
    fields: Any = unpack(vector & np.uint64((1 << 63) - 1)) if narrow else vector.copy()
    if isinstance(code, PlainUpload):
        fields %= fields.dtype.type(2 * code.code.level)
        fields[code.coordinates - 1 :] = 0
        fields[code.coordinates - 1] = max(1, round(code.code.weight_scale))  # the weight of one
        vector = pack(fields) if narrow else fields
    elif narrow:
        signed = (fields[: code.coordinates].astype(np.int64) + (1 << 20)) % (1 << 21) - (1 << 20)
        vector = SignedSum(code.coordinates, 21).encode(signed)
    return code.decode(vector, 1).update


@dataclass(frozen=True)
class Seen:
    """What a server got of one round."""

    code: Upload
    masked: Sequence[FloatVector]  # float32[d]: each client's masked input, taken for an update
    total: FloatVector  # float32[d]: the sum

    def random(self) -> FloatVector:
        """Random ring elements taken for an update."""
        return _taken(system_random(_size(self.code)), self.code)


@dataclass(frozen=True)
class Read:
    """How much of a rung's texts was recovered, as a mean over its views."""

    rung: str
    rouge: float  # ROUGE-2, mean over the texts
    words: float  # F1 of the set of tokens, as many guessed as there are
    spread: float  # deviation of `words` from view to view; 0 of one view
    rouge_spread: float  # the same of `rouge`
    views: int

    @property
    def deviation(self) -> float:
        """Of the mean of `words`."""
        return self.spread / math.sqrt(self.views)


def climbed(climb: Climb, manners: Manners, raw: int = 1) -> list[Read]:
    """The attack on each rung, and on random numbers in its place."""
    return [read_rung(climb.attacker, manners, rung) for rung in climb.rungs(raw)]


def read_rung(attacker: Attacker, manners: Manners, rung: Rung) -> Read:
    """The attack on one rung."""
    attacker.learner.space.load(attacker.weights)  # training at a client has moved them
    found = [_recovered(attacker, manners, update, rung.noise, dialogues) for update, dialogues in rung.views]
    rouges, words = (np.array(each) for each in zip(*found, strict=True))
    return Read(rung.name, float(rouges.mean()), float(words.mean()), _spread(words), _spread(rouges), len(words))


def _spread(of_views: NDArray[np.float64]) -> float:
    return float(of_views.std(ddof=1)) if len(of_views) > 1 else 0.0


def _recovered(
    attacker: Attacker, manners: Manners, update: FloatVector, noise: float, dialogues: IntVector
) -> tuple[float, float]:
    table = attacker.learner.private
    texts = [table.ids[table.starts[i] : table.starts[i + 1]].tolist() for i in dialogues]
    truths = [manners.words(text) for text in texts]
    guesses = attacker.texts(update, noise, manners, len(texts), max(map(len, texts)))
    bag, scores = {token for text in truths for token in text}, attacker.tokens(update, noise)
    scores[manners.markers] = -np.inf
    rouge = rouge_of_batch(truths, [manners.words(text) for text in guesses])
    return rouge, f1(bag, most_likely(scores, len(bag)).tolist())
