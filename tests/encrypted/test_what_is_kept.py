"""What the two sides of an encrypted question keep, and how large it is: as docs/encrypted.md says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatfed.encrypted import cipher, inference
from chatfed.encrypted.inference import Answerer, Asker
from chatfed.encrypted.network import AskerHalf, ServerHalf
from serving.encrypted_answers import CALLERS
from tests.house import ROOT

OPENS_NOTHING = {"SerializableRelinKeys", "SerializableGaloisKeys", "Ciphertext", "SerializableCiphertext"}


def test_the_secret_key_goes_neither_to_the_disk_nor_through_the_passage(
    halves: tuple[AskerHalf, ServerHalf], answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is written in a whole exchange, by the type of the library's that it has."""
    given, bytes_of = list[str](), cipher.Passage.bytes_of
    folders = set[Path]()

    def watched(self: cipher.Passage, made: Any) -> bytes:
        given.append(type(made).__name__)
        folders.add(Path(self._folder.name))
        return bytes_of(self, made)

    def forbidden(*_: object) -> None:
        raise AssertionError("the secret key is written")

    monkeypatch.setattr(cipher.Passage, "bytes_of", watched)
    monkeypatch.setattr(cipher.seal().SecretKey, "save", forbidden)
    asker = Asker(halves[0].digest)
    answerer.meet(asker.keys)
    question = asker.ask(halves[0].features([9, 8]))
    asker.read(question, answerer.answer(question.sent))
    assert given[:2] == ["SerializableRelinKeys", "SerializableGaloisKeys"] and len(given) == 4
    assert set(given) <= OPENS_NOTHING
    assert len(folders) == 2 and all(folder.stat().st_mode & 0o077 == 0 for folder in folders)
    assert [path for folder in folders for path in folder.iterdir()] == []  # what was written is gone, too


def test_an_asker_s_keys_take_about_nine_megabytes_of_a_server(asker: Asker, answerer: Answerer) -> None:
    """Counted in the objects that it holds: two polynomials for each prime of the level, modulo all primes."""
    answerer.meet(asker.keys)
    held = answerer._keys[asker.key]
    sizes = [
        8 * part.size() * part.coeff_modulus_size() * part.poly_modulus_degree()
        for keys in (held.relinearising, held.rotating)
        for key in keys.data()
        for part in (each.data() for each in key)
    ]
    assert 8.5e6 < sum(sizes) < 9.5e6


def test_as_many_askers_and_callers_as_the_page_says() -> None:
    page = (ROOT / "docs" / "encrypted.md").read_text(encoding="utf-8")
    assert f"the keys of the last {inference.KEPT} askers" in page
    assert CALLERS == 8 and "eight callers at most are served at once" in page
