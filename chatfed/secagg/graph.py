"""Which participants share masks and Shamir shares with whom. Knows nothing of keys or messages."""

from __future__ import annotations


def neighbours(me: int, participants: int) -> frozenset[int]:
    """The participants that `me` shares a pairwise mask and shares with: all others (the complete graph).

    Symmetric: j is in neighbours(i) exactly when i is in neighbours(j). Bonawitz et al. 2017, section 4.
    """
    return frozenset(range(1, participants + 1)) - {me}


def holders(owner: int, participants: int) -> frozenset[int]:
    """Who holds a share of `owner`'s secrets: its neighbours and itself."""
    return neighbours(owner, participants) | {owner}
