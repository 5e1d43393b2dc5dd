"""The secure sum that a recipe asks for: its parameters, and what a client accepts at the least. Knows no message."""

from __future__ import annotations

from chatfed.secagg import graph, primitives
from chatfed.secagg.messages import Floors, Parameters

from .recipe import Recipe
from .upload import threshold, upload


def sum_parameters(recipe: Recipe, participants: int, dimension: int, noise_multiplier: float) -> Parameters:
    """The secure sum of a round for a model of `dimension` coordinates. Raises graph.NoSuchGraph."""
    code = upload(recipe, participants, dimension, noise_multiplier, bytes(primitives.KEY_BYTES))
    degree, share_threshold, most_gone = sizes(recipe, participants)
    committee, quorum = 0, 0
    if recipe.secagg.identities == "roster":
        committee, quorum = graph.derive_quorum(participants, recipe.secagg.corrupt)
    return Parameters(
        participants, share_threshold, code.coordinates, code.ring_bits, degree, most_gone, committee, quorum
    )


def sizes(recipe: Recipe, participants: int) -> tuple[int, int, int]:
    """(degree, threshold, most gone in a row) for the recipe's fractions. Raises graph.NoSuchGraph."""
    corrupt, dropout = recipe.secagg.corrupt, recipe.secagg.dropout
    if participants <= graph.COMPLETE_UP_TO:
        return -1, threshold(recipe, participants), 0
    if recipe.secagg.identities == "roster":
        active = graph.derive_active(participants, corrupt, dropout)
        return active.degree, active.threshold, active.most_gone
    degree, share_threshold = graph.derive(participants, corrupt, dropout)
    return degree, share_threshold, degree // 2


def floors(recipe: Recipe, parameters: Parameters) -> Floors:
    """What a client accepts at the least: what it has derived itself, exactly."""
    survivors = max(threshold(recipe, parameters.participants), parameters.quorum)  # fewer would certify nothing
    if recipe.secagg.identities == "roster" and not parameters.complete:  # the circle's sizes are for so many
        bearable = graph.most_dropped(parameters.participants, recipe.secagg.dropout)
        survivors = max(survivors, parameters.participants - bearable)
    return Floors(
        threshold=parameters.threshold,
        survivors=survivors,
        ring_bits=parameters.ring_bits,
        degree=parameters.degree,
        committee=parameters.committee,
        quorum=parameters.quorum,
        most_gone=parameters.most_gone,
    )
