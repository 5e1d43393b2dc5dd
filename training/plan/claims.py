"""What a run may claim, from the clients' ledgers and the plan. Computes nothing that the ledgers do not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chatfed.audit.figures import above
from chatfed.privacy.accounting import Mechanism, accountant, compose
from chatfed.privacy.conversions import PrivacyError
from chatfed.privacy.distributed import SAMPLED_SUMS, SUMS, DistributedGaussian, distributed_epsilon
from chatfed.privacy.guarantee import Adjacency, Guarantee, Noise, Protected, Trust, Unit
from chatfed.privacy.ledger import Charge
from chatfed.secagg.messages import THRESHOLD_HE
from chatfed.types import ClientId

from .agreement import Agreement
from .recipe import PrivacySection
from .repeats import Repeats

DEALT = "clients are simulated: dialogues were dealt to them, so what a client holds is no person's"
SEVERAL = (
    "what several dialogues of one person reveal together (k dialogues cost more than k times epsilon at the same "
    "delta: `person`, docs/privacy.md)"
)
HINTS = (
    "Hint-RLWE is hard in degree 2048, with a modulus of 54 bits and errors of deviation 6.4 (docs/encrypted.md): the "
    "sum of the survivors' keys is told, and hides the key of each of two honest ones or more"
)
FIXED = (
    "the recipe was fixed without looking at the private dialogues (the default one was tuned on generated corpora, of "
    "seeds 7 and 1, which are nobody's)"
)
_KEPT_BY_CLIENTS = {
    Unit.EXAMPLE: "which dialogues a step took stays with the client",
    Unit.CLIENT: "which clients' coins fell for noise alone stays with them",
}
OTHER_RUNS = "other runs on the same dialogues: a simulation keeps ledgers in the run's folder, so each starts at zero"
OWN_RUNS = "other runs on the same dialogues, but those whose charges a member keeps in the same ledger"
ASKED = (
    "the coordinator counted all its invitations, which is what epsilon is from: it reads no member's ledger. "
    "Otherwise each member's own budget is what holds"
)
HELD_OUT = "the held-out dialogues and the perplexities measured on them"
REDACTED = (
    "that the entity filter replaced names and the like before anything was learned (data.redact): it adds to the "
    "guarantee and replaces nothing of it, for what it misses is learned under the guarantee alone, and epsilon is the "
    "same with and without"
)
MEASURED = (
    "the held-out dialogues, which nothing is learned from: what is measured on them protects each of these with "
    "epsilon {epsilon:g} at delta {delta:g} over all measurements, against whoever sees the sums only (`measuring`)"
)
EARLIER = "in rounds by earlier editions of the federation"
EXCLUDED = (
    OTHER_RUNS,
    "that a client took part, in which rounds, how long it took, and whether it failed",
    HELD_OUT,
    "choices of the recipe made after looking at such measurements",
    "the public text behind tokenizer and base model",
)  # what no claim of a run counts, whatever its unit


@dataclass(frozen=True)
class Spent:
    """What the ledgers of all clients hold."""

    by_client: Mapping[ClientId, float]  # epsilon; clients that never took part are not in it
    participations: Mapping[ClientId, int]
    accountant: str  # whose bound the largest epsilon is
    costliest: tuple[Charge, ...]  # the charges behind it

    @property
    def charges(self) -> int:
        """Entries in all ledgers together."""
        return sum(self.participations.values())

    @property
    def most(self) -> float:
        """The largest epsilon of a client; 0 where nobody took part."""
        return max(self.by_client.values(), default=0.0)

    def mean(self, clients: int) -> float:
        """Over all clients, those that never took part at 0."""
        return sum(self.by_client.values()) / max(1, clients, len(self.by_client))

    def with_later(self, later: Spent) -> Spent:
        """This, and what the ledgers of some clients were found to hold since: costs only grow."""
        most = later if later.by_client and later.most >= self.most else self
        by_client, counts = {**self.by_client, **later.by_client}, {**self.participations, **later.participations}
        return Spent(by_client, counts, most.accountant, most.costliest)


def accountant_of(charges: Sequence[Charge], delta: float) -> str:
    """Whose bound holds for these charges, by name."""
    own = [charge for charge in charges if isinstance(charge, Mechanism)]
    if own:
        return accountant(own, delta=delta)
    return SAMPLED_SUMS if any(charge.sampling_rate < 1 for charge in charges) else SUMS


def _without_amplification(charges: Sequence[Charge], delta: float) -> str:
    """What the same charges cost before whoever knows who was sampled: words for a claim, empty at the rate 1."""
    if not any(charge.sampling_rate < 1 for charge in charges):
        return ""
    own = [replace(charge, sampling_rate=1.0) for charge in charges if isinstance(charge, Mechanism)]
    shares = [replace(charge, sampling_rate=1.0) for charge in charges if isinstance(charge, DistributedGaussian)]
    try:
        cost = compose(own, delta=delta) if own else distributed_epsilon(shares, delta=delta)
    except PrivacyError:  # more than noise tables can show
        return "; before whoever knows who was sampled, no useful epsilon holds"
    return f"; before whoever knows who was sampled, epsilon is {above(cost)}"


def _sampling(unit: Unit, rate: float) -> str:
    if unit is Unit.CLIENT and rate == 1:
        return "none: whoever is asked takes part, and nothing is claimed from the server's choice of clients"
    if unit is Unit.CLIENT:
        return (
            f"Poisson: each client that is asked tosses its own coin, and with probability {1 - rate:g} sends its "
            "noise alone; nothing is claimed from the server's choice of clients"
        )
    if rate == 1:
        return "every dialogue in every step (Poisson sampling at rate 1): no amplification by sampling is claimed"
    return (
        f"Poisson: each step takes each of the client's dialogues with probability {rate:g}, drawn by the client; "
        "nothing is claimed from the server's choice of clients"
    )


def _not_chosen(privacy: PrivacySection) -> str:
    return (
        "how many charges were made, and which, did not follow from how the run went; otherwise the clients' budget of "
        f"epsilon {privacy.budget:g} is what holds"
    )


def protected(unit: Unit, simulated: bool) -> Protected:
    """The unit, as a claim names it. simulated: clients are made up."""
    return Protected.SIMULATED_CLIENT if simulated and unit is Unit.CLIENT else unit.protected


@dataclass(frozen=True)
class Claim:
    """What a run sets out to claim; in numbers once it is known what its ledgers hold."""

    privacy: PrivacySection
    agreement: Agreement
    private: bool  # there is noise, and a guarantee
    simulated: bool  # clients are made up, and the unit all the same
    counting: Agreement | None  # of the count of n-grams before the first round
    held_out: float  # epsilon that measuring may cost a held-out dialogue; 0: what is measured has no noise
    redacted: bool  # the entity filter ran before anything was learned

    @property
    def protected(self) -> Protected:
        """The unit, as a claim names it."""
        return protected(self.privacy.unit, self.simulated)

    def guarantee(self, cost: Spent, rounds: int, *, repeats: Repeats | None, dealt: bool) -> Guarantee:
        """The claim of a run, with all that it rests on.

        repeats: what stands more than once in its data; None: nobody looked. dealt: its clients are made up, and the
        claim says so.
        """
        claim = self._guarantee(cost, rounds, repeats)
        if self.redacted and claim.epsilon is not None:
            claim = replace(claim, excludes=(*claim.excludes, REDACTED))
        return replace(claim, assumptions=(*claim.assumptions, DEALT)) if dealt and claim.epsilon is not None else claim

    def _guarantee(self, cost: Spent, rounds: int, repeats: Repeats | None) -> Guarantee:
        privacy, bands = self.privacy, self.agreement.schedule.bands
        sampling, unit = _sampling(privacy.unit, privacy.sampling_rate), self.protected
        if self.counting:
            sampling += (
                "; the count of n-grams before the first round samples nothing: it takes all of whoever is asked"
            )
        sampling += _without_amplification(cost.costliest, privacy.delta)
        if bands > 1:
            sampling += f"; each update is sent in up to {bands} rounds and charged in each"
        if not self.private:
            adjacency = Adjacency.ADD_OR_REMOVE if privacy.unit is Unit.EXAMPLE else Adjacency.ZERO_OUT
            return Guarantee.without_noise(unit=unit, rounds=rounds, sampling=sampling, adjacency=adjacency)
        if privacy.noise is Noise.DISTRIBUTED:
            return self._of_sums(cost, sampling, rounds, repeats)
        return Guarantee(
            epsilon=cost.most,
            delta=privacy.delta,
            unit=unit,
            adjacency=Adjacency.ADD_OR_REMOVE,
            accountant=cost.accountant,
            sampling=sampling,
            noise=privacy.noise,
            holds_against=(
                f"{Trust.EVERYONE}: the server, the other clients and the users of the model, with or without masking"
            ),
            rounds=rounds,
            assumptions=(
                "each client runs this code on its own machine",
                "the operating system's random generator is sound",
                "sums of gradients are near enough to those of real numbers: they are float64 sums of float32 "
                "gradients; noise is exact (docs/privacy.md)",
                "nobody sets a client's ledger back",
                _not_chosen(privacy),
                *((_KEPT_BY_CLIENTS[privacy.unit],) if privacy.sampling_rate < 1 else ()),
                "a dialogue is held by one client, once" if repeats is None else repeats.assumption(privacy.unit),
                FIXED,
            ),
            excludes=(
                SEVERAL,
                *(repeats.excluded(privacy.unit, cost.costliest, privacy.delta) if repeats else ()),
                *EXCLUDED,
            ),
        )

    def _of_sums(self, cost: Spent, sampling: str, rounds: int, repeats: Repeats | None) -> Guarantee:
        """The claim where the noise is in the sums only, as far as the honest shares that it counts are in each."""
        privacy, sums, of_clients = self.privacy, self.agreement.sums, self.privacy.unit is Unit.CLIENT
        cohort = self.agreement.schedule.sizes[-1]
        fewest, corrupt = sums.threshold(cohort), sums.colluders(cohort)
        server = "may deviate from the protocol" if sums.pinned else "follows the protocol"
        return Guarantee(
            epsilon=cost.most,
            delta=privacy.delta,
            unit=self.protected,
            adjacency=Adjacency.ZERO_OUT if of_clients else Adjacency.ADD_OR_REMOVE,
            accountant=cost.accountant,
            sampling=sampling,
            noise=privacy.noise,
            holds_against=(
                f"{Trust.SUMS_ONLY}: the users of the model, the other clients, and a server that {server}, "
                f"together with at most {corrupt} of the {cohort} clients of a round; no client unmasks a sum of fewer "
                f"than {fewest}{self._first_rounds()}"
            ),
            rounds=rounds,
            assumptions=(
                "each client runs this code on its own machine, and draws its share of the noise",
                f"at least {fewest - corrupt} of the {fewest} or more survivors of each round{self._honest_in_count()} "
                "are honest: the noise of so many is counted",
                "secure aggregation holds against that server (docs/protocol.md)",
                "the operating system's random generator and AES-256 are sound",
                *((HINTS,) if sums.secagg.scheme == THRESHOLD_HE else ()),
                "nobody sets a client's ledger back",
                _not_chosen(privacy),
                *((_KEPT_BY_CLIENTS[privacy.unit],) if privacy.sampling_rate < 1 else ()),
                *(("a person's dialogues are held by one client",) if of_clients else ()),
                "a dialogue is held by one client, once" if repeats is None else repeats.assumption(privacy.unit),
                FIXED,
            ),
            excludes=(
                "what several clients of one person, or of one household, reveal together" if of_clients else SEVERAL,
                *(repeats.excluded(privacy.unit, cost.costliest, privacy.delta) if repeats else ()),
                *EXCLUDED,
            ),
        )

    def floors_in_words(self) -> str:
        """How many of a round may work with the server, and how few are unmasked."""
        sums, cohort = self.agreement.sums, self.agreement.schedule.sizes[-1]
        return f"at most {sums.colluders(cohort)} of {cohort}, and no sum of fewer than {sums.threshold(cohort)}"

    def _honest_in_count(self) -> str:
        if not self.counting:
            return ""
        count, sums = self.counting.schedule.cohort, self.counting.sums
        fewest = sums.threshold(count)
        return f", and at least {fewest - sums.colluders(count)} of the {fewest} or more of the count of n-grams,"

    def _first_rounds(self) -> str:
        sums, sizes = self.agreement.sums, self.agreement.schedule.sizes
        small = sizes[0]
        if self.counting:  # which goes with sums of one size
            count = self.counting.schedule.cohort
            return (
                f" (in the count of n-grams at most {sums.colluders(count)} of {count}, and no fewer than "
                f"{sums.threshold(count)})"
            )
        if small == sizes[-1]:
            return ""
        return (
            f" (in the first round at most {sums.colluders(small)} of {small}, and no fewer than "
            f"{sums.threshold(small)}; in between in proportion)"
        )


def of_members(guarantee: Guarantee, editions: Sequence[Claim]) -> Guarantee:
    """The claim of a run whose clients keep their ledgers on machines of their own, which nobody else reads.

    editions: of the agreements that rounds were run by, the latest last.
    """
    said = {OTHER_RUNS: OWN_RUNS}
    if editions and (epsilon := editions[-1].held_out):
        said[HELD_OUT] = MEASURED.format(epsilon=epsilon, delta=editions[-1].privacy.delta)
    earlier = [each.floors_in_words() for each in editions[:-1]]
    return replace(
        guarantee,
        holds_against=guarantee.holds_against + (f" ({EARLIER}: {'; '.join(earlier)})" if earlier else ""),
        assumptions=guarantee.assumptions and (*guarantee.assumptions, ASKED),
        excludes=tuple(said.get(each, each) for each in guarantee.excludes),
    )
