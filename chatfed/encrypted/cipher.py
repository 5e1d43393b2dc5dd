"""CKKS (Cheon et al. 2017) as the next word needs it: one set of parameters, and the library's objects as bytes.

The only place that knows tenseal, of which it takes the bindings of SEAL alone. Knows no network.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from .errors import MalformedCiphertext, OtherParameters, TensealMissing
from .layout import ROTATIONS
from .wire import check_library_head

DEGREE = 8192  # of the ring: 4096 slots
MODULI = (50, 50, 58, 60)  # bits: the 218 that 128-bit security allows; the last is for keys alone
INPUT_SCALE = 2.0**31
FIRST_SCALE = 2.0**28  # of the first layer's weights: their product with the input is squared as it is
OUTPUT_SCALE = 2.0**38  # of the answer, one modulus of 50 bits left: outputs lie within 2**10
_WRONG = (RuntimeError, ValueError, IndexError, OverflowError, MemoryError)  # as the library says that bytes are none


@cache
def seal() -> Any:
    """The library. Raises TensealMissing."""
    try:
        import tenseal.sealapi as library
    except ImportError:
        raise TensealMissing("Encrypted questions need tenseal: pip install 'chatfed[he]'.") from None
    return library


@cache
def context() -> Any:
    """The parameters, which the library has checked against its table for 128-bit security."""
    library = seal()
    chosen = library.EncryptionParameters(library.SCHEME_TYPE.CKKS)
    chosen.set_poly_modulus_degree(DEGREE)
    chosen.set_coeff_modulus(library.CoeffModulus.Create(DEGREE, list(MODULI)))
    made = library.SEALContext(chosen, True, library.SEC_LEVEL_TYPE.TC128)
    assert made.parameters_set(), made.parameters_error_message()
    return made


def elements() -> list[int]:
    """The Galois elements of ROTATIONS: a rotation by s slots is X -> X^(3^s)."""
    return [pow(3, steps, 2 * DEGREE) for steps in ROTATIONS]


class Passage:
    """A private folder through which objects become bytes and back: the library writes and reads files only.

    Nothing that opens a ciphertext goes through it. Objects are read with the library's own checks on.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chatfed-he-")  # mode 0700
        self._file = Path(self._folder.name) / "object"

    def bytes_of(self, made: Any) -> bytes:
        """A ciphertext's bytes, or those of keys."""
        made.save(str(self._file))
        content = self._file.read_bytes()
        self._file.unlink()
        return content

    def object_of(self, empty: Any, content: bytes, party: str, what: str) -> Any:
        """`empty`, filled. Raises MalformedCiphertext naming `party`."""
        check_library_head(content, party, what)
        self._file.write_bytes(content)
        try:
            empty.load(context(), str(self._file))
        except _WRONG:
            why = "the cipher's library refuses it: damaged, or of other parameters"
            raise MalformedCiphertext(party, what, why) from None
        finally:
            self._file.unlink()
        return empty

    def ciphertext(self, content: bytes, scale: float, first: bool, party: str, what: str) -> Any:
        """A ciphertext of two polynomials with that scale, on the first level or on the last.

        Raises MalformedCiphertext, and OtherParameters for another scale, level or size.
        """
        found = self.object_of(seal().Ciphertext(), content, party, what)
        level = context().first_parms_id() if first else context().last_parms_id()
        if found.parms_id() != level or found.size() != 2 or found.scale != scale or not found.is_ntt_form():
            raise OtherParameters(party, what, "it has another scale, level or size than such a message has")
        return found
