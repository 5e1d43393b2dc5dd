"""Arithmetic in Z_q[X]/(X^2048 + 1), Gaussian errors, and a cipher whose keys add up as its messages do: one face.

Knows no participant, no message and no round. Inside, from the ground up: `ntt` (polynomials modulo a prime),
`discrete` (uniform and Gaussian numbers out of key streams), `packing` (ring vectors as coefficients, coefficients as
bytes), `cipher` (encrypt, add up, decrypt). docs/encrypted.md says what its secrecy rests on.
"""

from chatfed.secagg.lattice.cipher import CipherSum, decrypt, encrypt, key_polynomial
from chatfed.secagg.lattice.discrete import MOST, likely
from chatfed.secagg.lattice.ntt import DEGREE
from chatfed.secagg.lattice.packing import Packing, cipher_bytes

__all__ = [
    "DEGREE",
    "MOST",
    "CipherSum",
    "Packing",
    "cipher_bytes",
    "decrypt",
    "encrypt",
    "key_polynomial",
    "likely",
]
