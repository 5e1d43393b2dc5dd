"""Agreements of private vocabularies for tests, and shares of vectors as a client that cheats would make them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from chatfed.secagg.primitives import identity_public
from training.private_vocabulary.agreement import Agreement, Computing
from training.private_vocabulary.field import Field, shares, uniform
from training.private_vocabulary.links import make_party

PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
NAMES = ("union", "firm", "works")


def key_of(number: int) -> bytes:
    return hashlib.sha256(b"client %d" % number).digest()


def agreement(
    words: int = 6,
    clients: int = 7,
    threshold: int = 3,
    most_words: int = 4,
    parties: tuple[Computing, ...] = (),
    colluders: int = 1,
    **more: object,
) -> Agreement:
    named = parties or tuple(Computing(name, "127.0.0.1", 7101, 7201, PEM.format(name)) for name in NAMES)
    settings = {"colluders": colluders, "least_clients": threshold + colluders + 1, "name": "test"} | more
    candidates = tuple(f"w{number}" for number in range(words))
    roster = tuple((f"client-{each}", identity_public(key_of(each)).hex()) for each in range(clients))
    return Agreement(
        candidates=candidates, clients=roster, parties=named, threshold=threshold, most_words=most_words,
        **settings,  # type: ignore[arg-type]
    )  # fmt: skip


def certified(folder: Path, ports: list[int]) -> tuple[Computing, ...]:
    """Three parties with certificates in folders of their names."""
    pairs = zip(ports[::2], ports[1::2], strict=True)
    return tuple(
        make_party(name, "127.0.0.1", folder / name, f"{one},{other}")
        for name, (one, other) in zip(NAMES, pairs, strict=True)
    )


def dealt(vectors: np.ndarray[tuple[int, ...], np.dtype[np.uint64]], seed: bytes = b"slopes") -> list[Field]:
    """What each party holds of vectors, uint64[clients, width]."""
    slopes = uniform(seed, vectors.size).reshape(vectors.shape)
    return shares(vectors, slopes)
