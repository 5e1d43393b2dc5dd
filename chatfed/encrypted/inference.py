"""A question that the server cannot read: the asker's steps and the server's, from bytes to bytes.

The asker encrypts what its last tokens stand for; the server answers on the ciphertext and never decrypts; the asker
decrypts. Nothing that was decrypted is ever sent: a ciphertext of CKKS may be shown to anyone, what it decrypts to may
not (Li and Micciancio 2021). Knows no socket, no tokenizer and no model but the two halves.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatfed.types import FloatVector, InvalidValue

from . import layout
from .cipher import FIRST_SCALE, INPUT_SCALE, OUTPUT_SCALE, Passage, context, elements, seal
from .errors import MalformedCiphertext, NoiseExhausted, OtherKey
from .network import CHECK_ROW, FREE, ServerHalf
from .wire import ASKER, NAMES, SERVER, Kind, Message, apart, joined, key_of, read

Plaintexts = list[list[Any]]  # by large and small step

KEPT = 8  # askers whose keys a server keeps, about 9 MB each
TOLERANCE = 1e-3  # of the check, and of noise, of which an answer of ours has 2e-4
GARBLED = 1.0  # noise from which on nothing is read: under another key it is larger by powers of ten


@dataclass(frozen=True, eq=False)
class Question:
    """A question on its way, and what only its asker knows of it."""

    sent: bytes = field(repr=False)
    check: float = field(repr=False)  # an output of the answer must be its square


class Asker:
    """Who asks. The secret key stays in this object: there is no way to write it down.

    network: the digest of the asker's half. Raises TensealMissing.
    """

    def __init__(self, network: bytes) -> None:
        library = seal()
        made = library.KeyGenerator(context())
        self._network, self._passage, self._encoder = network, Passage(), library.CKKSEncoder(context())
        self._encryptor = library.Encryptor(context(), made.secret_key())
        self._decryptor = library.Decryptor(context(), made.secret_key())
        relinearising = self._passage.bytes_of(made.create_relin_keys())
        rotating = self._passage.bytes_of(made.create_galois_keys(elements()))
        payload = joined((relinearising, rotating))
        self.key = key_of(payload)
        self.keys = Message(Kind.KEYS, network, self.key, payload).to_bytes()

    def ask(self, features: FloatVector) -> Question:
        """A question from features float32[FREE] in [-1, 1], encrypted anew each time."""
        if features.shape != (FREE,) or not bool((np.abs(features) <= 1).all()):
            raise InvalidValue(f"A question is {FREE} numbers in [-1, 1].", param="features")
        check = 1 + secrets.randbits(32) / 2**32
        plain = seal().Plaintext()
        self._encoder.encode(layout.packed(features, check).tolist(), INPUT_SCALE, plain)
        payload = self._passage.bytes_of(self._encryptor.encrypt_symmetric(plain))
        return Question(Message(Kind.QUESTION, self._network, self.key, payload).to_bytes(), check)

    def read(self, question: Question, answer: bytes) -> NDArray[np.float64]:
        """The outputs float64[OUTPUTS] of the answer. They are for the asker alone.

        Raises MalformedCiphertext naming the server; OtherKey where the answer is not to this question, NoiseExhausted.
        """
        what = NAMES[Kind.ANSWER]
        message = read(answer, Kind.ANSWER, SERVER, self._network, self.key)
        sealed = self._passage.ciphertext(message.payload, OUTPUT_SCALE, False, SERVER, what)
        plain = seal().Plaintext()
        self._decryptor.decrypt(sealed, plain)
        slots = np.array(self._encoder.decode_complex(plain))
        outputs = layout.unpacked(slots.real)
        _check_noise(slots.imag, abs(outputs[CHECK_ROW] - question.check**2))
        return outputs


def _check_noise(imaginary: NDArray[np.float64], off: float) -> None:
    """That an opened answer is the one that was asked for. imaginary: of its slots, where nothing but noise stands.

    off: how far the check is from what it must be. Raises OtherKey, NoiseExhausted, naming the server.
    """
    what, noise = NAMES[Kind.ANSWER], float(np.abs(imaginary).max())
    if not noise < GARBLED:  # also where it is no number
        why = "it is no answer to this question under this key, or its numbers have outgrown the modulus"
        raise OtherKey(SERVER, what, why)
    if noise >= TOLERANCE:
        raise NoiseExhausted(SERVER, what, f"its noise is {noise:.1g}, and {TOLERANCE:.0e} is the most that it may be")
    if not off < TOLERANCE:
        raise OtherKey(SERVER, what, "it is no answer to this question under this key, or one of too coarse numbers")


@dataclass(frozen=True, eq=False)
class _Keys:
    relinearising: Any
    rotating: Any


class Answerer:
    """Who answers: holds the weights as plaintexts, and the last KEPT askers' keys. One call at a time.

    Its memory does not grow with questions. Raises TensealMissing.
    """

    def __init__(self, half: ServerHalf) -> None:
        library = seal()
        self._network, self._passage, self._evaluator = half.network, Passage(), library.Evaluator(context())
        self._keys: OrderedDict[bytes, _Keys] = OrderedDict()
        first = context().first_context_data()
        second = first.next_context_data()
        moduli = [modulus.value() for modulus in first.parms().coeff_modulus()]
        self._squared = (INPUT_SCALE * FIRST_SCALE) ** 2 / moduli[2]  # the scale of the hidden layer
        scale = OUTPUT_SCALE * moduli[1] / self._squared
        encode = library.CKKSEncoder(context()).encode
        self._first = _encoded(encode, layout.first_layer(half.first), first.parms_id(), FIRST_SCALE)
        self._second = _encoded(encode, layout.second_layer(half.second), second.parms_id(), scale)

    def meet(self, keys: bytes) -> bytes:
        """Takes an asker's keys, and gives back what names them. Raises MalformedCiphertext naming the asker."""
        what = NAMES[Kind.KEYS]
        message = read(keys, Kind.KEYS, ASKER, self._network)
        if key_of(message.payload) != message.key:
            raise OtherKey(ASKER, what, "they are not the keys that their head names")
        parts = apart(message.payload, ASKER, what)
        relinearising = self._passage.object_of(seal().RelinKeys(), parts[0], ASKER, what)
        rotating = self._passage.object_of(seal().GaloisKeys(), parts[1], ASKER, what)
        if rotating.size() != len(elements()) or not all(map(rotating.has_key, elements())):
            raise MalformedCiphertext(ASKER, what, "they are not for the rotations that an answer takes")
        if not relinearising.has_key(2):
            raise MalformedCiphertext(ASKER, what, "there is none for a square")
        self._keys[message.key] = _Keys(relinearising, rotating)
        self._keys.move_to_end(message.key)
        if len(self._keys) > KEPT:
            self._keys.popitem(last=False)
        return message.key

    def answer(self, question: bytes) -> bytes:
        """The answer to a question, under the key that it is under.

        Raises MalformedCiphertext naming the asker; OtherKey where its keys are not here, or no longer.
        """
        what = NAMES[Kind.QUESTION]
        message = read(question, Kind.QUESTION, ASKER, self._network)
        keys = self._keys.get(message.key)
        if keys is None:
            raise OtherKey(ASKER, what, "the keys that it is under are not here; send them first")
        self._keys.move_to_end(message.key)
        given = self._passage.ciphertext(message.payload, INPUT_SCALE, True, ASKER, what)
        payload = self._passage.bytes_of(self._outputs(self._hidden(given, keys), keys))
        return Message(Kind.ANSWER, self._network, message.key, payload).to_bytes()

    def _hidden(self, given: Any, keys: _Keys) -> Any:
        """The squares of the first layer, HIDDEN slots eight times over."""
        total = self._large_steps([self._weighed(row) for row in self._turns(given, keys, self._first)], keys)
        turned = seal().Ciphertext()
        for fold in layout.FOLDS:
            self._evaluator.rotate_vector(total, fold, keys.rotating, turned)
            self._evaluator.add_inplace(total, turned)
        self._evaluator.square_inplace(total)
        self._evaluator.relinearize_inplace(total, keys.relinearising)
        self._evaluator.rescale_to_next_inplace(total)
        total.scale = self._squared
        return total

    def _outputs(self, hidden: Any, keys: _Keys) -> Any:
        """The second layer's outputs in slots, on the last level."""
        rows = []
        for row in self._turns(hidden, keys, self._second):
            weighed = self._weighed(row)
            self._evaluator.rescale_to_next_inplace(weighed)
            weighed.scale = OUTPUT_SCALE
            rows.append(weighed)
        return self._large_steps(rows, keys)

    def _turns(self, given: Any, keys: _Keys, weights: Plaintexts) -> Iterator[list[tuple[Any, Any]]]:
        """For each large step: the vector turned by each small one, beside its weights."""
        turned = [given]
        for _ in range(1, layout.SMALL):
            following = seal().Ciphertext()
            self._evaluator.rotate_vector(turned[-1], 1, keys.rotating, following)
            turned.append(following)
        return (list(zip(turned, row, strict=True)) for row in weights)

    def _weighed(self, row: list[tuple[Any, Any]]) -> Any:
        """The sum of the products of a large step."""
        total, product = seal().Ciphertext(), seal().Ciphertext()
        self._evaluator.multiply_plain(*row[0], total)
        for turned, weights in row[1:]:
            self._evaluator.multiply_plain(turned, weights, product)
            self._evaluator.add_inplace(total, product)
        return total

    def _large_steps(self, rows: list[Any], keys: _Keys) -> Any:
        """The sum of rows, each turned by its large step: from the last one, so that one key does (Horner's rule)."""
        total, turned = rows[-1], seal().Ciphertext()
        for row in reversed(rows[:-1]):
            self._evaluator.rotate_vector(total, layout.SMALL, keys.rotating, turned)
            self._evaluator.add(turned, row, total)
        return total


def _encoded(encode: Any, weights: NDArray[np.float64], level: Any, scale: float) -> Plaintexts:
    """Weights float64[large, small, SLOTS] as plaintexts of a level."""
    found = []
    for row in weights:
        plains = [seal().Plaintext() for _ in row]
        for plain, slots in zip(plains, row, strict=True):
            encode(slots.tolist(), level, scale, plain)
        found.append(plains)
    return found
