"""Secure aggregation against the machine's limit and against Flower's SecAgg+: masks, Shamir, encoding, whole rounds.

Every comparison checks first that both sides compute the right thing. Flower's side is flower_secagg.py, measured
where flwr is installed (`make bench VENV=.venv-bench EXTRAS=bench`); without it its columns and keys are left out.
`--docs FOLDER` also writes how the cost of a round grows, as a table and a plot.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks import Row, flower_secagg, interleaved, machine, parser, print_table, write_json
from benchmarks.secagg_growth import growth, write_docs
from benchmarks.secagg_round import Setting, median_round, require, server_memory, unit_vector
from chatfed.command_line import exit_code
from chatfed.secagg import primitives, shamir
from chatfed.secagg.encoding import FixedPoint
from chatfed.secagg.masking import CHUNK_BYTES, RING_BITS, apply_masks, ring_dtype, ring_length

HOLDERS, THRESHOLD = 100, 51
ROUND = Setting(participants=100, degree=54, threshold=28, dimension=1_000_000, ring_bits=32)  # Flower's ring
LARGE = replace(ROUND, dimension=10_000_000, ring_bits=16)
MANY = replace(ROUND, participants=1000, degree=52, ring_bits=16)
Figures = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int  # samples of each candidate
    mask_dimension: int
    mask_neighbours: int
    encode_dimension: int
    whole: tuple[tuple[str, Setting], ...]  # rounds, by the prefix of their keys
    peers: bool


QUICK = Sizes(3, 50_000, 4, 20_000, (("quick_", Setting(10, -1, 7, 10_000, 16, rotation=True)),), False)
FULL = Sizes(
    rounds=15,
    mask_dimension=1_000_000,
    mask_neighbours=20,
    encode_dimension=1_000_000,
    whole=(
        ("", ROUND),
        ("signed_", replace(ROUND, signed=True)),
        ("u16_", replace(ROUND, ring_bits=16)),
        ("large_", LARGE),
        ("large_signed_", replace(LARGE, signed=True, rotation=True)),
        ("many_", MANY),
        ("many_signed_", replace(MANY, signed=True)),
    ),
    peers=True,
)


# (a) Masks


def masks(sizes: Sizes) -> tuple[list[Row], Figures]:
    """Mask expansion at each ring width, a parameter and neighbour, beside the bare key stream of as many bytes."""
    rows, figures = list[Row](), Figures()
    for bits in RING_BITS:
        figures |= _masks(sizes, bits, rows)
    figures["mask_vs_aes_ctr"] = max(figures[f"mask_vs_aes_ctr_u{bits}"] for bits in RING_BITS)
    return rows, figures


def _masks(sizes: Sizes, bits: int, rows: list[Row]) -> Figures:
    count, d = sizes.mask_neighbours, sizes.mask_dimension
    vector, keys = np.zeros(ring_length(d, bits), ring_dtype(bits)), [os.urandom(32) for _ in range(count)]
    _check_masks(bits)
    times = interleaved(
        {
            "ours": lambda: apply_masks(vector, keys[::2], keys[1::2]),
            "ctr": lambda: key_streams(ctr, keys, vector.nbytes),
            "gcm": lambda: key_streams(gcm, keys, vector.nbytes),
        },
        sizes.rounds,
    )
    ours, each = times["ours"], 1e9 / (count * d)
    for name in ("ctr", "gcm"):
        what = f"mask, {bits} bits, a parameter and neighbour / raw AES-256-{name.upper()} key stream"
        figure = f"{times[name].seconds * each:.3f} ns"
        rows.append((what, f"{ours.seconds * each:.3f} ns", figure, f"{ours.over(times[name]):.2f}"))
    return {
        f"mask_ns_u{bits}": ours.seconds * each,
        f"mask_vs_aes_ctr_u{bits}": ours.over(times["ctr"]),
        f"mask_vs_aes_gcm_u{bits}": ours.over(times["gcm"]),
    }


def flower_masks(dimension: int, neighbours: int, rounds: int) -> tuple[list[Row], Figures]:
    """The same work beside Flower's: one upload's masks, at 32 bits as Flower's ring is, and at 16."""
    keys, candidates = [os.urandom(32) for _ in range(neighbours)], dict[str, Callable[[], object]]()
    vectors = {bits: np.zeros(dimension, ring_dtype(bits)) for bits in (16, 32)}
    for bits, vector in vectors.items():
        candidates[f"u{bits}"] = partial(apply_masks, vector, keys[::2], keys[1::2])
    times = interleaved(candidates | {"flower": flower_secagg.mask(dimension, neighbours)}, rounds)
    rows, figures, each = list[Row](), Figures(), 1e9 / (dimension * neighbours)
    for bits in (32, 16):
        factor = times["flower"].over(times[f"u{bits}"])
        cells = (f"{times[f'u{bits}'].seconds * each:.3f} ns", f"{times['flower'].seconds * each:.2f} ns")
        rows.append((f"mask, {bits} bits, d {dimension:,} / Flower's", *cells, f"{factor:.1f}x faster"))
        figures[f"flower_mask_x_u{bits}"] = factor
    return rows, figures


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


def _check_masks(bits: int) -> None:
    key, ours = os.urandom(32), np.zeros(100_000, ring_dtype(bits))
    apply_masks(ours, [key], [])
    stream = bytearray(ours.nbytes + 15)
    for way in (ctr, gcm):
        way(key)(bytes(ours.nbytes), stream)
        require(ours.tobytes() == stream[: ours.nbytes], "the mask is not the AES-256-CTR stream")


# (b) Shamir


def secret_sharing(sizes: Sizes) -> tuple[list[Row], Figures]:
    """One 32-byte secret at (100, 51), the tables that depend on the points alone made anew, and at hand."""
    secret, points = os.urandom(32), list(range(1, HOLDERS + 1))
    shares = shamir.share([secret], points, THRESHOLD, os.urandom)[:THRESHOLD]
    require(shamir.combine(points[:THRESHOLD], shares) == [secret], "the shares do not recover the secret")

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

    candidates: dict[str, Callable[[], object]] = {
        "share": share_anew,
        "share_known": share,
        "combine": combine_anew,
        "combine_known": combine,
    }
    if sizes.peers:
        theirs = flower_secagg.share(secret, THRESHOLD, HOLDERS)[:THRESHOLD]
        require(flower_secagg.combine(theirs) == secret, "Flower's shares do not recover the secret")
        candidates["flower_share"] = lambda: flower_secagg.share(secret, THRESHOLD, HOLDERS)
        candidates["flower_combine"] = lambda: flower_secagg.combine(theirs)
    times = interleaved(candidates, sizes.rounds)
    rows, figures = list[Row](), Figures()
    for name in ("share", "share_known", "combine", "combine_known"):
        ours, peer = times[name], times.get(f"flower_{name.removesuffix('_known')}")
        beside = (f"{peer.seconds * 1e3:.1f} ms", f"{peer.over(ours):,.0f}x faster") if peer else ("", "")
        what = f"Shamir ({HOLDERS}, {THRESHOLD}), {name.removesuffix('_known')}, points "
        what += ("known" if name.endswith("_known") else "new") + (" / Flower's" if peer else "")
        rows.append((what, f"{ours.seconds * 1e3:.3f} ms", *beside))
        figures[f"shamir_{name}_ms"] = ours.seconds * 1e3
        if peer:
            figures[f"flower_shamir_{name}_x"] = peer.over(ours)
    return rows, figures


# (c) Whole rounds


def rounds(sizes: Sizes) -> tuple[list[Row], Figures, list[dict[str, Any]]]:
    """Whole rounds of each setting: the median of three, of the large ones a single one."""
    rows, figures, each = list[Row](), Figures(), list[dict[str, Any]]()
    for prefix, setting in sizes.whole:
        found = median_round(setting, 3 if setting.participants * setting.dimension <= 10**8 else 1)
        what, float32 = f"round of {setting.words}", 4 * setting.dimension
        up = found.client_bytes_up
        rows += [
            (f"{what}: a client's cryptography", f"{found.client_s:.4f} s", "", ""),
            (f"{what}: its encoding", f"{found.encode_s:.4f} s", "", ""),
            (f"{what}: the server", f"{found.server_s:.3f} s", "", ""),
            (f"{what}: a client's bytes up / float32", f"{up:,}", f"{float32:,}", f"{up / float32:.3f}"),
        ]
        figures |= {f"{prefix}{key}": value for key, value in asdict(found).items() if key.endswith("_s")}
        each.append(asdict(setting) | asdict(found))
    return rows, figures, each


def large_memory(setting: Setting) -> tuple[Row, Figures]:
    """The server's memory, against four 32-bit copies of a vector."""
    taken, bound = server_memory(setting), 4 * 4 * setting.dimension
    what = f"round of {setting.words}: the server's memory / 4 d 4 bytes"
    row = (what, f"{taken / 2**20:.0f} MiB", f"{bound / 2**20:.0f} MiB", f"{taken / bound:.2f}")
    return row, {"server_memory_1e7": float(taken)}


def flower_rounds(figures: Figures) -> tuple[list[Row], Figures]:
    """Flower's whole round at the same sizes, its own functions and defaults, beside ours just measured."""
    theirs = flower_secagg.whole_round(ROUND.participants, ROUND.degree, ROUND.threshold, ROUND.dimension, 10)
    rows, found = list[Row](), Figures()
    for prefix, words in (("", "32 bits"), ("u16_", "16 bits"), ("signed_", "32 bits, signed")):
        for name, seconds in (("client", theirs.client["total"]), ("server", theirs.server["total"])):
            ours = figures[f"{prefix}{name}_s"] + (figures[f"{prefix}encode_s"] if name == "client" else 0)
            factor = seconds / ours
            what = f"whole round, {words}: the {name} / Flower's"
            rows.append((what, f"{ours:.3f} s", f"{seconds:.2f} s", f"{factor:.0f}x faster"))
            found[f"flower_{prefix}{name}_x"] = factor
    return rows, found


# (d) Encoding


def encoding(sizes: Sizes) -> tuple[list[Row], Figures]:
    """The fixed-point code at 16 bits, a coordinate; beside Flower's quantisation, which has no rotation."""
    d, vector = sizes.encode_dimension, unit_vector(sizes.encode_dimension)
    plain = FixedPoint(1.0, d, 100, 16)
    codes = {"": plain, "_rotated": replace(plain, rotation=bytes(32))}
    candidates = dict[str, Callable[[], object]]()
    for name, code in codes.items():
        encoded = code.encode(vector, 1.0, os.urandom)
        mean, _ = code.decode(encoded, 1)
        require(float(np.abs(mean - vector).max()) <= 8 * code.step, "an encoding does not decode to its vector")
        candidates[f"encode{name}"] = partial(code.encode, vector, 1.0, os.urandom)
        candidates[f"decode{name}"] = partial(code.decode, encoded, 1)
    if sizes.peers:
        candidates["flower"] = lambda: flower_secagg.quantize(vector)
    times = interleaved(candidates, sizes.rounds)
    rows, figures, peer = list[Row](), Figures(), times.get("flower")
    for name in candidates:
        if name == "flower":
            continue
        ours, beside, words = times[name], ("", ""), name.replace("_", ", ")
        if peer and name.startswith("encode"):
            beside = (f"{peer.seconds * 1e9 / d:.2f} ns", f"{peer.over(ours):.1f}x faster")
            words += " / Flower's quantize"
            figures[f"flower_{name}_x"] = peer.over(ours)
        rows.append((f"{words}, 16 bits, a coordinate", f"{ours.seconds * 1e9 / d:.2f} ns", *beside))
        figures[f"{name}_ns"] = ours.seconds * 1e9 / d
    return rows, figures


def measure(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """All of it: rows of the table and the JSON's figures."""
    rows, figures = masks(sizes)
    more = [secret_sharing(sizes), encoding(sizes)]
    if sizes.peers:
        more.append(flower_masks(LARGE.dimension, 4, 7))
    round_rows, round_figures, each = rounds(sizes)
    more.append((round_rows, round_figures))
    if sizes is not QUICK:
        row, taken = large_memory(LARGE)
        ours = {"client_s_1e7": round_figures["large_client_s"], "server_s_1e7": round_figures["large_server_s"]}
        more.append(([row], taken | ours))
    if sizes.peers:
        more.append(flower_rounds(round_figures))
    for found, keys in more:
        rows += found
        figures |= keys
    return rows, {**figures, "whole_rounds": each}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the table, and writes the JSON and the documents where asked to."""
    options = parser("secagg", "Secure aggregation: masks, Shamir shares, encoding, whole rounds; beside Flower's.")
    options.add_argument("--docs", type=Path, metavar="FOLDER", help="also measure and write how a round's cost grows")
    chosen = options.parse_args(arguments)
    sizes = QUICK if chosen.quick else replace(FULL, peers=flower_secagg.installed())
    about = f"{machine('cryptography', 'numpy')}, {backend.openssl_version_text()}"
    if sizes.peers:
        about += f", {machine('flwr').rsplit(', ', 1)[1]}"
    start = time.perf_counter()
    rows, figures = measure(sizes)
    title = "secure aggregation (quick: figures mean little)" if chosen.quick else "secure aggregation"
    print_table(title, about, rows)
    if not sizes.peers and not chosen.quick:
        print("Without Flower: make bench VENV=.venv-bench EXTRAS=bench sets up a place where it is measured beside")
    print(f"medians of {sizes.rounds} interleaved samples; {time.perf_counter() - start:.0f} s in all")
    if chosen.json:
        write_json(chosen.json, {"machine": about, "quick": chosen.quick, **figures})
    if chosen.docs:
        write_docs(chosen.docs, about, growth(chosen.quick))


if __name__ == "__main__":
    sys.exit(exit_code(main))
