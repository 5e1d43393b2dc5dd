"""Settings of different rooms against each other, and against the number of clients, before anything runs.

What a single key allows is said beside it in `recipe`; here is what keys allow together. Starts no work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized

from chatfed.audit.tiers import MOST_DELTA, MOST_EPSILON
from chatfed.privacy.guarantee import Noise, Unit
from chatfed.types import ClientId

from .cohorts import following
from .keys_of_sums import check_keys_of_sums
from .recipe import CLIP_NORMS, MOST_PARTICIPANTS, RING_WIDTHS, ModelSection, PrivacySection, Recipe
from .settings import Key, RecipeError, shown
from .survivors import colluders
from .variants import counting

LEAST_MOVE = 1e-9
"""Of all weights together over a run (L2): weights in float32 do not feel less."""

STEEPEST = 1e4
"""L2 norm that the gradient of a mean cross-entropy is taken not to pass."""

LEAST_STEPS = 4096
"""A ring width that a recipe names must leave so many steps on each side of zero: whether noise hides rounding is not
known here."""


def check(recipe: Recipe, clients: int) -> None:
    """Check settings of different rooms against each other and against the number of clients, before anything runs.

    Raises RecipeError with one line that names the keys that contradict each other and the mend.
    """
    if recipe.data.hold_out_epsilon and not recipe.data.hold_out:
        raise RecipeError("{data.hold_out_epsilon} goes with {data.hold_out} above 0: set both, or neither")
    _check_trained(recipe.model)
    recipe = following(recipe, clients)
    _check_canaries(recipe)
    _check_cohort(recipe, clients)
    _check_decay(recipe)
    _check_bands(recipe, clients)
    _check_key_rounds(recipe, clients)
    check_keys_of_sums(recipe, recipe.federation.sizes)
    _check_ring(recipe, recipe.federation.cohort, "{federation.cohort} = {cohort}")
    if recipe.ngrams.longest:
        all_clients = counting(recipe, clients).federation.cohort
        _check_ring(recipe, all_clients, "all {cohort} clients, whose n-grams are counted ({ngrams.longest})")
        check_keys_of_sums(recipe, [all_clients])
    _check_lengths(recipe.privacy)
    _check_unit(recipe.privacy, recipe.model.share)
    _check_noise(recipe.privacy)
    _check_counting(recipe)
    _check_moves(recipe)
    _check_says_something(recipe.privacy)


def check_clients(recipe: Recipe, clients: Mapping[ClientId, Sized], dealt: bool) -> list[str]:
    """That the unit is somebody: refuses clients that were dealt where each client is claimed to be protected.

    Returns what a person should know of clients that are accepted. Raises RecipeError.
    """
    data, of_clients = recipe.data, recipe.privacy.unit is Unit.CLIENT and recipe.privacy.noise is not Noise.NONE
    if data.simulated_clients and not dealt:
        raise RecipeError(
            "{data.simulated_clients} is true, but {source} says whose each dialogue is (in {column}): leave it out",
            source=data.source,
            column=data.client_column,
        )
    if of_clients and dealt and not data.simulated_clients:
        raise RecipeError(
            '{privacy.unit} = "client" protects each client, but {source} has no column {column} that says whose a '
            "dialogue is: name the right one with --client-column, or simulate with --set "
            "{data.simulated_clients}=true (the claim then says so)",
            source=data.source,
            column=data.client_column,
        )
    if of_clients and len(clients) == 1:
        raise RecipeError(
            "every dialogue of {source} has the same {column}, so one client is all there is: name the column that "
            "tells people apart with --client-column",
            param="data.client_column",
            source=data.source,
            column=data.client_column,
        )
    if dealt:
        return ["Clients are simulated: the dialogues were dealt to them, so they are nobody's in particular."]
    if of_clients and max(map(len, clients.values()), default=0) == 1:
        return [
            f"Every client has one dialogue ({data.client_column} differs from line to line): the claim protects one "
            "dialogue, not a person who has several."
        ]
    return []


def _check_says_something(privacy: PrivacySection) -> None:
    """A bound that excludes nothing is no claim, so no run is made for it."""
    if privacy.noise is Noise.NONE:
        return
    for key, value in (("target_epsilon", privacy.target_epsilon), ("budget_epsilon", privacy.budget_epsilon)):
        if value > MOST_EPSILON:
            raise RecipeError(
                "{key} = {value:g} says nothing: above {most:g} even a guess among all people on Earth may become a "
                'safe one; lower it (1 is strong, above 10 weak), or set {privacy.noise} = "none" and claim nothing',
                key=Key(f"privacy.{key}"),
                value=value,
                most=MOST_EPSILON,
            )
    if privacy.delta >= MOST_DELTA:
        raise RecipeError(
            "{privacy.delta} = {delta:g} says nothing: publishing one {unit} in {units:.3g} whole would satisfy it; "
            "take one well below 1 / (number of units), such as 1e-5",
            delta=privacy.delta,
            unit=privacy.unit,
            units=1 / privacy.delta,
        )


def _check_trained(model: ModelSection) -> None:
    if model.lora_rank and model.trainable != ModelSection().trainable:
        raise RecipeError(
            "{model.lora_rank} = {rank} trains adapters and nothing else: leave {model.trainable} out, or set "
            "{model.lora_rank} to 0",
            rank=model.lora_rank,
        )
    if model.lora_targets and not model.lora_rank:
        raise RecipeError("{model.lora_targets} goes with adapters: set {model.lora_rank} above 0, or leave it out")


def _check_cohort(recipe: Recipe, clients: int) -> None:
    plan = recipe.federation
    if clients < plan.cohort:
        raise RecipeError(
            "{federation.cohort} is {cohort}, but the data has {clients} clients: set {federation.cohort} to at most "
            "{clients}, or bring more clients",
            cohort=plan.cohort,
            clients=clients,
        )
    asked, given = plan.rounds * plan.cohort, clients * plan.max_participations
    if plan.max_participations and asked > given:
        raise RecipeError(
            "{federation.rounds} x {federation.cohort} asks for {asked} participations, but {clients} clients at "
            "{federation.max_participations} = {most} give {given}: lower rounds or cohort",
            asked=asked,
            clients=clients,
            most=plan.max_participations,
            given=given,
        )


def _check_decay(recipe: Recipe) -> None:
    plan, model = recipe.federation, recipe.model
    if plan.weight_decay and plan.server_optimizer != "fedadam":
        raise RecipeError('{federation.weight_decay} goes with {federation.server_optimizer} = "fedadam"')
    if plan.weight_decay and not (model.share or model.lora_rank):
        raise RecipeError(
            "{federation.weight_decay} draws what is learned towards 0, which is the base only with "
            "{model.directions} or {model.lora_rank}: set one of them above 0, or the decay to 0"
        )
    if plan.weight_decay * plan.server_learning_rate >= 1:
        raise RecipeError(
            "{federation.weight_decay} times {federation.server_learning_rate} is {taken:g}: in one round it would "
            "take all that was learned; lower either",
            taken=plan.weight_decay * plan.server_learning_rate,
        )


def _check_bands(recipe: Recipe, clients: int) -> None:
    plan, privacy = recipe.federation, recipe.privacy
    if plan.bands == 1:
        return
    for key, value, needed, why in (
        ("privacy.unit", privacy.unit, Unit.CLIENT, "a client's whole update is what is sent again"),
        ("privacy.noise", privacy.noise, Noise.DISTRIBUTED, "fresh noise is in every sum"),
        ("privacy.clip_quantile", privacy.clip_quantile, 0, "an update is clipped once"),
        ("privacy.sampling_rate", privacy.sampling_rate, 1, "no amplification is accounted for it"),
        ("federation.sampling", plan.sampling, "shuffled", "rounds lie between a client's two updates"),
    ):
        if value != needed:
            raise RecipeError(
                "{federation.bands} = {bands} needs {key} = {needed}, not {value}: {why}; set it so, or "
                "{federation.bands} to 1",
                bands=plan.bands,
                key=Key(key),
                needed=shown(needed),
                value=shown(value),
                why=why,
            )
    if plan.bands > plan.rounds:
        raise RecipeError(
            "{federation.bands} = {bands} is more than {federation.rounds} = {rounds}: no update can be sent in more "
            "rounds than there are; lower the bands",
            bands=plan.bands,
            rounds=plan.rounds,
        )
    if plan.cohort * plan.bands > MOST_PARTICIPANTS:
        raise RecipeError(
            "{federation.bands} = {bands} x {federation.cohort} = {cohort} makes rounds of {size} clients, and a "
            "secure sum takes {most}: lower one of them",
            bands=plan.bands,
            cohort=plan.cohort,
            size=plan.cohort * plan.bands,
            most=MOST_PARTICIPANTS,
        )
    if clients < plan.cohort * plan.bands:
        raise RecipeError(
            "{federation.bands} = {bands} x {federation.cohort} = {cohort} asks for {size} different clients in a "
            "round, but the data has {clients}: lower one of them, or bring more clients",
            bands=plan.bands,
            cohort=plan.cohort,
            size=plan.cohort * plan.bands,
            clients=clients,
        )


def _check_key_rounds(recipe: Recipe, clients: int) -> None:
    plan, rounds = recipe.federation, recipe.secagg.key_rounds
    if rounds > 1 and (plan.cohort < clients or plan.bands > 1):
        raise RecipeError(
            "{secagg.key_rounds} = {rounds}: keys serve more than one round only where every round asks all {clients} "
            "clients: set {federation.cohort} to that, or {secagg.key_rounds} to 0 or 1",
            rounds=rounds,
            clients=clients,
        )


def _check_ring(recipe: Recipe, cohort: int, whose: str) -> None:
    # The ring holds the sum of `cohort` updates, so that one client gets this many steps on each side of zero.
    bits = recipe.secagg.ring_bits
    if recipe.privacy.noise is Noise.DISTRIBUTED:
        return  # sized with the noise, once the model's dimension is known
    if bits and _steps(bits, cohort) < LEAST_STEPS:
        width = next(width for width in RING_WIDTHS if _steps(width, cohort) >= LEAST_STEPS)
        raise RecipeError(
            "{secagg.ring_bits} = {bits} leaves {steps} steps on each side of zero for " + whose + "; "
            "at least {least} are needed: set {secagg.ring_bits} to {width}, or to 0 for the narrowest that the noise "
            "allows",
            bits=bits,
            steps=_steps(bits, cohort),
            cohort=cohort,
            least=LEAST_STEPS,
            width=width,
        )


def _steps(ring_bits: int, cohort: int) -> int:
    return int((2**ring_bits - 1) // (2 * cohort))


def _check_lengths(privacy: PrivacySection) -> None:
    if privacy.clip_quantile and (privacy.unit, privacy.noise) != (Unit.CLIENT, Noise.DISTRIBUTED):
        raise RecipeError(
            '{privacy.clip_quantile} = {quantile:g} needs {privacy.unit} = "client" and {privacy.noise} = '
            '"distributed": the quantile is of clients\' updates, estimated inside the noisy sum; set it to 0',
            quantile=privacy.clip_quantile,
        )
    if privacy.clip_quantile and not CLIP_NORMS[0] <= privacy.clip_norm <= CLIP_NORMS[1]:
        raise RecipeError(
            "{privacy.clip_norm} = {norm:g} cannot follow {privacy.clip_quantile}: it moves between {least:g} and "
            "{most:g}; start between them, or set {privacy.clip_quantile} to 0",
            norm=privacy.clip_norm,
            least=CLIP_NORMS[0],
            most=CLIP_NORMS[1],
        )
    if privacy.noise is Noise.DISTRIBUTED and not CLIP_NORMS[0] ** 2 <= privacy.longest_part <= CLIP_NORMS[1] ** 2:
        raise RecipeError(
            "the longest {unit}'s part of an update, {part:g}, is nothing that float32 can clip: bring "
            "{privacy.clip_norm} (with the dialogue as unit times learning_rate / expected_batch_size) between "
            "{least:g} and {most:g}",
            unit=privacy.unit,
            part=privacy.longest_part,
            least=CLIP_NORMS[0] ** 2,
            most=CLIP_NORMS[1] ** 2,
        )


def _check_unit(privacy: PrivacySection, share: float) -> None:
    """Unit, noise and way of learning that do not go together."""
    if privacy.unit is Unit.CLIENT and privacy.noise is Noise.LOCAL:
        raise RecipeError(
            '{privacy.unit} = "client" goes with {privacy.noise} = "distributed", not "local": noise of a client\'s '
            "own is for its single dialogues"
        )
    if privacy.unit is Unit.CLIENT and (privacy.clipping != "flat" or privacy.local_steps != 1):
        raise RecipeError(
            '{privacy.clipping} and {privacy.local_steps} are for {privacy.unit} = "example": a client\'s whole update '
            'is clipped flat, and how it learns stands in [local]; leave them at "flat" and 1'
        )
    if privacy.clipping != "flat" and privacy.noise is not Noise.DISTRIBUTED and share:
        raise RecipeError(
            '{privacy.clipping} = "{clipping}" goes with {model.directions} = 0: coordinates are clipped as a whole; '
            'set clipping to "flat", or directions to 0',
            clipping=privacy.clipping,
        )
    if privacy.noise is Noise.DISTRIBUTED and privacy.clipping != "flat":
        raise RecipeError(
            '{privacy.clipping} = "{clipping}" goes with {privacy.noise} = "local": in a shared sum a dialogue is '
            'clipped as a whole; set clipping to "flat"',
            clipping=privacy.clipping,
        )
    if privacy.unit is Unit.EXAMPLE and privacy.noise is Noise.DISTRIBUTED and privacy.local_steps != 1:
        raise RecipeError(
            '{privacy.local_steps} = {steps}, but {privacy.unit} = "example" with {privacy.noise} = "distributed" is '
            "for one step: a second one would learn from a first without noise; set local_steps to 1, or "
            '{privacy.noise} to "local"',
            steps=privacy.local_steps,
        )


def _check_counting(recipe: Recipe) -> None:
    """A count of n-grams, and what is not accounted beside it."""
    if recipe.ngrams.longest and recipe.federation.bands > 1 and recipe.privacy.noise is not Noise.NONE:
        raise RecipeError(
            "{ngrams.longest} = {longest} with {federation.bands} = {bands}: updates that are sent again are "
            "not accounted beside a count; set {ngrams.longest} to 0, or {federation.bands} to 1",
            longest=recipe.ngrams.longest,
            bands=recipe.federation.bands,
        )


def _check_noise(privacy: PrivacySection) -> None:
    """Noise, target and budget that contradict each other."""
    fitting = Noise.DISTRIBUTED if privacy.unit is Unit.CLIENT else Noise.LOCAL
    if privacy.noise is Noise.NONE:
        for key in ("target_epsilon", "noise_multiplier", "budget_epsilon"):
            if getattr(privacy, key) > 0:
                raise RecipeError(
                    '{privacy.noise} is "none", which bounds no epsilon, but {key} is {value:g}: set {key} to 0, or '
                    '{privacy.noise} to "{fitting}"',
                    key=Key(f"privacy.{key}"),
                    value=getattr(privacy, key),
                    fitting=fitting,
                )
    elif privacy.noise_multiplier == 0 and privacy.target_epsilon == 0:
        raise RecipeError(
            "privacy: give target_epsilon, or noise_multiplier: without both there is no noise to add",
            param="privacy.target_epsilon",
        )
    elif privacy.budget == 0:
        raise RecipeError(
            "privacy: give target_epsilon or budget_epsilon: with both 0 every client refuses to train",
            param="privacy.budget_epsilon",
        )
    elif privacy.noise_multiplier == 0 and privacy.budget < privacy.target_epsilon:
        raise RecipeError(
            "{privacy.budget_epsilon} = {budget:g} is below {privacy.target_epsilon} = {target:g}: clients would "
            "refuse the last rounds; lower the target or raise the budget",
            budget=privacy.budget,
            target=privacy.target_epsilon,
        )


def _check_moves(recipe: Recipe) -> None:
    """A rate, clip norm or divisor that is all but zero spends epsilon and moves no weight."""
    plan, privacy = recipe.federation, recipe.privacy
    if privacy.unit is Unit.CLIENT:
        rates = "{local.learning_rate}"
        longest = min(privacy.clip_norm, recipe.local.learning_rate * STEEPEST)
    else:
        rates = "{privacy.learning_rate} x {privacy.clip_norm} / {privacy.expected_batch_size}"
        longest = privacy.longest_part * privacy.expected_batch_size * privacy.local_steps  # of so many dialogues
        if privacy.noise is not Noise.DISTRIBUTED:
            longest = min(longest, recipe.secagg.update_clip)
    if plan.server_optimizer == "fedadam":
        longest = min(1.0, longest / plan.adam_epsilon)
    if (moved := sum(plan.rates()) * longest) < LEAST_MOVE:
        raise RecipeError(
            "the plan moves the model's weights by at most {moved:.1g} in all its rounds, which float32 does not tell "
            "from nothing, and epsilon would be spent all the same: raise {federation.server_learning_rate}, "
            + rates
            + ", or the clip norm",
            moved=moved,
        )


def _check_canaries(recipe: Recipe) -> None:
    """Canaries only where it is known what they are in a sum, and where as many clients may be corrupt."""
    count, privacy = recipe.audit.canaries, recipe.privacy
    if not count:
        return
    if recipe.federation.bands > 1 or privacy.clip_quantile:
        raise RecipeError(
            "{audit.canaries} = {count} goes with {federation.bands} = 1 and {privacy.clip_quantile} = 0: where "
            "updates are sent again or the clip norm moves, canaries are not looked for",
            count=count,
        )
    if privacy.local_steps > 1:
        raise RecipeError("{audit.canaries} goes with {privacy.local_steps} = 1: canary clients take one step")
    allowed = colluders(recipe.secagg, recipe.federation.cohort)
    if privacy.unit is Unit.CLIENT and count > allowed:
        raise RecipeError(
            "{audit.canaries} = {count} are as many clients whose updates auditors know, and {secagg.corrupt} allows "
            "{allowed} in a cohort of {cohort}: take fewer, or more clients",
            count=count,
            allowed=allowed,
            cohort=recipe.federation.cohort,
        )
