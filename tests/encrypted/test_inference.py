"""A question that the server cannot read: right answers, what is sent, and what is refused, by whom."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatfed.encrypted import cipher, inference, wire
from chatfed.encrypted.errors import MalformedCiphertext, OtherKey, OtherParameters
from chatfed.encrypted.inference import Answerer, Asker, Question
from chatfed.encrypted.network import FREE, AskerHalf, ServerHalf
from chatfed.encrypted.wire import HEAD, Kind, Message
from chatfed.types import InvalidValue

Halves = tuple[AskerHalf, ServerHalf]
KNOWN = 300


@pytest.fixture(scope="module")
def asked(halves: Halves, asker: Asker) -> Question:
    return asker.ask(halves[0].features([9, 8, 7]))


@pytest.fixture(scope="module")
def answer(answerer: Answerer, asked: Question) -> bytes:
    return answerer.answer(asked.sent)


def read(content: bytes) -> Message:
    kind = Kind(content[5])
    return wire.read(content, kind, "anyone", content[6:22])


def test_the_words_are_those_of_the_network_in_clear(halves: Halves, asker: Asker, answerer: Answerer) -> None:
    for ids in ([], [17], [3, 400, 250, 31, 31, 60]):
        features = halves[0].features(ids)
        question = asker.ask(features)
        opened = asker.read(question, answerer.answer(question.sent))[:KNOWN]
        clear = halves[1].scores(features[None])[0, :KNOWN]
        assert np.abs(opened - clear).max() < 2e-4
        assert (np.argsort(-opened)[:5] == np.argsort(-clear)[:5]).all()


def test_one_text_asked_twice_is_two_ciphertexts(halves: Halves, asker: Asker) -> None:
    features = halves[0].features([9, 8])
    first, second = (read(asker.ask(features).sent).payload for _ in range(2))
    same = np.mean([a == b for a, b in zip(first[2000:4000], second[2000:4000], strict=True)])
    assert same < 0.05  # of bytes that are independent, a 256th


def test_a_question_has_one_size_whatever_it_asks(halves: Halves, asker: Asker) -> None:
    short, long = (len(asker.ask(halves[0].features(ids)).sent) for ids in ([], list(range(200))))
    assert abs(short - long) < 0.001 * short  # of the library's compression of what is random


def test_the_library_takes_the_parameters_at_128_bits_and_nothing_wider() -> None:
    library = cipher.seal()
    assert sum(cipher.MODULI) <= library.CoeffModulus.MaxBitCount(cipher.DEGREE, library.SEC_LEVEL_TYPE.TC128) == 218
    wider = library.EncryptionParameters(library.SCHEME_TYPE.CKKS)
    wider.set_poly_modulus_degree(cipher.DEGREE)
    wider.set_coeff_modulus(library.CoeffModulus.Create(cipher.DEGREE, [*cipher.MODULI[:-1], 60, 30]))
    assert not library.SEALContext(wider, True, library.SEC_LEVEL_TYPE.TC128).parameters_set()


def test_all_that_an_asker_sends_is_keys_that_open_nothing_and_fresh_ciphertexts(
    halves: Halves, asker: Asker, answerer: Answerer
) -> None:
    """No step of the asker's takes an answer and gives bytes: what was decrypted has no way out."""
    sent = [asker.keys]
    for ids in ([5], [6, 7]):
        question = asker.ask(halves[0].features(ids))
        opened = asker.read(question, answerer.answer(question.sent))
        assert isinstance(opened, np.ndarray)
        sent.append(question.sent)
    assert [read(each).kind for each in sent] == [Kind.KEYS, Kind.QUESTION, Kind.QUESTION]
    gives_bytes = {name for name in vars(Asker) if not name.startswith("_")}
    assert gives_bytes == {"ask", "read"} and "secret" not in repr(vars(asker)).lower()
    relinearising, rotating = wire.apart(read(asker.keys).payload, "anyone", "keys")
    for part in (relinearising, rotating):
        with pytest.raises(MalformedCiphertext):
            cipher.Passage().object_of(cipher.seal().SecretKey(), part, "anyone", "keys")


def test_neither_a_question_nor_a_message_shows_what_is_in_it(asked: Question) -> None:
    assert str(asked.check) not in repr(asked) and "payload" not in repr(read(asked.sent)) and len(repr(asked)) < 100


def test_an_answer_under_another_key_is_named(
    halves: Halves, asker: Asker, answerer: Answerer, asked: Question, answer: bytes
) -> None:
    other = Asker(halves[0].digest)
    with pytest.raises(OtherKey) as caught:
        other.read(asked, answer)
    assert caught.value.party == wire.SERVER
    relabelled = replace(read(answer), key=other.key).to_bytes()
    with pytest.raises(OtherKey, match="no answer to this question"):
        other.read(asked, relabelled)
    with pytest.raises(OtherKey) as caught:
        answerer.answer(other.ask(halves[0].features([5])).sent)
    assert caught.value.party == wire.ASKER


def test_an_answer_to_another_question_is_named(halves: Halves, asker: Asker, answer: bytes) -> None:
    with pytest.raises(OtherKey, match="no answer to this question"):
        asker.read(asker.ask(halves[0].features([9, 8, 7])), answer)


def test_another_network_s_question_is_named(answerer: Answerer) -> None:
    with pytest.raises(OtherParameters) as caught:
        answerer.answer(Asker(b"another network!").ask(np.zeros(FREE, np.float32)).sent)
    assert caught.value.party == wire.ASKER and caught.value.code == "other_parameters"


def test_a_ciphertext_of_another_scale_or_level_is_named(
    asker: Asker, answerer: Answerer, asked: Question, answer: bytes
) -> None:
    turned = Message(Kind.QUESTION, read(asked.sent).network, asker.key, read(answer).payload).to_bytes()
    with pytest.raises(OtherParameters, match="scale, level or size"):
        answerer.answer(turned)
    back = Message(Kind.ANSWER, read(asked.sent).network, asker.key, read(answer).payload[:-1]).to_bytes()
    with pytest.raises(MalformedCiphertext, match="says") as caught:
        asker.read(asked, back)
    assert caught.value.party == wire.SERVER


def test_keys_for_other_rotations_are_refused(asker: Asker, answerer: Answerer) -> None:
    library = cipher.seal()
    made = library.KeyGenerator(cipher.context())
    passage = cipher.Passage()
    few = passage.bytes_of(made.create_galois_keys(cipher.elements()[:2]))
    payload = wire.joined((wire.apart(read(asker.keys).payload, "anyone", "keys")[0], few))
    with pytest.raises(MalformedCiphertext, match="rotations"):
        answerer.meet(Message(Kind.KEYS, read(asker.keys).network, wire.key_of(payload), payload).to_bytes())
    swapped = replace(read(asker.keys), key=bytes(16)).to_bytes()
    with pytest.raises(OtherKey):
        answerer.meet(swapped)


def test_a_server_keeps_the_keys_of_a_few_and_asks_for_those_it_forgot(
    halves: Halves, asker: Asker, answerer: Answerer, asked: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "KEPT", 1)
    other = Asker(halves[0].digest)
    answerer.meet(other.keys)
    with pytest.raises(OtherKey, match="send them first"):
        answerer.answer(asked.sent)
    answerer.meet(asker.keys)
    asker.read(asked, answerer.answer(asked.sent))


def test_what_is_no_question_is_refused_before_it_is_encrypted(asker: Asker) -> None:
    for features in (np.zeros(3, np.float32), np.full(FREE, 2, np.float32), np.full(FREE, np.nan, np.float32)):
        with pytest.raises(InvalidValue):
            asker.ask(features)


@pytest.mark.parametrize("kind", ["keys", "question", "answer"])
def test_what_is_cut_off_or_too_long_is_refused(
    asker: Asker, answerer: Answerer, asked: Question, answer: bytes, kind: str
) -> None:
    whole, takes = {
        "keys": (asker.keys, answerer.meet),
        "question": (asked.sent, answerer.answer),
        "answer": (answer, lambda content: asker.read(asked, content)),
    }[kind]
    for bad in (b"", whole[: HEAD.size - 1], whole[: HEAD.size], whole[:-1], whole + b"0", whole * 2):
        with pytest.raises(MalformedCiphertext):
            takes(bad)


CHANGES = st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 255)), min_size=1, max_size=4)


def changed(content: bytes, changes: list[tuple[int, int]], most: int) -> bytes:
    """With some of the first `most` bytes changed."""
    found = bytearray(content)
    for at, by in changes:
        found[at % most] ^= by
    return bytes(found)


def refused_or_answered(takes: Callable[[bytes], object], content: bytes) -> None:
    """Whatever comes: an answer, or an error of ours; anything else fails the test."""
    with contextlib.suppress(MalformedCiphertext):
        takes(content)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_any_change_on_the_way_is_found(answerer: Answerer, asked: Question, changes: list[tuple[int, int]]) -> None:
    bad = changed(asked.sent, changes, len(asked.sent))
    if bad != asked.sent:
        with pytest.raises(MalformedCiphertext):
            answerer.answer(bad)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_what_was_made_wrong_on_purpose_is_read_or_refused_by_every_decoder(
    asker: Asker, answerer: Answerer, asked: Question, answer: bytes, changes: list[tuple[int, int]]
) -> None:
    """The digest is right here, so the library itself reads what was changed."""
    decoders: dict[bytes, Callable[[bytes], object]] = {
        asker.keys: answerer.meet,
        asked.sent: answerer.answer,
        answer: lambda content: asker.read(asked, content),
    }
    for whole, takes in decoders.items():
        message = read(whole)
        for most in (wire._LIBRARY.size, len(message.payload)):
            payload = changed(message.payload, changes, most)
            key = wire.key_of(payload) if message.kind is Kind.KEYS else message.key
            refused_or_answered(takes, replace(message, payload=payload, key=key).to_bytes())
    answerer.meet(asker.keys)  # which others may have taken the place of


def test_the_library_s_own_length_is_checked_before_it_reads(asker: Asker, asked: Question, answer: bytes) -> None:
    message = read(answer)
    for length in (0, 16, len(message.payload) + 1, 2**40):
        payload = message.payload[:8] + struct.pack("<Q", length) + message.payload[16:]
        with pytest.raises(MalformedCiphertext, match="says"):
            asker.read(asked, replace(message, payload=payload).to_bytes())
