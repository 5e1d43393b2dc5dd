"""What can be wrong between the parties of a training under encryption. Knows no cipher and no network."""

from __future__ import annotations

from chatfed.types import ChatfedError

from ..errors import MalformedCiphertext


class OtherContext(MalformedCiphertext):
    """What `party` sent was made for another training: other parties, sizes, learning rate or session."""

    code = "other_context"
    mend = "let all parties begin with the same parameters and session"


class OtherCollectiveKey(MalformedCiphertext):
    """What `party` sent is under a collective key that is not this training's."""

    code = "other_collective_key"
    mend = "make the keys anew, all parties together; a party that was restarted has lost its share"


class LevelsExhausted(ChatfedError):
    """A ciphertext has too few primes left for what is asked: its noise budget is used up."""

    code = "levels_exhausted"
    mend = "refresh the ciphertext before it is multiplied again"

    def __init__(self, party: str, left: int, needed: int) -> None:
        super().__init__(
            f"A ciphertext of {party} has {left} primes left and needs {needed}; refresh it first.", param="levels"
        )
        self.party = party


class TooFewParties(ChatfedError):
    """Not all parties of a training are there; it tolerates no dropout."""

    code = "too_few_parties"
    mend = "wait for all parties, or begin a new training with those that are there"


class OutOfTurn(MalformedCiphertext):
    """What `party` sent belongs to another step. A refresh is never answered twice: its polynomial serves once."""

    code = "out_of_turn"
    mend = "begin a new training with another session"


class BadParameters(ChatfedError):
    """Parameters that no training under encryption can have."""

    code = "bad_encrypted_parameters"
    mend = "as the message says"
