"""Which figure of an audit belongs to which point of two texts that evaluators go by. Knows no attack and no page.

The texts: NIST SP 800-226, Guidelines for Evaluating Differential Privacy Guarantees (final, March 2025), whose pyramid
of what a guarantee rests on gives the points; and Opinion 28/2024 of the European Data Protection Board (17 December
2024), paragraph 55, attacks that tests of a model are to cover, and paragraph 58, what is to be documented of them. The
points are in our words. It is our reading and no legal advice, and neither text says that a figure is low enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NIST, TESTS, RECORDS = (
    "NIST SP 800-226",
    "EDPB Opinion 28/2024, paragraph 55",
    "EDPB Opinion 28/2024, paragraph 58",
)
NOTE = (
    "Our reading, in our words, and no legal advice. Whether a model is anonymous, or a guarantee good enough, neither "
    "text says by a figure, nor does this audit."
)


@dataclass(frozen=True)
class Point:
    """One point of a text, and what audit.json holds on it."""

    text: str
    asks: str
    places: tuple[str, ...]  # in audit.json: keys with dots between
    lacks: str = ""  # what an audit cannot show on it


POINTS = (
    Point(
        NIST,
        "The privacy parameters, and what they mean",
        (
            *("claim.epsilon", "claim.delta", "claim.per_round", "claim.epsilon_mean", "claim.budget_epsilon"),
            *("claim.strength", "claim.scale", "claim.warnings", "claim.sentence"),
        ),
    ),
    Point(
        NIST,
        "The unit of privacy: whose presence is hidden, and which data are neighbours",
        (
            *("claim.unit", "claim.adjacency", "claim.person", "claim.person_note", "claim.repeats", "claim.clients"),
            *("claim.clients_charged", "claim.participations_most"),
        ),
        "one unit is not one person where a person has several",
    ),
    Point(
        NIST,
        "The trust model: who adds noise, and against whom it holds",
        (
            *("claim.holds_against", "claim.noise", "claim.secure_aggregation", "claim.fewest_survivors"),
            *("claim.most_colluders", "claim.honest_shares", "claim.canaries", "parts.server", "parts.updates"),
        ),
    ),
    Point(
        NIST,
        "The mechanism: sampling, sensitivity, noise, composition",
        (
            *("claim.accountant", "claim.sampling", "claim.sampling_rate", "claim.noise_multiplier", "claim.rounds"),
            *("claim.clip_norm", "claim.local_steps", "claim.expected_batch_size", "claim.share_std"),
            *("claim.clip_quantile", "claim.clip_norm_by_round", "claim.coefficients", "claim.count"),
        ),
    ),
    Point(
        NIST,
        "The implementation: arithmetic, random generator, what leaves beside the result",
        ("parts.conformance", "claim.ring_step", "claim.rounded_norm", "claim.assumptions"),
        "how long a client takes, and whether it fails, is not covered",
    ),
    Point(
        NIST,
        "Security of the data, and who has access to them",
        ("claim.assumptions", "claim.secure_aggregation"),
        "how members' machines are kept is not looked at",
    ),
    Point(
        NIST,
        "Exposure when data are collected",
        ("claim.excludes", "claim.measuring", "not_protected"),
        "whether dialogues should have been kept at all is not looked at",
    ),
    Point(
        TESTS,
        "Inference of attributes, and of membership",
        ("parts.membership", "parts.canaries", "parts.properties", "parts.words", "parts.synthetic"),
    ),
    Point(
        TESTS,
        "Exfiltration of training data",
        ("parts.extraction", "parts.updates"),
        "that somebody steals a member's data is not looked at",
    ),
    Point(
        TESTS,
        "Training data repeated by the model",
        ("parts.extraction", "parts.words", "parts.canaries", "parts.synthetic"),
    ),
    Point(
        TESTS,
        "Inversion of the model",
        ("parts.updates",),
        "of updates and sums; of the final weights no inversion was tried",
    ),
    Point(TESTS, "Reconstruction of training data", ("parts.updates", "parts.server")),
    Point(
        RECORDS,
        "How the model resists re-identification in theory",
        ("claim.sentence", "claim.model_sha256", "weights_sha256"),
    ),
    Point(
        RECORDS,
        "Measures that limit the main attacks, and their effect",
        ("claim.noise", "claim.secure_aggregation", "parts.conformance", "parts.canaries", "power"),
    ),
    Point(RECORDS, "Training data beside the number of parameters", ("size",)),
    Point(
        RECORDS,
        "Reports of tests: by whom, when, how, and how far",
        ("signer", "date", "chatfed", "machine", "run", "schema", "not_run"),
        "who audits is a key; whose it is, the reader must know from elsewhere",
    ),
    Point(RECORDS, "Results of the tests", ("verdict", "parts")),
)


def found(audit: Mapping[str, Any], place: str) -> Any:
    """What `audit` holds at a place, or None.

    >>> found({"claim": {"epsilon": 8.0}}, "claim.epsilon")
    8.0
    """
    value: Any = audit
    for key in place.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def annex(audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each point with the places in `audit` that say something on it: a row a point, as audit.json has them."""
    return [
        {
            "text": point.text,
            "asks": point.asks,
            "places": [place for place in point.places if found(audit, place) is not None],
            "lacks": point.lacks,
        }
        for point in POINTS
    ]


def unmapped(audit: Mapping[str, Any]) -> Iterator[str]:
    """Places of `audit` that no point names: its keys, those of its claim, and its parts."""
    named = {place for point in POINTS for place in point.places}
    inside = [f"{key}.{each}" for key in ("claim", "parts") for each in audit.get(key, {})]
    for place in [*audit, *inside]:
        if place not in named and place not in ("claim", "annex"):
            yield place
