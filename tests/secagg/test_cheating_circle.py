"""On a circle of neighbours: no gap cut into it is answered, and honest rounds are exact."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.secagg import client, graph, messages
from chatfed.secagg.messages import (
    Floors,
    Kind,
    Parameters,
    RefusedParameters,
    RefusedSurvivors,
)
from chatfed.secagg.states import Masked
from tests.secagg.forging import SIXTY, bound_of, survivors
from tests.secagg.rounds import (
    EPOCH,
    SCOPE,
    Carried,
    body_of,
    carry,
    entropy_from,
    random_vectors,
    ring_sum,
    roster_of,
    signs_as,
    state_of,
)


def test_more_missing_in_a_row_than_the_own_floor_is_refused() -> None:
    own = Floors(2, 2, most_gone=SIXTY.most_gone - 1)
    with pytest.raises(RefusedParameters, match="most_gone"):
        client.advertise(SIXTY, own, SCOPE, EPOCH, 1, entropy_from(0), roster_of(SIXTY), signs_as(1))


def test_a_gap_cut_into_the_circle_is_refused(circle: Carried) -> None:
    """A whole row declared dropped would leave a participant without masks: such a survivor set is refused."""
    places, half = circle.server_states["sharing"].graph.circle, SIXTY.degree // 2
    victim = places.index(11)
    gap = {places[(victim + step) % len(places)] for step in (*range(-half, 0), *range(1, half + 1))}
    near = set(bound_of(circle)) - gap
    far = next(i for i in near if i != 11)
    for who in (11, far):
        with pytest.raises(RefusedSurvivors, match="places in a row"):
            client.consent(state_of(circle, who, Masked), survivors(circle, who, near), signs_as(who))


def test_dropouts_within_what_is_allowed_are_unmasked_on_the_circle(circle: Carried) -> None:
    assert [kind for kind, _ in circle.wire if kind is Kind.ANSWER]


def test_on_a_circle_shares_go_to_neighbours_alone_and_answers_are_one_kind_each(circle: Carried) -> None:
    drawn = circle.server_states["sharing"].graph
    masked, survivors_ = state_of(circle, 11, Masked), set(bound_of(circle))
    assert masked.shares.keys() == drawn.holders(11) & circle.server_states["collecting"].present
    entries = body_of(circle.wire[Kind.ANSWER, 11])[32:]
    assert len(entries) == 40 * len(masked.shares)
    for at in range(0, len(entries), 40):
        owner, share = int.from_bytes(entries[at : at + 4], "little"), entries[at + 4 : at + 40]
        kinds = masked.shares[owner]
        assert share == (kinds[:36] if owner in survivors_ else kinds[36:])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_any_signed_round_on_a_circle_gives_the_exact_sum_or_one_typed_error(seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(51, 56))
    sizes, bits = graph.derive_active(count, 0.05, 0.1), data.draw(st.sampled_from([16, 21, 32]))
    quorum = graph.derive_quorum(count, 0.05)
    parameters = Parameters(count, sizes.threshold, 5, bits, sizes.degree, sizes.most_gone, *quorum)
    gone = {stage: data.draw(st.sets(st.integers(1, count), max_size=3)) for stage in range(5)}
    order = data.draw(st.permutations(range(1, count + 1)))
    vectors = random_vectors(parameters, seed)
    try:
        total = carry(parameters, vectors, gone, order, seed=seed)
    except messages.ProtocolError as error:
        said = str(error)
    else:
        said = ""
        lost = gone[0] | gone[1] | gone[2]
        assert total.survivors == tuple(i for i in range(1, count + 1) if i not in lost)
        assert total.vector.tolist() == ring_sum(parameters, [vectors[i] for i in total.survivors])
    assert "\n" not in said
