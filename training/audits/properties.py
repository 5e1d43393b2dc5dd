"""Property inference on a finished run's clients: raw update, masked, in a sum, in a noised sum, and from many sums.

Updates are the real learner's, from where rounds began. The attacker knows the model, the updates of all clients that
it learns from, and their property; it scores others. Noise falls on each coordinate as the recipe has it; drawn here by
a seeded generator, as it carries no claim. It sees one update of each client, the same in every sum: rounds that move
the model would tell it less. Whatever is found, no claim with one dialogue as unit speaks of a client's properties.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatfed.audit.part import Part, Table, Verdict
from chatfed.audit.properties import Labels, Matrix, Span, Vector, by_client, direction, folds
from chatfed.audit.roc import Area, area
from chatfed.model.tokenizer import MARKER
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.privacy.noise import system_random
from chatfed.secagg import masking
from chatfed.secagg.integers import SignedSum
from chatfed.types import ClientId, FloatVector

from ..base.learner import Learner
from ..base.tokens import ASSISTANT, TokenTable
from .audited import Audited, Say
from .matched import ceiling

CLIENTS = 100  # whose updates are made; each takes its dialogues' gradients
PARTS, SEED = 8, 11  # of the clients, in turn scored and not learned from; of the attack's own draws
SMALL_SUM = 10  # clients
LETTERS = 4  # of a word that may be a property
_RING = 32  # bits of the ring in which updates are masked here
_STEP = 2.0**-20  # of a clip norm


@dataclass(frozen=True)
class Noises:
    """Deviations in each coordinate, in clip norms."""

    upload: float  # of one client's upload without masks
    shared: float | None  # of a sum, whatever its size, where clients add shares; None: each adds all of its own

    @classmethod
    def of(cls, run: Audited) -> Noises:
        """As the run's recipe has it."""
        z, recipe = run.plan.terms.noise_multiplier, run.plan.recipe
        if recipe.privacy.noise is not Noise.DISTRIBUTED:
            return cls(z, None)
        sums, cohort = run.plan.agreement.sums, recipe.federation.cohort
        honest = sums.threshold(cohort) - sums.colluders(cohort)
        return cls(z / math.sqrt(honest), z)

    def of_sum(self, clients: int) -> float:
        """Of a sum of so many: what is certain in it."""
        return self.upload * math.sqrt(clients) if self.shared is None else self.shared


def updates_of(learner: Learner, clients: Sequence[ClientId], say: Say = lambda done: None) -> NDArray[np.float32]:
    """Each client's update without noise, in clip norms: float32[clients, d]. What is protected in it is clipped."""
    privacy = learner.how.privacy
    if privacy.unit is Unit.EXAMPLE:  # parts by themselves, whoever adds the noise
        shared = dataclasses.replace(privacy, noise=Noise.DISTRIBUTED)
        learner = dataclasses.replace(learner, how=dataclasses.replace(learner.how, privacy=shared))
    made = np.zeros((len(clients), learner.space.dimension), np.float32)
    for at, client in enumerate(clients):
        for part in learner.learn(learner.initial, learner.private.clients[client]):
            length = math.sqrt(float(np.dot(part, part))) / privacy.clip_norm
            if math.isfinite(length):  # what is not finite adds nothing
                made[at] += part * np.float32(1 / (max(1.0, length) * privacy.clip_norm))
        if at % 20 == 19:
            say(f"{at + 1} of {len(clients)} clients' updates")
    return made


def writes_small(run: Audited, clients: Sequence[ClientId]) -> tuple[str, Labels]:
    """Whose own words have fewer capital letters than the median client's: a habit that no task is about."""
    _, tokenizer = run.model()
    table, shares = run.members, list[float]()
    for client in clients:
        text = "".join(str(tokenizer.decode(_own_words(table, int(at)))) for at in table.clients[client])
        letters = [c for c in text if c.isalpha()]
        shares.append(sum(c.isupper() for c in letters) / max(1, len(letters)))
    return "writes fewer capital letters than most", np.array(shares) < np.median(shares)


def _own_words(table: TokenTable, dialogue: int) -> list[int]:
    here = slice(table.starts[dialogue], table.starts[dialogue + 1])
    kinds = table.kinds[here]
    mine: list[int] = table.ids[here][(kinds & ASSISTANT == 0) & (kinds != MARKER)].tolist()
    return mine


def speaks_of(run: Audited, clients: Sequence[ClientId]) -> tuple[str, Labels]:
    """Who uses a word in a larger share of its dialogues than the median client: the word that divides clients most."""
    _, tokenizer = run.model()
    shares = np.stack([_shares(run.members, client, len(tokenizer)) for client in clients])
    usual = shares.mean(0)
    spread = np.where((usual > 0.05) & (usual < 0.5), shares.var(0) / np.maximum(usual * (1 - usual), 1e-9), 0.0)
    for token in np.argsort(-spread):
        word = str(tokenizer.decode([int(token)])).strip()
        if len(word) >= LETTERS and word.isalpha():
            return f'says "{word}" in more dialogues than most', shares[:, token] > np.median(shares[:, token])
    return "none", np.zeros(len(clients), np.bool_)


def _shares(table: TokenTable, client: ClientId, tokens: int) -> Vector:
    """Of a client's dialogues, in how many each token is: float64[tokens]."""
    found, mine = np.zeros(tokens), table.clients[client]
    for at in mine:
        found[np.unique(table.ids[table.starts[at] : table.starts[at + 1]])] += 1
    return found / max(1, len(mine))


@dataclass(frozen=True)
class Attacked:
    """Clients as a linear attack sees them."""

    rows: Matrix  # float64[n, r], updates in coordinates of their span
    labels: Labels  # bool[n], who has the property

    def scored(self, seen: Callable[[NDArray[np.int64], np.random.Generator], Matrix], **how: float) -> Area:
        """What is `seen` of each client, scored by an attack that learned from others: the area."""
        draws, scores = np.random.default_rng(SEED), np.empty(len(self.rows))
        for held in folds(len(self.rows), PARTS, SEED):
            along = direction(self.rows[~held], self.labels[~held], **how)
            scores[held] = seen(np.flatnonzero(held), draws) @ along
        return area(scores[self.labels], scores[~self.labels])

    def alone(self, noise: float = 0.0) -> Area:
        """Each one's update by itself."""
        return self.scored(lambda who, draws: self.noised(self.rows[who], noise, draws), noise=noise)

    def in_sum(self, clients: int, noise: float = 0.0) -> Area:
        """Each one in a sum with so many others, drawn anew."""

        def sums(who: NDArray[np.int64], draws: np.random.Generator) -> Matrix:
            return self.noised(np.stack([self._sum(int(one), clients, draws) for one in who]), noise, draws)

        return self.scored(sums, noise=noise, others=float(clients))

    def _sum(self, one: int, clients: int, draws: np.random.Generator) -> Vector:
        others = np.delete(np.arange(len(self.rows)), one)
        total: Vector = self.rows[one] + self.rows[draws.choice(others, clients - 1, replace=False)].sum(0)
        return total

    def over_rounds(self, clients: int, rounds: int, noise: float = 0.0) -> Area:
        """From the sums of so many rounds of which it is known who was in them."""
        draws = np.random.default_rng(SEED)
        there = np.zeros((rounds, len(self.rows)), np.bool_)
        for each in there:
            each[draws.choice(len(self.rows), clients, replace=False)] = True
        sums = self.noised(there.astype(np.float64) @ self.rows, noise, draws)
        scores = np.empty(len(self.rows))
        for held in folds(len(self.rows), PARTS, SEED):
            along = direction(self.rows[~held], self.labels[~held], noise=noise)
            values = (sums - sums.mean(0)) @ along
            scores[held] = by_client(values, there)[held]
        return area(scores[self.labels], scores[~self.labels])

    @staticmethod
    def noised(rows: Matrix, deviation: float, draws: np.random.Generator) -> Matrix:
        """Isotropic noise in d coordinates is isotropic in those of the span."""
        return rows + deviation * draws.standard_normal(rows.shape)


def masked(span: Span, updates: NDArray[np.float32]) -> Matrix:
    """What the secure sum's masks make of each update, in the span: float64[n, r], each in whole ring steps."""
    ring = SignedSum(updates.shape[1], _RING)

    def one(update: FloatVector) -> NDArray[np.float32]:
        vector = ring.encode(np.rint(update.astype(np.float64) / _STEP).astype(np.int64))
        masking.apply_masks(vector, [system_random(32)], [])
        return (ring.decode(vector) * _STEP).astype(np.float32)

    return np.concatenate([span.coordinates(one(update)[None]) for update in updates])


def levels(span: Span, labels: Labels, noises: Noises, many: int, rounds: int) -> dict[str, tuple[str, Area]]:
    """By key, what is seen in words and what it tells. many: clients of a sum."""
    those = Attacked(span.coordinates(span.rows), labels)
    hidden = masked(span, span.rows)
    few, enough = min(SMALL_SUM, many), 2 * len(labels)
    found = {
        "raw": ("one client's update, bare", those.alone()),
        "masked": ("one client's upload under its masks", those.scored(lambda who, draws: hidden[who])),
        "small_sum": (f"the sum of {few} clients", those.in_sum(few)),
        "sum": (f"the sum of {many} clients", those.in_sum(many)),
        "rounds": (f"{rounds} sums of {many}, and who was in them", those.over_rounds(many, rounds)),
        "many_rounds": (f"{enough} sums of {many}, and who was in them", those.over_rounds(many, enough)),
    }
    if not noises.upload:
        return found
    noise = noises.of_sum(many)
    noisy = {
        "upload": ("one client's upload without masks, its own noise in it", those.alone(noises.upload)),
        "small_noised_sum": (f"the noised sum of {few} clients", those.in_sum(few, noises.of_sum(few))),
        "noised_sum": (f"the noised sum of {many} clients", those.in_sum(many, noise)),
        "noised_rounds": (f"{rounds} noised sums of {many}", those.over_rounds(many, rounds, noise)),
        "many_noised_rounds": (
            f"{enough} noised sums of {many}, more than any budget has",
            those.over_rounds(many, enough, noise),
        ),
    }
    return found | noisy


RELEASED = ("noised_sum", "noised_rounds")
"""What a server that follows the protocol has of a run with noise; without noise, their bare kin."""


def properties(run: Audited, say: Say) -> Part:
    """Trains the attack on real updates and says what each step of the protocol leaves of it."""
    clients = list(run.own)[:CLIENTS]
    updates = updates_of(run.learner(), clients, say)
    span = Span.of(updates)
    recipe = run.plan.recipe
    share = recipe.federation.cohort / max(1, len(run.members.clients))
    many, noises = max(2, min(round(share * len(clients)), len(clients) // 2)), Noises.of(run)
    found = {}
    for named, labels in (writes_small(run, clients), speaks_of(run, clients)):
        if labels.any() and not labels.all():
            say(named)
            found[named] = levels(span, labels, noises, many, recipe.federation.rounds)
    return _part(run, found, len(clients))


def _part(run: Audited, found: Mapping[str, Mapping[str, tuple[str, Area]]], clients: int) -> Part:
    verdict, sentence = _judged(run, found)
    tables = [_table(named, of) for named, of in found.items()]
    figures = {
        "clients": clients,
        "properties": {named: {key: got.to_json() for key, (_, got) in of.items()} for named, of in found.items()},
    }
    raw = [of["raw"][1].value for of in found.values()]
    open_ = [f"One client's update without masks tells it: area {min(raw):.2f} to {max(raw):.2f}."] if raw else []
    many = [of["many_noised_rounds"][1].value for of in found.values() if "many_noised_rounds" in of]
    if many and max(many) > 0.6:
        open_.append(
            f"Over many sums of other clients each, noise or not, it is found again (area {min(many):.2f} to "
            f"{max(many):.2f}): what hides it is how few rounds there are, and who else is in them."
        )
    if run.plan.recipe.privacy.unit is Unit.EXAMPLE:
        open_.append("Epsilon is for one dialogue. What all dialogues of a client have in common is in no claim.")
    title = "What updates tell of clients beside their words"
    return Part("properties", title, verdict, sentence, figures, tables, (), open_, NOTES)


NOTES = (
    "Area under the ROC curve of clients that the attack did not learn from; 0.5 is chance, intervals are 95 %.",
    "A linear discriminant on real updates of the run's learner (Melis et al. 2019, 1805.04049); over rounds, least "
    "squares on who was in which sum (PROLIN: Kerkouche, Acs and Fritz 2023, 2303.03908).",
    "The attacker has the bare updates of seven eighths of the clients and knows their property. Each client's update "
    "is the same in all sums, which favours it. Attacks that are not linear are not tried.",
)


def _table(named: str, of: Mapping[str, tuple[str, Area]]) -> Table:
    rows = [(seen, round(got.value, 3), f"{got.low:.3f} to {got.high:.3f}", 0.5) for seen, got in of.values()]
    return Table(f"Who {named}", ("what is seen", "area", "95 %", "chance"), rows)


def surely(found: Area) -> float:
    """What the area is above, where four are looked at: 2.5 standard errors below, by its 95 % interval."""
    return found.value - 2.5 / 1.96 * (found.value - found.low)


def _judged(run: Audited, found: Mapping[str, Mapping[str, tuple[str, Area]]]) -> tuple[Verdict, str]:
    """Cannot judge where the attack finds nothing in bare updates; a fault only where a claim says otherwise."""
    seeing = {named: of for named, of in found.items() if of["raw"][1].low > 0.5}
    if not seeing:
        return Verdict.UNJUDGED, "The attack finds no property in bare updates either, so that it shows nothing."
    once = run.plan.terms.mechanism
    released = ("sum", "rounds") if once is None else RELEASED
    got = max((of[key][1] for of in seeing.values() for key in released), key=surely)
    raw = max(of["raw"][1].value for of in seeing.values())
    tells = f"a client's habits show in its bare update (area {raw:.2f}; 0.5 is chance)"
    whole = once is not None and run.plan.recipe.privacy.unit is Unit.CLIENT
    if whole and once and surely(got) > ceiling(once.noise_multiplier / math.sqrt(run.plan.participations)):
        return Verdict.FAULT, f"More than is claimed: {tells}, and in what the server has ({got.value:.2f})."
    if surely(got) > 0.5:
        return Verdict.OPEN, f"{tells.capitalize()}, and in what the server has still at {got.value:.2f}."
    unlike = f"area {got.value:.2f}, {got.low:.2f} to {got.high:.2f}"
    return Verdict.HOLDS, f"{tells.capitalize()}; what the server has is not told from chance ({unlike})."
