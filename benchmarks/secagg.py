"""Secure aggregation against limits and obvious twins: mask expansion, Shamir, encoding, and one whole round.

Every comparison checks first that both sides compute the right thing. No Flower here (flower_secagg.py has its side): a
plain Philox expansion is shown for scale, and stands for nobody's system.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeVar

import numpy as np
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks import Row, interleaved, machine, parser, print_table, write_json
from chatfed.privacy.accounting import calibrate_noise
from chatfed.secagg import client, primitives, server, shamir
from chatfed.secagg.encoding import FixedPoint
from chatfed.secagg.masking import CHUNK_BYTES, RingVector, apply_masks, ring_dtype
from chatfed.secagg.messages import Floors, context, roster_root
from chatfed.types import FloatVector
from training.client import codec, sum_parameters
from training.recipe import Recipe, load_recipe

BIG_PRIME = 2**256 + 297  # the least prime that holds every 32-byte secret
HOLDERS, THRESHOLD = 100, 51
Figures = dict[str, float]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int  # samples of each candidate
    mask_dimension: int
    mask_neighbours: int
    encode_dimension: int
    cohort: int
    round_dimensions: tuple[int, ...]
    whole_rounds: int


QUICK = Sizes(3, 50_000, 4, 20_000, 10, (10_000,), 1)


def full() -> Sizes:
    """Sizes of the default job, and of one with a million coordinates."""
    from benchmarks.dp_step import default_dimension

    return Sizes(15, 1_000_000, 20, 1_000_000, 60, (default_dimension(), 1_000_000), 3)


# (a) Masks


def masks(sizes: Sizes) -> tuple[list[Row], Figures]:
    """Mask expansion at both ring widths, beside the bare key stream of as many bytes and a Philox expansion."""
    rows, figures = list[Row](), Figures()
    for bits in (32, 16):
        figures |= _masks(sizes, bits, rows)
    figures["mask_vs_aes_ctr"] = max(figures[f"mask_vs_aes_ctr_u{bits}"] for bits in (16, 32))
    return rows, figures


def _masks(sizes: Sizes, bits: int, rows: list[Row]) -> Figures:
    count, d = sizes.mask_neighbours, sizes.mask_dimension
    vector, keys = np.zeros(d, ring_dtype(bits)), [os.urandom(32) for _ in range(count)]
    _check_masks(bits)
    times = interleaved(
        {
            "ours": lambda: apply_masks(vector, keys[::2], keys[1::2]),
            "ctr": lambda: key_streams(ctr, keys, vector.nbytes),
            "gcm": lambda: key_streams(gcm, keys, vector.nbytes),
            "philox": lambda: add_philox(vector, count),
        },
        sizes.rounds,
    )
    ours, each = times["ours"], 1e9 / (count * d)
    beside = {
        "ctr": "raw AES-256-CTR key stream",
        "gcm": "raw AES-256-GCM key stream",
        "philox": "numpy Philox, no secrecy",
    }
    for name, words in beside.items():
        figure = f"{times[name].seconds * each:.3f} ns"
        what = f"mask, uint{bits}, per parameter and neighbour / {words}"
        rows.append((what, f"{ours.seconds * each:.3f} ns", figure, f"{ours.over(times[name]):.2f}"))
    return {
        f"mask_ns_u{bits}": ours.seconds * each,
        f"mask_vs_aes_ctr_u{bits}": ours.over(times["ctr"]),
        f"aes_ctr_ns_u{bits}": times["ctr"].seconds * each,
        f"aes_gcm_ns_u{bits}": times["gcm"].seconds * each,
        f"philox_mask_x_u{bits}": times["philox"].over(ours),
    }


def ctr(key: bytes) -> primitives.KeyStream:
    """OpenSSL's AES-256-CTR from counter block 2, as `cryptography` gives it."""
    return Cipher(algorithms.AES(key), modes.CTR((2).to_bytes(16, "big"))).encryptor().update_into


def gcm(key: bytes) -> primitives.KeyStream:
    """The same stream as the ciphertext of zeros under AES-256-GCM, nonce 0: on some machines the faster way."""
    return Cipher(algorithms.AES(key), modes.GCM(bytes(12))).encryptor().update_into


def key_streams(open_stream: Callable[[bytes], primitives.KeyStream], keys: Sequence[bytes], size: int) -> None:
    """`size` bytes of key stream for each key, 128 KiB at a time into one buffer: nothing is added to anything."""
    zeros, out = memoryview(bytes(CHUNK_BYTES)), bytearray(CHUNK_BYTES + 15)
    for key in keys:
        stream = open_stream(key)
        for start in range(0, size, CHUNK_BYTES):
            stream(zeros[: size - start], out)


def add_philox(vector: RingVector, count: int) -> None:
    """The plain way with numpy's counter-based generator: draw a whole mask, then add it. Predictable, so no mask."""
    high = 1 << (8 * vector.itemsize)
    for seed in range(count):
        mask = np.random.Generator(np.random.Philox(seed)).integers(0, high, vector.size, vector.dtype.type)
        np.add(vector, mask, out=vector)


def _check_masks(bits: int) -> None:
    key, ours = os.urandom(32), np.zeros(100_000, ring_dtype(bits))
    apply_masks(ours, [key], [])
    stream = bytearray(ours.nbytes + 15)
    for way in (ctr, gcm):
        way(key)(bytes(ours.nbytes), stream)
        _require(ours.tobytes() == stream[: ours.nbytes], "the mask is not the AES-256-CTR stream")


# (b) Shamir


def big_integer_share(secret: int, holders: int, threshold: int) -> list[tuple[int, int]]:
    """Shamir (1979) as a textbook has it: one polynomial over one large prime, Horner's rule at 1..holders."""
    coefficients = [secret, *(int.from_bytes(os.urandom(40), "big") % BIG_PRIME for _ in range(threshold - 1))]
    shares = []
    for x in range(1, holders + 1):
        y = 0
        for coefficient in reversed(coefficients):
            y = (y * x + coefficient) % BIG_PRIME
        shares.append((x, y))
    return shares


def big_integer_combine(shares: Sequence[tuple[int, int]]) -> int:
    """Lagrange's interpolation at zero."""
    secret = 0
    for x, y in shares:
        above = below = 1
        for other, _ in shares:
            if other != x:
                above, below = above * other % BIG_PRIME, below * (other - x) % BIG_PRIME
        secret = (secret + y * above * pow(below, -1, BIG_PRIME)) % BIG_PRIME
    return secret


def secret_sharing(sizes: Sizes) -> tuple[list[Row], Figures]:
    """One 32-byte secret at (100, 51), with the tables that depend on the points alone made anew, and at hand."""
    secret, points = os.urandom(32), list(range(1, HOLDERS + 1))
    number = int.from_bytes(secret, "little")
    shares = shamir.share([secret], points, THRESHOLD, os.urandom)[:THRESHOLD]
    large = big_integer_share(number, HOLDERS, THRESHOLD)[:THRESHOLD]
    _require(shamir.combine(points[:THRESHOLD], shares) == [secret], "the shares do not recover the secret")
    _require(big_integer_combine(large) == number, "the twin does not recover the secret")

    def share() -> None:
        shamir.share([secret], points, THRESHOLD, os.urandom)

    def combine() -> None:
        shamir.combine(points[:THRESHOLD], shares)

    def share_anew() -> None:
        shamir._powers.cache_clear()
        share()

    def combine_anew() -> None:
        shamir.lagrange_at_zero.cache_clear()
        combine()

    times = interleaved(
        {
            "share": share_anew,
            "share_known": share,
            "share_twin": lambda: big_integer_share(number, HOLDERS, THRESHOLD),
            "combine": combine_anew,
            "combine_known": combine,
            "combine_twin": lambda: big_integer_combine(large),
        },
        sizes.rounds,
    )
    rows, figures = list[Row](), Figures()
    for name, words in (
        ("share", "share, new points"),
        ("share_known", "share, known points"),
        ("combine", "combine, new points"),
        ("combine_known", "combine, known points"),
    ):
        ours, twin = times[name], times[f"{name.removesuffix('_known')}_twin"]
        factor = twin.over(ours)
        what = f"Shamir ({HOLDERS}, {THRESHOLD}), {words} / big-integer Python"
        rows.append((what, f"{ours.seconds * 1e3:.3f} ms", f"{twin.seconds * 1e3:.2f} ms", f"{factor:.0f}x faster"))
        figures |= {f"shamir_{name}_ms": ours.seconds * 1e3, f"shamir_{name}_x": factor}
    return rows, figures


# (c) One whole round


@dataclass(frozen=True)
class RoundFigures:
    """One round; seconds of processor time. A client's are the median over those that stayed to the end."""

    participants: int
    dropped: int  # after they shared, before their masked input: what costs the server most
    dimension: int  # the weight included
    ring_bits: int
    client_s: float
    server_s: float
    client_bytes_up: int
    client_bytes_down: int


class Traffic:
    """A round in memory: runs each party's steps, adding up its processor seconds and a client's bytes."""

    def __init__(self, parties: Sequence[int]) -> None:
        self.seconds = dict.fromkeys(parties, 0.0)
        self.up, self.down = dict.fromkeys(parties, 0), dict.fromkeys(parties, 0)
        self.server_seconds = 0.0
        self.states: dict[int, client.ClientState] = {}

    def at_client(self, i: int, step: Callable[..., tuple[client.ClientState, bytes]], *inputs: Any) -> bytes:
        """Runs a step of client i -> its message."""
        start = time.process_time()
        self.states[i], message = step(*inputs)
        self.seconds[i] += time.process_time() - start
        self.up[i] += len(message)
        return message

    def at_server(self, step: Callable[..., _T], *inputs: Any) -> _T:
        """Runs a step of the server."""
        start = time.process_time()
        result = step(*inputs)
        self.server_seconds += time.process_time() - start
        return result

    def relay(self, step: Callable[..., tuple[_T, server.Outbound]], *inputs: Any) -> tuple[_T, server.Outbound]:
        """Runs a step of the server that has messages for clients."""
        state, outbound = self.at_server(step, *inputs)
        for i, message in outbound.items():
            self.down[i] += len(message)
        return state, outbound


def whole_round(recipe: Recipe, participants: int, d: int) -> RoundFigures:
    """Carries one round, every tenth dropping out after it shared. Checks who is in the sum, and its mean."""
    noise = calibrate_noise(recipe.privacy.target_epsilon, 1.0, 1, delta=recipe.privacy.delta)
    parameters, code = sum_parameters(recipe, participants, d, noise), codec(recipe, participants, d, noise, bytes(32))
    floors, attempt = Floors(parameters.threshold, parameters.threshold, parameters.ring_bits), bytes(16)
    update = update_of(code)
    everyone = range(1, participants + 1)
    gone, t, random = set(everyone[9::10]), Traffic(everyone), os.urandom
    ctx = context(random(16), 1, random(32), recipe.digest(), roster_root([str(i) for i in everyone]))

    def encode_and_mask(state: client.ClientState, inbound: bytes) -> tuple[client.Masked, bytes]:
        return client.masked_input(state, inbound, code.encode(update, 1.0, random))

    sent = {i: t.at_client(i, client.advertise, parameters, floors, ctx, attempt, i, random) for i in everyone}
    sharing, out = t.relay(server.relay_adverts, server.open_round(parameters, ctx, attempt), sent)
    sent = {i: t.at_client(i, client.share, t.states[i], out[i], random) for i in everyone}
    collecting, out = t.relay(server.relay_shares, sharing, sent)
    for i in sorted(set(everyone) - gone):
        message = t.at_client(i, encode_and_mask, t.states[i], out[i])
        collecting = t.at_server(server.accept, collecting, i, message)
    unmasking, out = t.relay(server.close_inputs, collecting)
    answers = {i: t.at_client(i, client.unmask, t.states[i], out[i]) for i in out}
    total = t.at_server(server.finish, unmasking, answers)
    mean, weight = t.at_server(code.decode, total.vector, len(total.survivors))

    _require(set(total.survivors) == set(everyone) - gone and round(weight) == len(answers), "wrong survivors")
    _require(float(np.abs(mean - update).max()) <= 8 * code.step, "the decoded mean is not the update")
    one = min(answers)
    seconds = median(t.seconds[i] for i in answers)
    sizes = (participants, len(gone), parameters.dimension, parameters.ring_bits)
    return RoundFigures(*sizes, seconds, t.server_seconds, t.up[one], t.down[one])


def rounds(sizes: Sizes, recipe: Recipe) -> tuple[list[Row], list[dict[str, Any]]]:
    """Whole rounds of the recipe's threshold and ring; the median over repeats, dimensions taken in turn."""
    taken: dict[int, list[RoundFigures]] = {d: [] for d in sizes.round_dimensions}
    for _ in range(sizes.whole_rounds):
        for d in taken:
            taken[d].append(whole_round(recipe, sizes.cohort, d))
    rows, figures = list[Row](), list[dict[str, Any]]()
    for d, each in taken.items():
        one = asdict(each[0]) | {
            "client_s": median(r.client_s for r in each),
            "server_s": median(r.server_s for r in each),
        }
        what = f"round of {one['participants']}, {one['dropped']} dropped, d = {d:,}, uint{one['ring_bits']}"
        up = one["client_bytes_up"]
        rows.append((f"{what}: client processor time", f"{one['client_s']:.3f} s", "", ""))
        rows.append((f"{what}: server processor time", f"{one['server_s']:.3f} s", "", ""))
        rows.append((f"{what}: a client's bytes up", f"{up:,}", f"{4 * d:,} as float32", f"{up / (4 * d):.3f}"))
        figures.append(one)
    return rows, figures


# (d) Encoding


def encoding(sizes: Sizes, recipe: Recipe) -> tuple[list[Row], Figures]:
    """The fixed-point code of the recipe's ring, in nanoseconds a coordinate."""
    d = sizes.encode_dimension
    code: FixedPoint = codec(recipe, sizes.cohort, d, 0.6, bytes(32))
    vector = update_of(code)
    encoded = code.encode(vector, 1.0, os.urandom)
    out = np.empty_like(vector)
    times = interleaved(
        {
            "encode": lambda: code.encode(vector, 1.0, os.urandom),
            "decode": lambda: code.decode(encoded, 1),
            "copy": lambda: np.multiply(vector, np.float32(0.5), out=out),
        },
        sizes.rounds,
    )
    copy = f"{times['copy'].seconds * 1e9 / d:.2f} ns"
    rows = [
        (
            f"{name}, uint{code.ring_bits}, per coordinate / one numpy multiplication",
            f"{times[name].seconds * 1e9 / d:.2f} ns",
            copy,
            f"{times[name].over(times['copy']):.1f}",
        )
        for name in ("encode", "decode")
    ]
    return rows, {f"{name}_ns": times[name].seconds * 1e9 / d for name in ("encode", "decode")}


def update_of(code: FixedPoint) -> FloatVector:
    """A vector as long as the code takes, in a random direction: float32[dimension]."""
    vector = np.random.default_rng(1).normal(size=code.dimension)
    return (vector * (0.999 * code.norm / np.linalg.norm(vector))).astype(np.float32)


def _require(right: bool, wrong: str) -> None:
    if not right:
        raise SystemExit(f"benchmarks.secagg: {wrong}; no time of a wrong result is worth printing")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the JSON where asked to."""
    options = parser("secagg", "Secure aggregation: masks, Shamir shares, one whole round, encoding.").parse_args(
        arguments
    )
    sizes, recipe = QUICK if options.quick else full(), load_recipe()
    about = f"{machine('cryptography', 'numpy')}, {backend.openssl_version_text()}"
    start = time.perf_counter()
    mask_rows, figures = masks(sizes)
    shamir_rows, shamir_figures = secret_sharing(sizes)
    round_rows, round_figures = rounds(sizes, recipe)
    encode_rows, encode_figures = encoding(sizes, recipe)
    title = "secure aggregation (quick: figures mean little)" if options.quick else "secure aggregation"
    print_table(title, about, [*mask_rows, *shamir_rows, *round_rows, *encode_rows])
    print(f"medians of {sizes.rounds} interleaved samples; {time.perf_counter() - start:.0f} s in all")
    if options.json:
        measured = figures | shamir_figures | encode_figures
        write_json(options.json, {"machine": about, "quick": options.quick, **measured, "whole_rounds": round_figures})


if __name__ == "__main__":
    main()
