"""The recipe: every setting of a run, read from TOML, checked, and given a digest.

Knows which keys exist, their types, their ranges, and which settings of different rooms contradict each other.
Knows no model, no data and no protocol: of the rooms it takes a claim's words alone, and it starts no work.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from chatfed.privacy.guarantee import Noise, Unit

from .origins import Origins
from .settings import (
    NOT_EMPTY,
    RATE,
    SEED,
    RecipeError,
    Rule,
    Section,
    above,
    above_up_to,
    at_least,
    between,
    choice,
    inside,
    one_of,
    setting,
    shown,
)
from .tables import read_override, read_tables

DEFAULT_RECIPE = Path(__file__).parents[1] / "recipes" / "default.toml"

RING_WIDTHS = (16, 21, 32)

CLIP_NORMS = (1e-6, 1e6)  # between which a clip norm that follows a quantile may move
WHOLE = ("*embed_tokens.weight", "lm_head.weight")
"""Names of the matrices that say what tokens are; what a house calls things is learned there."""

LEAST_CANARIES, MOST_CANARIES = 32, 8192

LEAST_CLIENTS = 3  # of a cohort that follows the data: in a sum of two each knows the other's update
LATE = 0.6  # of the rounds, in which a rate that falls late falls
MOST_SLOTS = 256  # as in the secure sum's own parameters
MOST_PARTICIPANTS = 65520  # of a secure sum: Shamir's field has 65,521 elements


def _is_digest(text: str) -> bool:
    return not text or (len(text) == 64 and not set(text) - set("0123456789abcdef"))


@dataclass(frozen=True)
class DataSection(Section):
    """Whose words are learned from, and how a source of them is read."""

    name: ClassVar[str] = "data"
    source: str = setting("helpdesk", NOT_EMPTY)  # "helpdesk" (generated), a file, or the name of a hub data set
    public: str = ""  # public text for tokenizer and pre-training; "": the help desk's public part
    validation: str = ""  # held-out dialogues; "": the help desk's held-out clients
    hold_out: float = setting(0.0, Rule("0 or more and at most 0.5", lambda share: 0 <= share <= 0.5), later=True)
    """Share of each client's dialogues that it holds out, to measure with."""
    hold_out_epsilon: float = setting(
        0.0, at_least(0), later=True
    )  # of a held-out dialogue, for sums that measure; 0: none do
    client_column: str = setting("client_id", NOT_EMPTY)
    label_column: str = ""  # deal by this column (Dirichlet) when the data names no clients; "": deal evenly
    clients: int = setting(0, at_least(0))  # deal to so many when the data names no clients; of the help desk, so many
    simulated_clients: bool = False  # dealt clients may be the protected unit: the claim then says "simulated"
    alpha: float = setting(0.3, above(0))  # Dirichlet concentration: small is unlike, large is alike
    skip_bad_lines: bool = False
    ignore_columns: tuple[str, ...] = ()  # columns of records and keys of messages, left out knowingly
    me: tuple[str, ...] = ()  # authors whose messages are the assistant's, where the data has authors and no roles
    gap_hours: float = setting(8.0, at_least(0))  # a silence that ends a dialogue of authors; 0: none does
    overlap: str = setting("stop", one_of("stop", "drop", "keep"))  # where the same dialogue stands in two places
    train_on: str = setting("all", one_of("all", "assistant"))
    redact: bool = setting(False, later=True)  # placeholders for what names people, before anything is learned
    redact_language: str = setting("en", one_of("en", "de"), later=True)
    seed: int = setting(1, SEED)

    @property
    def held_out(self) -> str:
        """What the measured dialogues are, as far as this program knows: a file's may be anybody's."""
        if self.hold_out:
            return "dialogues that the clients themselves held out"
        return "held-out dialogues" if self.validation else "held-out dialogues of clients that never trained"


@dataclass(frozen=True)
class ModelSection(Section):
    """The model: a base that is there, or the size of the small Llama; and what of it is trained."""

    name: ClassVar[str] = "model"
    base: str = ""  # transformers folder or hub name; "": the small Llama below
    hidden: int = setting(160, at_least(1))
    layers: int = setting(3, at_least(1))
    heads: int = setting(5, at_least(1))
    intermediate: int = setting(432, at_least(1))
    vocabulary: int = setting(4096, at_least(300))  # byte-level BPE: 256 bytes and the role markers come first
    context: int = setting(256, at_least(8))  # tokens in a window
    trainable: tuple[str, ...] = setting(("*proj.weight", *WHOLE), NOT_EMPTY)  # globs, or "all"
    directions: float = setting(0.0, Rule("0 or more and below 1", lambda share: 0 <= share < 1))  # of inputs; 0: all
    whole: tuple[str, ...] = WHOLE  # globs: of these every number is learned, whatever `directions` says
    lora_rank: int = setting(0, at_least(0))  # of adapters, which then are all that is trained; 0: none
    lora_alpha: float = setting(16.0, above(0))  # adapters count lora_alpha / lora_rank
    lora_targets: tuple[str, ...] = ()  # ends of layers' names, or "all-linear"; empty: peft's choice

    @property
    def share(self) -> float:
        """Of each matrix's directions, that is learned; 0: all, or adapters, which are small already."""
        return 0.0 if self.lora_rank else self.directions

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % (2 * self.heads):
            raise RecipeError(
                "{model.hidden} must be a multiple of twice {model.heads} (rotary positions pair up each head's "
                "coordinates): {hidden} is not a multiple of {twice}",
                hidden=self.hidden,
                twice=2 * self.heads,
            )


@dataclass(frozen=True)
class PretrainSection(Section):
    """How the small Llama learns public text before any client is asked."""

    name: ClassVar[str] = "pretrain"
    epochs: float = setting(3.0, at_least(0))
    max_tokens: int = setting(2_500_000, at_least(0))  # learned in all, however many passes; 0: no limit
    replicas: int = setting(2, at_least(1))  # learn apart and are averaged, by however many processes
    batch: int = setting(4, at_least(1))  # dialogues, of each replica
    learning_rate: float = setting(2e-3, RATE)
    precision: str = setting("auto", one_of("auto", "float32", "bfloat16"))  # "auto": by what the processor has
    seed: int = setting(1, SEED)
    max_seconds: float = setting(3600.0, at_least(0))  # a safety net: what it cuts is no base of the recipe; 0: none


@dataclass(frozen=True)
class PrivacySection(Section):
    """Who is protected, how much, and who adds the noise."""

    name: ClassVar[str] = "privacy"
    unit: Unit = choice(Unit.EXAMPLE)  # one dialogue, or all of a client's
    noise: Noise = choice(Noise.LOCAL)
    target_epsilon: float = setting(8.0, at_least(0))  # per client, over the whole run
    delta: float = setting(1e-5, inside(0, 1))
    noise_multiplier: float = setting(0.0, at_least(0))  # 0: calibrated from target_epsilon
    clip_norm: float = setting(1.0, above(0))  # L2, of a dialogue's gradient, or of a client's whole update
    clipping: str = setting("flat", one_of("flat", "per_layer", "automatic"))  # of a dialogue's gradient
    clip_quantile: float = setting(0.0, between(0, 1))  # of updates' norms that clip_norm follows; 0: it is fixed
    sampling_rate: float = setting(1.0, above_up_to(0, 1))  # Poisson, per dialogue and step, or per client and round
    expected_batch_size: float = setting(36.0, above(0))  # dialogues; a public constant, never counted from data
    local_steps: int = setting(1, at_least(1))  # per participation
    learning_rate: float = setting(1.0, RATE)
    budget_epsilon: float = setting(0.0, at_least(0))  # what a client's ledger allows; 0: target_epsilon

    @property
    def longest_part(self) -> float:
        """L2 norm of what shared noise protects: a client's whole update, or one dialogue's share of the one step."""
        return (
            self.clip_norm
            if self.unit is Unit.CLIENT
            else self.learning_rate * self.clip_norm / self.expected_batch_size
        )

    @property
    def budget(self) -> float:
        """The epsilon a client's ledger allows."""
        return self.budget_epsilon or self.target_epsilon


@dataclass(frozen=True)
class NGramsSection(Section):
    """A count of n-grams at all clients before the first round, and what the server makes of it."""

    name: ClassVar[str] = "ngrams"
    longest: int = setting(0, between(0, 16))  # tokens in the longest n-gram; 0: nothing is counted
    share: float = setting(0.75, inside(0, 1))  # of the target epsilon, for the count; rounds have the rest
    cells: int = setting(1 << 20, at_least(300))  # of the vectors that are summed
    texts: int = setting(1536, at_least(1))  # that the server imagines with the counts, to train the base on
    epochs: float = setting(5.0, above(0))  # passes over them
    batch: int = setting(4, at_least(1))  # texts, of each of pretrain.replicas
    learning_rate: float = setting(3e-3, RATE)
    layers: int = setting(0, at_least(0))  # uppermost, of a base that is there, that learn them; 0: all of it
    stay: float = setting(0.0, Rule("0 or more and below 1", lambda share: 0 <= share < 1), later=True)
    """Share of the base's weights in those that it goes on with, once it has learned."""
    trim: float = setting(0.0, Rule("0 or more and below 1", lambda share: 0 <= share < 1), later=True)
    """Share of each matrix's changes, the smallest, that are taken back before that; not of the output layer."""
    seed: int = setting(1, SEED)


@dataclass(frozen=True)
class LocalSection(Section):
    """How a client learns where the unit is the client: plain SGD, since its whole update is clipped."""

    name: ClassVar[str] = "local"
    epochs: int = setting(1, at_least(1))  # passes over its dialogues, in a random order
    batch: int = setting(4, at_least(1))  # dialogues
    learning_rate: float = setting(0.5, RATE)


@dataclass(frozen=True)
class SecAggSection(Section):
    """The secure sum: who may be corrupt or drop out, and the ring that updates are encoded in."""

    name: ClassVar[str] = "secagg"
    scheme: str = setting("masks", one_of("masks", "threshold-he"), later=True)  # how sums are protected
    identities: str = setting("none", one_of("none", "roster"))  # "none": only an honest-but-curious server is claimed
    threshold: float = setting(0.67, above_up_to(0.5, 1))  # fraction of the cohort that must survive
    corrupt: float = setting(0.1, inside(0, 0.5))  # fraction that may be corrupt: sizes of quorum and circle
    dropout: float = setting(0.1, inside(0, 0.5))  # fraction that may drop out of a circle (above 50 clients)
    key_rounds: int = setting(0, between(0, MOST_SLOTS))
    """Rounds that keys agreed on once serve; 0: KEY_ROUNDS where each asks all clients, else 1 (`following`)."""
    rotation: bool = True  # spread each update evenly over its coordinates, so that a narrower ring holds it
    ring_bits: int = setting(0, one_of(0, *RING_WIDTHS))  # 0: the narrowest whose rounding is lost in the noise
    update_clip: float = setting(40.0, above(0))  # L2, a client's whole update


@dataclass(frozen=True)
class FederationSection(Section):
    """The rounds: how many, who is in them, and what the server does with a sum."""

    name: ClassVar[str] = "federation"
    rounds: int = setting(10, at_least(1))
    cohort: int = setting(
        0, Rule(f"0 or between 2 and {MOST_PARTICIPANTS}", lambda n: not n or 2 <= n <= MOST_PARTICIPANTS)
    )
    """Clients that begin in a round; 0: it follows the data (`following`)."""
    largest_cohort: int = setting(40, between(LEAST_CLIENTS, MOST_PARTICIPANTS))  # where the cohort follows the data
    sampling: str = setting("shuffled", one_of("shuffled", "uniform"))
    bands: int = setting(1, between(1, 255))  # rounds in which a client's update is sent; above 1: DP-FTRL
    server_optimizer: str = setting("fedavg", one_of("fedavg", "fedadam"))
    server_learning_rate: float = setting(1.0, RATE)
    server_schedule: str = setting("linear", one_of("constant", "linear", "late"))
    """How the server's rate falls: not, evenly, or evenly over the last LATE of the rounds."""
    warmup: int = setting(0, at_least(0))  # first rounds, in which the rate rises evenly
    weight_decay: float = setting(0.0, at_least(0))  # fedadam: coordinates shrink by this times the rate (AdamW)
    beta1: float = setting(0.9, Rule("0 or more and below 1", lambda value: 0 <= value < 1))
    beta2: float = setting(0.99, Rule("0 or more and below 1", lambda value: 0 <= value < 1))
    adam_epsilon: float = setting(1e-8, above(0))
    max_participations: int = setting(0, at_least(0))  # per client, over the run; 0: as many as the plan gives
    seed: int = setting(1, SEED)

    def participants(self, round_index: int) -> int:
        """Clients in a round's sum: those that begin in it and those whose updates are sent again."""
        return self.cohort * min(round_index + 1, self.bands)

    @property
    def sizes(self) -> list[int]:
        """Of all rounds' sums, each once, the least first."""
        return [self.participants(i) for i in range(self.bands)]

    def rates(self) -> list[float]:
        """The server's learning rate in each round.

        It falls since late noise stays in the model, and early noise is learned away.
        """
        fall = {"constant": math.inf, "linear": 1.0, "late": LATE}[self.server_schedule]
        return [self.server_learning_rate * self._share(i, fall) for i in range(self.rounds)]

    def _share(self, i: int, fall: float) -> float:
        """Of the rate, in round `i`: after its rise, before its fall over the last `fall` of the rounds."""
        risen = (i + 1) / (self.warmup + 1) if i < self.warmup else 1.0
        return risen * (1.0 if math.isinf(fall) else min(1.0, (1 - i / self.rounds) / fall))


@dataclass(frozen=True)
class AuditSection(Section):
    """What is put into the run so that anyone can measure afterwards what it gives away."""

    name: ClassVar[str] = "audit"
    canaries: int = setting(
        0,
        Rule(
            f"0 or between {LEAST_CANARIES} and {MOST_CANARIES}",
            lambda count: not count or LEAST_CANARIES <= count <= MOST_CANARIES,
        ),
        later=True,
    )
    """Directions in the sums, and dialogues at clients, that coins put there; 0: none."""
    commitment: str = setting("", Rule("empty or 64 hex digits", _is_digest), later=True)
    """SHA-256 of the seed of coins and canaries, which the run writes itself before anything is learned."""


@dataclass(frozen=True)
class RuntimeSection(Section):
    """What changes speed and place only: not bound into the digest."""

    name: ClassVar[str] = "runtime"
    workers: int = setting(2, at_least(1))  # processes, one thread each
    device: str = setting("cpu", NOT_EMPTY)
    frozen_outputs_mib: int = setting(512, at_least(0))  # each process's, of what frozen layers say of dialogues
    evaluation_dialogues: int = setting(300, at_least(1))
    out: str = setting("runs/default", NOT_EMPTY)
    cache: str = setting("cache", NOT_EMPTY)


@dataclass(frozen=True)
class Recipe:
    """Every setting of a run. All but `runtime` is bound into the digest."""

    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    pretrain: PretrainSection = PretrainSection()
    privacy: PrivacySection = PrivacySection()
    ngrams: NGramsSection = NGramsSection()
    local: LocalSection = LocalSection()
    secagg: SecAggSection = SecAggSection()
    federation: FederationSection = FederationSection()
    audit: AuditSection = AuditSection()
    runtime: RuntimeSection = RuntimeSection()

    def digest(self) -> bytes:
        """32 bytes: SHA-256 of the settings as canonical JSON, without `[runtime]`, which changes speed only."""
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        tables = asdict(self)
        del tables["runtime"]
        for name, kind in SECTIONS.items():
            for each in fields(kind):  # type: ignore[arg-type]  # every one is a dataclass
                if each.metadata.get("later") and getattr(getattr(self, name), each.name) == each.default:
                    del tables[name][each.name]
        if not tables["audit"]:  # a table that came later
            del tables["audit"]
        text = json.dumps(tables, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).digest()

    def to_toml(self) -> str:
        """The whole recipe as TOML, every key written out; `load_recipe` reads it back to an equal recipe."""
        tables = []
        for section, table in asdict(self).items():
            lines = [f"{key} = {shown(value)}" for key, value in table.items()]
            tables.append("\n".join([f"[{section}]", *lines]))
        return "\n\n".join(tables) + "\n"


SECTIONS: dict[str, type[Section]] = {each.name: type(each.default) for each in fields(Recipe)}  # type: ignore[misc]


def load_recipe(path: Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply `section.key=value` overrides in order, check types and ranges.

    Keys that the file leaves out are the default recipe's, which alone is read where no path is given. Raises
    RecipeError, one line that names what was given wrong as it was given, and what is allowed.
    """
    return read_settings(path, overrides)[0]


def read_settings(
    path: Path | None = None, overrides: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> tuple[Recipe, Origins]:
    """As `load_recipe`, with the command line's own options, and where each setting was given.

    options: values by key; --set goes before them. The Origins tell mistakes that only come to light later.
    """
    source = DEFAULT_RECIPE if path is None else path
    given, tables = read_tables(source, SECTIONS), read_tables(DEFAULT_RECIPE, SECTIONS)
    for section, table in given.items():
        tables.setdefault(section, {}).update(table)
    in_file = frozenset(f"{section}.{key}" for section, table in given.items() for key in table if path)
    options, typed = options or {}, {}
    for key, value in options.items():
        section, _, name = key.partition(".")
        tables.setdefault(section, {})[name] = value
    for text in overrides:
        section, name, value = read_override(text, SECTIONS)
        tables.setdefault(section, {})[name] = value
        typed[f"{section}.{name}"] = " ".join(text.split())
    origins = Origins(str(source), in_file, frozenset(options), typed)
    try:  # only now, as keys may be valid together that are not one by one
        return Recipe(**{name: kind(**tables.get(name, {})) for name, kind in SECTIONS.items()}), origins  # type: ignore[arg-type]
    except RecipeError as error:
        raise origins.told(error) from None
