"""What hiding a vector costs a client: under pairwise masks, and under a threshold key, in one run.

First that both give one and the same sum. Seconds are of one processor, of the vector alone and of all steps of a sum.
Beside them stands what NVIDIA FLARE publishes of its own encrypted sums, which was not measured here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks import Row, interleaved, machine, parser, print_table, write_json
from chatfed.command_line import exit_code
from chatfed.secagg import cost, lattice, masking
from chatfed.secagg.masking import RingVector, ring_dtype
from chatfed.secagg.messages import MASKS, THRESHOLD_HE, Parameters
from training.sum_cost import measured

DIMENSION, QUICK_DIMENSION, COHORT = 1_000_000, 20_000, 40
NVFLARE_BYTES = 58.0  # a parameter, published; NVFlare's clients also hold one decryption key together
TURN = bytes(32)


def parameters_of(scheme: str, ring_bits: int, dimension: int) -> Parameters:
    """A cohort in which everybody is a neighbour of everybody, with pinned identities."""
    return Parameters(COHORT, 27, dimension, ring_bits, committee=COHORT, quorum=23, scheme=scheme)


def masked(vector: RingVector, keys: Sequence[bytes]) -> RingVector:
    """As a client of COHORT masks: with its own seed's stream and one of each other."""
    hidden = vector.copy()
    masking.apply_masks(hidden, keys[: len(keys) // 2], keys[len(keys) // 2 :])
    return hidden


def agrees(ring_bits: int) -> bool:
    """Whether ciphertexts of a few vectors open to the sum in the ring."""
    size, dtype = lattice.Packing(ring_bits, 5), ring_dtype(ring_bits)
    generator = np.random.default_rng(ring_bits)
    vectors = [generator.integers(0, np.iinfo(dtype).max, 5000, dtype, endpoint=True) for _ in range(5)]
    seeds, total = [os.urandom(32) for _ in vectors], lattice.CipherSum(size, 5000)
    for vector, seed in zip(vectors, seeds, strict=True):
        total.add(lattice.encrypt(vector, seed, TURN, size))
    opened = lattice.decrypt(total, np.sum([lattice.key_polynomial(seed) for seed in seeds], axis=0), TURN)
    return opened is not None and bool((opened == np.sum(vectors, axis=0, dtype=dtype)).all())


def figures_of(ring_bits: int, dimension: int, rounds: int) -> dict[str, float]:
    """Seconds and bytes of one client, under both."""
    if not agrees(ring_bits):
        raise SystemExit("the two schemes give different sums")
    vector = np.zeros(dimension, ring_dtype(ring_bits))
    seed, keys = os.urandom(32), [os.urandom(32) for _ in range(COHORT)]
    of = {scheme: parameters_of(scheme, ring_bits, dimension) for scheme in (MASKS, THRESHOLD_HE)}
    times = interleaved(
        {
            MASKS: lambda: masked(vector, keys),
            THRESHOLD_HE: lambda: lattice.encrypt(vector, seed, TURN, of[THRESHOLD_HE].packing),
        },
        rounds,
    )
    whole = {scheme: sorted(measured(p).seconds for _ in range(3))[1] for scheme, p in of.items()}
    sent = {scheme: cost.of_vector(p) for scheme, p in of.items()}
    up = {scheme: cost.of_vector(p) + cost.of_sum(p).up + cost.of_agreement(p).up for scheme, p in of.items()}
    return {
        "dimension": dimension,
        "masks_s": times[MASKS].seconds,
        "keys_s": times[THRESHOLD_HE].seconds,
        "keys_over_masks": times[THRESHOLD_HE].over(times[MASKS]),
        "masks_all_steps_s": whole[MASKS],
        "keys_all_steps_s": whole[THRESHOLD_HE],
        "masks_bytes": sent[MASKS],
        "keys_bytes": sent[THRESHOLD_HE],
        "masks_all_up": up[MASKS],
        "keys_all_up": up[THRESHOLD_HE],
    }


def rows_of(bits: int, found: dict[str, float]) -> list[Row]:
    """Ours, masks beside it, and the ratio."""

    def row(what: str, key: str, unit: str, scale: float = 1.0) -> Row:
        keys, masks = found[f"keys_{key}"], found[f"masks_{key}"]
        ratio = found["keys_over_masks"] if key == "s" else keys / masks
        return f"{what}, {bits} bits", f"{keys * scale:.3f} {unit}", f"{masks * scale:.3f} {unit}", f"{ratio:.2f}"

    d = found["dimension"]
    return [
        row("hide the vector", "s", "s"),
        row("all steps of a client", "all_steps_s", "s"),
        row("the vector", "bytes", "bytes a parameter", 1 / d),
        row("all that a client sends, keys agreed on anew", "all_up", "bytes a parameter", 1 / d),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the table."""
    options = parser("threshold_he", __doc__.splitlines()[0]).parse_args(arguments)
    dimension, rounds = (QUICK_DIMENSION, 3) if options.quick else (DIMENSION, 15)
    found = {bits: figures_of(bits, dimension, rounds) for bits in (16, 32)}
    rows = [row for bits, each in found.items() for row in rows_of(bits, each)]
    rows.append(("NVFlare's encrypted sum, published", "", f"{NVFLARE_BYTES:.0f} bytes a parameter", ""))
    about = f"{machine('numpy', 'cryptography')}\n{COHORT} clients, {dimension:,} parameters"
    print_table("a client, one sum", about, rows, ("threshold key", "masks", "ratio"))
    if options.json:
        write_json(options.json, {str(bits): each for bits, each in found.items()})


if __name__ == "__main__":
    sys.exit(exit_code(main))
