"""What a finished run hands out: model and reference as transformers folders, guarantee, summary, report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatfed.audit.comparison import sentence
from chatfed.audit.figures import as_sentence
from chatfed.audit.leakage import AuditError
from chatfed.audit.report import write_report
from chatfed.audit.tiers import said_of_several
from chatfed.model.adapters import save_adapters
from chatfed.model.checkpoint import save_model, weights_file
from chatfed.model.subspace import Subspace
from chatfed.model.transformer import load_model
from chatfed.privacy.guarantee import Guarantee, Unit

from ..base.learner import choose_trainable
from ..base.tokens import open_tokens
from ..durable import DiskError, to_json
from ..parties.ledgers import check_ledgers, spent
from ..plan.agreement import Agreement
from ..plan.claims import Spent, of_members
from ..plan.meaning import meaning
from ..plan.plan import Plan
from ..plan.sums import Sums
from ..plan.upload import NoisyUpload, Upload

if TYPE_CHECKING:
    from ..base.evaluation import Evaluation
    from ..parties.aggregator import ServerState
    from .prepared import Clock, Prepared
    from .run_folder import RunFolder

CARD = """---
library_name: {library}
pipeline_tag: text-generation
---
# A chat model trained with chatfed

{where} The
clients trained {trainable_parameters:,} of its {parameters:,} parameters, each on its own dialogues (rounds: {rounds});
their updates met in a masked sum.{counted}

**Privacy.** {sentence}{means}

**Held-out dialogues.** {learned}

The model is small and answers in the manner of its training dialogues. It can be wrong; do not let it decide anything.
"""


SIMULATED = (
    "Trained in a simulation: one machine played the server and all {clients} clients, and held all their dialogues."
)
APART = (
    "Trained by a federation of {clients} members, each a process with dialogues, a key and a ledger of its own; what "
    "each gave met the others' in masked sums alone."
)
COUNTED = """ Before the first round their n-grams
were counted in one masked sum, and the public model learned from texts that it imagined with the counts."""


def _means(means: dict[str, Any]) -> str:
    """The strength, warnings and what holds for a person, for the model card."""
    if not means:
        return ""
    rows = "".join(
        f"\n- {each['who']} ({each['dialogues']:,}) together: {said_of_several(each)}" for each in means["person"]
    )
    warnings = "".join(f"\n\n**Warning:** {warning}." for warning in means["warnings"])
    return (
        f"\n\n**Strength: {means['strength']}** ({means['scale']}).{warnings}\n\nFor one person with several dialogues:"
        f"\n{rows}\n\n{as_sentence(means['person_note'])}"
    )


HOLDS_AGAINST = {
    "none": "an honest-but-curious server, together with at most the fraction `corrupt` of the clients, or one (above "
    "50 clients, where each has as many neighbours as `degree` says, but for a probability of 2^-40): it learns the "
    "sum of the honest survivors' updates, which are at least the survivors minus the colluders",
    "roster": "a server that deviates at will, together with at most the fraction `corrupt` of the clients, or one "
    "(fixed before the round), where each client's roster is its own and each key its owner's: of the updates that "
    "honest clients give to one round they learn one sum, over the honest ones of one survivor set, at least the "
    "survivors minus the colluders; and who took part",
}
ONE_MACHINE = ". In this simulation one machine held all keys, and against that one nothing is claimed"

SENT_AGAIN = (
    "; each update is in up to {bands} such sums, of other clients each (federation.bands): what these tell together, "
    "down to one update, is not hidden by masks, but by noise alone"
)


def publish(
    prepared: Prepared,
    state: ServerState,
    metrics: list[dict[str, Any]],
    before: Evaluation,
    after: Evaluation,
    facts: dict[str, Any],
    clock: Clock,
    measured: Spent | None = None,
    editions: Sequence[Plan] = (),
) -> dict[str, Any]:
    """Writes every output of the run folder and returns the summary. Each file is written whole or not at all.

    measured: what sums of measurements cost held-out dialogues. editions: of a federation, the plans of all by which
    rounds were run.
    """
    folder, plan = prepared.folder, prepared.plan
    cost = spent(prepared.homes, prepared.charged, plan.terms)
    check_ledgers(folder.charges(), cost)
    repeats, dealt = folder.repeats(), folder.dealt()
    holders = None if prepared.apart else open_tokens(folder.state / "private").clients
    claim = plan.claim.guarantee(cost, state.round, repeats=repeats, dealt=dealt)
    if prepared.apart:
        claim = of_members(claim, [each.claim for each in editions])
    means = meaning(plan.claim, claim.epsilon, cost.costliest, holders, dealt)
    summary: dict[str, Any] = {
        "before": before.to_json(),
        "after": after.to_json(),
        "reference": None,
        "ceiling": None,
        "epsilon": claim.epsilon,
        "delta": claim.delta,
        **{key: means[key] for key in ("strength", "warnings", "person", "person_note") if key in means},
        **facts,
    }
    with clock.phase("save"):
        _save_models(prepared, state, claim, means, sentence(summary), facts)
    summary["seconds"] = {**clock.seconds, "total": sum(clock.seconds.values())}
    weights = weights_file(folder.path / "model").read_bytes()
    privacy = {
        **claim.to_json(),
        **means,
        "model_sha256": hashlib.sha256(weights).hexdigest(),
        **_ledger_facts(plan, cost, claim, metrics),
        **_noise_facts(plan, len(state.weights), metrics),
        "secure_aggregation": _secure_aggregation(plan.agreement, len(state.weights), prepared.apart),
        **_count_facts(plan, prepared.apart),
        **_measuring_facts(plan, measured),
        **_canary_facts(plan),
        "repeats": repeats.to_json() if repeats else None,
    }
    folder.write_json("privacy.json", privacy)
    folder.write_json("summary.json", summary)
    write_page(folder, summary, privacy, metrics)
    return summary


def write_page(
    folder: RunFolder, summary: dict[str, Any], privacy: dict[str, Any], metrics: list[dict[str, Any]]
) -> None:
    """The run's report.html, with the scores of its quiz where it was asked. Raises DiskError."""
    asked = {"quiz": folder.read_json("quiz.json")} if (folder.path / "quiz.json").exists() else {}
    try:
        write_report(folder.path / "report.html", {**summary, **asked}, privacy, metrics)
    except AuditError as error:
        raise DiskError(f"{error}; then go on with chatfed resume.") from error


def _save_models(
    prepared: Prepared,
    state: ServerState,
    claim: Guarantee,
    means: dict[str, Any],
    learned: str,
    facts: dict[str, Any],
) -> None:
    path, section = prepared.folder.path, prepared.plan.learning.model
    model, tokenizer = load_model(prepared.base)
    if not (section.base and section.lora_rank):  # adapters name their base: one that was there before is not copied
        card = "The public model that the run began with. It has seen no private dialogue.\n"
        save_model(path / "reference", model, tokenizer, card)
    base = prepared.base
    if prepared.start:
        model, _ = load_model(prepared.start)
        if section.lora_rank:  # adapters are of this one: what they name must be handed out beside them
            base = str(path / "counted")
            save_model(path / "counted", model, tokenizer, COUNTED.strip() + f" {claim.sentence()}\n")
    adapted = choose_trainable(model, section)
    Subspace(model, section.share, section.whole).load(state.weights)
    about = {**facts, "sentence": claim.sentence(), "means": _means(means), "learned": learned}
    about["counted"] = COUNTED if prepared.start else ""
    about["where"] = (APART if prepared.apart else SIMULATED).format(**about)
    if adapted is None:
        save_model(path / "model", model, tokenizer, CARD.format(**about, library="transformers"))
    else:
        base = str(Path(base).resolve()) if Path(base).exists() else base
        card = CARD.format(**about, library=f"peft\nbase_model: {to_json(base)}")
        save_adapters(path / "model", adapted, tokenizer, card, base)


def _ledger_facts(plan: Plan, cost: Spent, claim: Guarantee, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    privacy, private = plan.claim.privacy, plan.claim.private
    counts = list(cost.participations.values())
    return {
        "sentence": claim.sentence(),
        "per_round": [row["epsilon_max"] for row in metrics],
        "noise_multiplier": plan.terms.noise_multiplier,
        "clip_norm": privacy.clip_norm,
        "sampling_rate": privacy.sampling_rate,
        "budget_epsilon": privacy.budget if private else None,
        "clients": plan.clients,
        "clients_charged": len(counts),
        "participations_most": max(counts, default=0),
        "epsilon_mean": cost.mean(plan.clients) if private else None,
    }


def _noise_facts(plan: Plan, dimension: int, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """What the accounting was fed with, as far as the noise is of that kind.

    Where the clip norm moves, lengths are those of the first round, and move with it.
    """
    privacy, sums, schedule = plan.claim.privacy, plan.agreement.sums, plan.agreement.schedule
    cohort = schedule.sizes[-1]
    steps = {"local_steps": privacy.local_steps, "expected_batch_size": privacy.expected_batch_size}
    facts = steps if privacy.unit is Unit.EXAMPLE else {}
    code = sums.codec.upload(cohort, dimension)
    if not isinstance(code, NoisyUpload):
        return facts
    moves = [code.clip_norm, *(row["clip_norm_next"] for row in metrics[:-1])] if privacy.clip_quantile else []
    return {
        **facts,
        **({"clip_quantile": privacy.clip_quantile, "clip_norm_by_round": moves} if moves else {}),
        **({"coefficients": sums.codec.coefficients} if schedule.bands > 1 else {}),
        **_share_facts(code, sums, cohort),
    }


def _share_facts(code: Upload, sums: Sums, participants: int) -> dict[str, Any]:
    """Of noise that is shared: a share of it, and how many are certain."""
    if not isinstance(code, NoisyUpload):
        return {}
    return {
        "ring_step": code.clip_norm / code.scale,
        "share_std": code.mechanism.std * code.clip_norm / code.scale,
        "honest_shares": code.mechanism.shares,
        "fewest_survivors": sums.threshold(participants),
        "most_colluders": sums.colluders(participants),
        "rounded_norm": code.mechanism.norm * code.clip_norm / code.scale,
    }


def _count_facts(plan: Plan, apart: bool) -> dict[str, Any]:
    """The same of the count before the first round, where there is one: what it was accounted with, and its cost."""
    count = plan.counting
    if count is None:
        return {}
    sums = count.agreement.sums
    facts = {
        "clients": count.clients,
        "cells": count.cells,
        "longest": plan.learning.ngrams.longest,
        "epsilon": count.epsilon if plan.claim.private else None,
        "noise_multiplier": count.terms.noise_multiplier,
        "clip_norm": count.learning.privacy.clip_norm,
        "sampling_rate": count.learning.privacy.sampling_rate,
        **_share_facts(sums.codec.upload(count.clients, count.cells), sums, count.clients),
        "secure_aggregation": _secure_aggregation(count.agreement, count.cells, apart),
    }
    return {"count": facts}


def _measuring_facts(plan: Plan, measured: Spent | None) -> dict[str, Any]:
    """The same of what clients measured on dialogues that they held out, where that was summed."""
    agreement, terms = plan.measuring, plan.measuring_terms
    if agreement is None or terms is None or measured is None:
        return {}
    sums, cohort = agreement.sums, agreement.schedule.cohort
    facts = {
        "epsilon": measured.most if terms.mechanism else None,
        "delta": terms.budget.delta,
        "measurements_most": max(measured.participations.values(), default=0),
        "noise_multiplier": terms.noise_multiplier,
        **_share_facts(sums.codec.upload(cohort, agreement.cells), sums, cohort),
    }
    return {"measuring": facts}


CANARIES = (
    "{clients} of the clients give random directions, and no dialogue of anybody's; whoever audits knows what they "
    "give, so that they count among those that may work with the server. Other clients hold canary dialogues beside "
    "their own, as coins decide that `commitment` binds; each is protected as any other"
)


def _canary_facts(plan: Plan) -> dict[str, Any]:
    """What was put into the run to audit it, where something was."""
    audit, unit = plan.recipe.audit, plan.claim.privacy.unit
    if not audit.canaries:
        return {}
    clients = audit.canaries if unit is Unit.CLIENT else 1
    said = {"said": CANARIES.format(clients=clients)}
    return {"canaries": {"count": audit.canaries, "commitment": audit.commitment, "clients": clients, **said}}


def _secure_aggregation(agreement: Agreement, dimension: int, apart: bool) -> dict[str, Any]:
    sums, bands = agreement.sums, agreement.schedule.bands
    parameters = sums.parameters(agreement.schedule.sizes[-1], dimension)
    facts: dict[str, Any] = {
        "threshold": sums.secagg.threshold,
        "corrupt": sums.secagg.corrupt,
        "share_threshold": parameters.threshold,
        **({} if parameters.complete else {"degree": parameters.degree}),
        "ring_bits": parameters.ring_bits,
        "identities": sums.secagg.identities,
        "holds_against": HOLDS_AGAINST[sums.secagg.identities]
        + ("" if apart or not sums.pinned else ONE_MACHINE)
        + (SENT_AGAIN.format(bands=bands) if bands > 1 else ""),
    }
    if sums.pinned:
        facts |= {"quorum": parameters.quorum, "committee": parameters.committee}
    return facts
