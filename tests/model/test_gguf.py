"""A GGUF file becomes the model that it holds, or is refused in one sentence: held against slow readings of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chatfed.model.examination import check_base
from chatfed.model.from_gguf import convert_gguf
from chatfed.model.gguf import MAGIC, read_gguf
from chatfed.model.refusals import ModelError
from chatfed.model.transformer import load_model, load_tokenizer
from tests.model import llama_twin
from tests.model.bpe_twin import Twin, drawn_texts
from tests.model.gguf_files import CONTROL, tokens_and_merges, write_gguf

IDS = [1, 40, 99, 7, 200, 5, 3]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def folder(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "tiny"
    convert_gguf(file, folder, "package tiny 1.0")
    return folder


def assert_computes(file: Path, folder: Path) -> None:
    model, _ = load_model(folder)
    with torch.inference_mode():
        found = model(input_ids=torch.tensor([IDS])).logits[0].numpy()
    wanted = llama_twin.logits(read_gguf(file), IDS)
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_it_computes_what_the_file_s_blocks_say(file: Path, folder: Path) -> None:
    assert_computes(file, folder)


def test_an_output_layer_of_its_own_is_kept(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "untied.gguf", tied=False)
    convert_gguf(file, tmp_path / "untied")
    assert_computes(file, tmp_path / "untied")
    assert not load_model(tmp_path / "untied")[0].config.tie_word_embeddings


@pytest.mark.parametrize("pre", ["smollm", "gpt-2"])
def test_tokens_are_those_of_the_slow_reading(pre: str, tmp_path: Path) -> None:
    convert_gguf(write_gguf(tmp_path / "tiny.gguf", tokenizer__ggml__pre=pre), tmp_path / "tiny")
    tokenizer, twin = load_tokenizer(tmp_path / "tiny"), Twin(*tokens_and_merges(), CONTROL, digits=pre == "smollm")
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    odd = [text for text in [*drawn_texts(400), *lines] if tokenizer(text)["input_ids"] != twin.encode(text)]
    assert odd == []


def test_digits_stand_alone_where_the_file_says_so_and_not_where_it_does_not(tmp_path: Path) -> None:
    counts = {}
    for pre in ("smollm", "gpt-2"):
        convert_gguf(write_gguf(tmp_path / f"{pre}.gguf", tokenizer__ggml__pre=pre), tmp_path / pre)
        counts[pre] = len(load_tokenizer(tmp_path / pre)("1234")["input_ids"])
    assert counts["smollm"] == 4 > counts["gpt-2"]


def test_a_base_from_gguf_passes_every_check_of_bases(folder: Path) -> None:
    checks = check_base(folder)
    assert [check for check in checks if check.fault] == [] and len(checks) == 8


def test_the_end_and_the_beginning_are_the_file_s(folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.bos_token, tokenizer.eos_token) == CONTROL[1:] and tokenizer("the")["input_ids"][0] != 1
    convert_gguf(write_gguf(tmp_path / "b.gguf", tokenizer__ggml__add_bos_token=True), tmp_path / "b")
    assert load_tokenizer(tmp_path / "b")("the")["input_ids"][0] == 1


def test_the_card_says_where_it_came_from_its_license_and_how_it_was_stored(file: Path, folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    said = ("license: apache-2.0", "package tiny 1.0", file.name, "SHA-256", "Q4_1", "Q8_0")
    assert [each for each in said if each not in card] == []


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another architecture": ({"arch": "gpt2"}, "'gpt2'"),
    "an unknown pre-tokenizer": ({"tokenizer__ggml__pre": "other"}, "'other'"),
    "no pre-tokenizer": ({"tokenizer__ggml__pre": None}, "pre-tokenizer None"),
    "another kind of tokenizer": ({"tokenizer__ggml__model": "llama"}, "'llama'"),
    "no tokenizer": ({"tokenizer__ggml__model": None, "tokenizer__ggml__tokens": None}, "no tokenizer"),
    "merges of other tokens": ({"tokenizer__ggml__merges": ["no where"]}, "do not fit"),
    "an end that is no token": ({"tokenizer__ggml__eos_token_id": 9999}, "9999"),
    "no width": ({"llama__embedding_length": None}, "llama.embedding_length"),
    "stretched positions": ({"llama__rope__scaling__type": "yarn"}, "yarn"),
    "a window of attention": ({"llama__attention__sliding_window": 64}, "sliding_window"),
    "heads of each layer": ({"llama__attention__head_count_kv": [2, 2]}, "head_count_kv"),
    "experts": ({"llama__expert_count": 4}, "experts"),
    "a missing tensor": ({"leave": "blk.1.ffn_up.weight"}, "blk.1.ffn_up.weight"),
    "a tensor that a Llama has not": ({"more": "rope_freqs.weight"}, "rope_freqs.weight"),
    "a tensor of another size": ({"short": "blk.0.attn_k.weight"}, "blk.0.attn_k.weight"),
    "other heads": ({"llama__attention__head_count_kv": 4}, "attn_k.weight"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_would_be_another_model_is_refused_by_name(wrong: str, tmp_path: Path) -> None:
    changed, said = REFUSED[wrong]
    file = write_gguf(tmp_path / "wrong.gguf", **changed)
    with pytest.raises(ModelError) as told:
        convert_gguf(file, tmp_path / "made")
    assert said in str(told.value) and "wrong.gguf" in str(told.value) and told.value.param == str(file)
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.gguf"]  # nothing half made


@pytest.mark.parametrize("content", [b"", b"GG", b"no model at all", b"PK\x03\x04" + bytes(99)])
def test_another_file_is_refused_as_no_gguf(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.gguf is no GGUF file"):
        read_gguf(tmp_path / "x.gguf")


def test_a_file_that_is_cut_anywhere_is_refused(file: Path, tmp_path: Path) -> None:
    whole, cut = file.read_bytes(), tmp_path / "cut.gguf"
    for length in [*range(len(MAGIC), 400, 7), *range(400, len(whole), len(whole) // 60), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="no whole GGUF file"):
            read_gguf(cut)


def test_another_version_is_refused_by_its_number(file: Path, tmp_path: Path) -> None:
    (tmp_path / "one.gguf").write_bytes(MAGIC + (1).to_bytes(4, "little") + file.read_bytes()[8:])
    with pytest.raises(ModelError, match="version 1"):
        read_gguf(tmp_path / "one.gguf")


def test_without_the_package_the_error_names_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelError, match="pip install gguf"):
        read_gguf(file)
