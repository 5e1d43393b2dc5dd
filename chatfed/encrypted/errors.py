"""What can be wrong with what the other party sent. Knows no library and no network."""

from __future__ import annotations

from chatfed.types import ChatfedError


class MalformedCiphertext(ChatfedError):
    """Bytes that are no keys, question or answer of ours. `party` is who sent them."""

    code = "malformed_ciphertext"
    mend = "send it again as it was made; where it comes so again, see that both run the same version of chatfed"

    def __init__(self, party: str, what: str, why: str) -> None:
        super().__init__(f"The {what} that {party} sent cannot be used: {why}.", param=what)
        self.party = party


class OtherParameters(MalformedCiphertext):
    """What `party` sent was made for another network, or with other parameters of the cipher."""

    code = "other_parameters"
    mend = "ask with the asker's half that belongs to the server's, both of one chatfed he distil"


class OtherKey(MalformedCiphertext):
    """What `party` sent is under a key that is not the one in use."""

    code = "other_key"
    mend = "send the keys first, and read an answer with the key that asked"


class NoiseExhausted(MalformedCiphertext):
    """What `party` sent opens, and its noise is larger than what was computed may have: the words would be wrong."""

    code = "noise_exhausted"
    mend = "have whoever serves distil the network anew, with the same version of chatfed as the asker's"


class TensealMissing(ChatfedError):
    """The library of the cipher is not installed here."""

    code = "tenseal_missing"
    mend = "pip install 'chatfed[he]'"
