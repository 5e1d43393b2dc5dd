"""Bytes that are foretold are those that travel when everybody is there."""

from __future__ import annotations

import pytest

from chatfed.secagg import cost
from chatfed.secagg.cost import Traffic
from chatfed.secagg.messages import Kind, Parameters
from tests.secagg.forging import SEVEN, SIXTY
from tests.secagg.rounds import Carried, carry, random_vectors

ONCE = {Kind.ADVERT, Kind.ADVERTS, Kind.SHARES, Kind.ENVELOPES}
UP = {Kind.ADVERT, Kind.SHARES, Kind.MASKED_INPUT, Kind.CONSENT, Kind.ANSWER}


@pytest.mark.parametrize(
    "parameters",
    [
        SEVEN,
        SIXTY,
        Parameters(5, 3, 4, 16),
        Parameters(9, 5, 7, 21, slots=3),
        Parameters(9, 5, 70, 16, slots=2, scheme="threshold-he"),
        Parameters(5, 3, 4, 32, committee=5, quorum=3, scheme="threshold-he"),
    ],
    ids=["signed", "signed circle", "unsigned", "unsigned, three slots", "threshold keys", "signed threshold keys"],
)
def test_bytes_of_agreement_and_sum_are_those_on_the_wire(parameters: Parameters) -> None:
    carried = Carried(parameters)
    carry(parameters, random_vectors(parameters), carried=carried)
    for who in (1, parameters.participants):
        size = {kind: len(message) for (kind, i), message in carried.wire.items() if i == who}
        of = {
            (once, up): sum(n for kind, n in size.items() if (kind in ONCE, kind in UP) == (once, up))
            for once in (True, False)
            for up in (True, False)
        }
        assert cost.of_agreement(parameters) == Traffic(of[True, True], of[True, False])
        vector = cost.of_vector(parameters)
        assert cost.of_sum(parameters) == Traffic(of[False, True] - vector, of[False, False])
