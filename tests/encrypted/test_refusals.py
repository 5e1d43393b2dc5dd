"""What cannot be read, and who is named: noise, parameters, other contexts; and every decoder under a fuzzer."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from chatfed.encrypted import cipher, inference, wire
from chatfed.encrypted.errors import MalformedCiphertext, NoiseExhausted, OtherKey
from chatfed.encrypted.inference import Answerer, Asker
from chatfed.encrypted.network import FREE, AskerHalf, BadHalf, ServerHalf
from chatfed.encrypted.wire import Kind, Message
from tests.secagg.fuzz import spoiled

Halves = tuple[AskerHalf, ServerHalf]


def answered_by(half: ServerHalf, asker: Asker) -> Any:
    """What the asker reads of a server with that half."""
    server = Answerer(half)
    server.meet(asker.keys)
    question = asker.ask(np.full(FREE, 0.5, np.float32))
    return asker.read(question, server.answer(question.sent))


def test_an_answer_whose_noise_is_too_large_is_refused_in_the_server_s_name(
    halves: Halves, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that scales its first layer so low that the noise of its steps outweighs it: all else is right."""
    monkeypatch.setattr(inference, "FIRST_SCALE", 2.0**8)
    with pytest.raises(NoiseExhausted, match="noise is") as caught:
        answered_by(halves[1], asker)
    assert caught.value.party == wire.SERVER and caught.value.code == "noise_exhausted"


def test_an_answer_whose_numbers_outgrow_the_modulus_is_refused_in_the_server_s_name(
    halves: Halves, asker: Asker
) -> None:
    large = replace(halves[1], second=halves[1].second * np.float32(1e7))
    with pytest.raises(OtherKey, match="outgrown") as caught:
        answered_by(large, asker)
    assert caught.value.party == wire.SERVER


def other_ring() -> bytes:
    """A ciphertext of the same library in a ring of degree 4096."""
    library = cipher.seal()
    chosen = library.EncryptionParameters(library.SCHEME_TYPE.CKKS)
    chosen.set_poly_modulus_degree(4096)
    chosen.set_coeff_modulus(library.CoeffModulus.Create(4096, [36, 36, 37]))
    made = library.SEALContext(chosen, True, library.SEC_LEVEL_TYPE.TC128)
    plain = library.Plaintext()
    library.CKKSEncoder(made).encode([0.5] * 2048, 2.0**20, plain)
    sealed = library.Encryptor(made, library.KeyGenerator(made).secret_key()).encrypt_symmetric(plain)
    return cipher.Passage().bytes_of(sealed)


def test_ciphertexts_of_other_parameters_are_refused_in_their_sender_s_name(
    halves: Halves, asker: Asker, answerer: Answerer
) -> None:
    foreign, asked = other_ring(), asker.ask(np.zeros(FREE, np.float32))
    network = halves[0].digest
    with pytest.raises(MalformedCiphertext, match="other parameters") as caught:
        answerer.answer(Message(Kind.QUESTION, network, asker.key, foreign).to_bytes())
    assert caught.value.party == wire.ASKER
    with pytest.raises(MalformedCiphertext, match="other parameters") as caught:
        asker.read(asked, Message(Kind.ANSWER, network, asker.key, foreign).to_bytes())
    assert caught.value.party == wire.SERVER


# Halves, which come as files


def test_halves_come_back_from_bytes(halves: Halves) -> None:
    asker, server = AskerHalf.from_bytes(halves[0].to_bytes()), ServerHalf.from_bytes(halves[1].to_bytes())
    assert asker.digest == server.network == halves[0].digest
    assert (server.first == halves[1].first).all() and (server.second == halves[1].second).all()


def packed(**arrays: Any) -> bytes:
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        {"far": np.zeros(301, np.float32)},
        {"far": np.zeros((301, 100), np.float64)},
        {"far": np.full((301, 100), 2, np.float32)},
        {"far": np.full((301, 100), np.nan, np.float32)},
        {"far": np.asfortranarray(np.zeros((301, 100), np.float32))},
        {"near0": np.zeros((301, 200, 1), np.float32)},
        {"tokens": np.zeros(300, np.int32)},
        {"tokens": np.arange(-1, 299, dtype=np.int32)},
        {"tokens": np.arange(300)},
        {"tokens": np.array(3, np.int32)},
        {"more": np.zeros(1, np.float32)},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_a_half_of_other_arrays_is_refused(halves: Halves, change: dict[str, Any]) -> None:
    half = halves[0]
    arrays = {"tokens": half.tokens, "far": half.far} | {f"near{k}": each for k, each in enumerate(half.near)}
    with pytest.raises(BadHalf):
        AskerHalf.from_bytes(packed(**(arrays | change)))


def test_a_half_that_is_compressed_or_pickled_is_not_unpacked(halves: Halves) -> None:
    held = io.BytesIO()
    np.savez_compressed(held, network=np.zeros(16, np.uint8), first=halves[1].first, second=halves[1].second)
    with pytest.raises(BadHalf, match="otherwise"):
        ServerHalf.from_bytes(held.getvalue())
    with pytest.raises(BadHalf, match="another type"):
        ServerHalf.from_bytes(packed(network=np.array([{}], object)))


def test_a_spoiled_half_is_read_or_refused(halves: Halves) -> None:
    """Small arrays, so that the fuzzer reaches heads and directory; sizes are looked at once an array is there."""
    small = packed(tokens=np.arange(3, dtype=np.int32), far=np.zeros((4, 2), np.float32), first=halves[1].first[:1])
    rng, decoders = random.Random(5), (AskerHalf.from_bytes, ServerHalf.from_bytes)
    taken = 0
    for _ in range(1500):
        with contextlib.suppress(BadHalf):
            rng.choice(decoders)(spoiled(small, [small, b"PK\x03\x04"], rng))
            taken += 1
    assert taken == 0  # of a half with such arrays none is whole


def test_every_way_of_spoiling_a_message_is_refused_or_read_by_its_decoder(asker: Asker, answerer: Answerer) -> None:
    """Head and all, as a damaged line does it: lengths, other messages' heads, cuts and runs among it."""
    asked = asker.ask(np.zeros(FREE, np.float32))
    real = {Kind.KEYS: asker.keys, Kind.QUESTION: asked.sent, Kind.ANSWER: answerer.answer(asked.sent)}
    takes: dict[Kind, Callable[[bytes], object]] = {
        Kind.KEYS: answerer.meet,
        Kind.QUESTION: answerer.answer,
        Kind.ANSWER: lambda content: asker.read(asked, content),
    }
    rng = random.Random(6)
    for kind, whole in real.items():
        for _ in range(40):
            bad = spoiled(whole, list(real.values()), rng)
            if bad != whole:
                with pytest.raises(MalformedCiphertext):
                    takes[kind](bad)
