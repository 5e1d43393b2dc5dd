"""A base is right or refused in one sentence: architectures made tiny, folders that lack something, odd tokenizers."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from chatfed import Chat, Generation, Turn, load_chat
from chatfed.cli import app
from chatfed.model.checkpoint import save_model
from chatfed.model.examination import check_base, examine, refuse_unfit, without_adapters
from chatfed.model.tokenizer import encode_prompt, train_tokenizer
from chatfed.model.transformer import load_model
from chatfed.types import ChatfedError
from tests.model.architectures import BOTH_WAYS, CAUSAL, KINDS, MORE_THAN_TEXT, SHORT, WITH_ENCODER, tiny
from tests.model.base_table import DOCS, END, START, row, saved
from tests.model.tokenizers_of_others import TEMPLATES, TEXTS, trained

TALK = [Turn("user", "hello there, is it on?")]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    torch.set_num_threads(1)
    return train_tokenizer(TEXTS, 290)


@pytest.fixture(scope="module")
def folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("base") / "model"
    save_model(place, tiny("llama", tie_word_embeddings=False), tokenizer, "")
    return place


def drawn_whole(model: Any, ids: list[int], count: int) -> list[int]:
    """Greedy tokens, the whole text read anew for each."""
    for _ in range(count):
        with torch.inference_mode():
            ids = [*ids, int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
    return ids[-count:]


def tokens_after(chat: Chat, ids: list[int], count: int) -> list[int]:
    events = chat.events_after(ids, Generation(max_new_tokens=count))
    return [event.score.token for event in events if event.score]


def is_right(kind: str, tokenizer: Any) -> None:
    model = tiny(kind)
    faults = [check.fault for check in examine(model, tokenizer) if check.fault]
    assert faults == []
    chat = Chat(model, tokenizer)
    prompt = encode_prompt(tokenizer, TALK)
    chat._ends = set()
    assert tokens_after(chat, prompt, 12) == drawn_whole(model, prompt, 12)
    assert [s.word for s in chat.word_log_probs("we have 5 left")] == ["we", "have", "5", "left"]
    chat.suggest("hello ")


@pytest.mark.parametrize("kind", SHORT)
def test_an_architecture_passes_and_answers_as_when_it_reads_the_whole_text_for_each_token(
    kind: str, tokenizer: Any
) -> None:
    is_right(kind, tokenizer)


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in CAUSAL if kind not in SHORT])
def test_every_other_architecture_is_right_too(kind: str, tokenizer: Any) -> None:
    is_right(kind, tokenizer)


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm", "xlnet", "electra"])
def test_a_model_that_reads_in_both_directions_is_refused(kind: str, tokenizer: Any, tmp_path: Path) -> None:
    save_model(tmp_path / "model", tiny(kind), tokenizer, "")
    for refuse in (lambda: load_chat(tmp_path / "model"), lambda: refuse_unfit(tmp_path / "model", False)):
        with pytest.raises(ChatfedError, match=rf"base \({kind}\) reads in both directions.*causal") as caught:
            refuse()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_an_encoder_that_is_set_to_read_forwards_alone_is_taken(kind: str, tokenizer: Any) -> None:
    assert not any(check.fault for check in examine(tiny(kind, is_decoder=True), tokenizer))


def test_a_model_that_reads_one_text_in_two_ways_is_refused(tokenizer: Any) -> None:
    odd = tiny("reformer", local_attn_chunk_length=8, lsh_attn_chunk_length=8)
    assert "each time it reads one text" in "".join(check.fault for check in examine(odd, tokenizer))


@pytest.mark.parametrize("kind", ["bart", "mbart", "t5"])
def test_a_model_with_an_encoder_is_refused_before_it_loses_it(kind: str, tokenizer: Any, tmp_path: Path) -> None:
    save_model(tmp_path / "model", tiny(kind), tokenizer, "")
    with pytest.raises(ChatfedError, match=rf"\({kind}\) is an encoder with a decoder.*decoder-only"):
        load_chat(tmp_path / "model")


def test_a_model_for_more_than_text_is_refused_with_the_name_of_its_text_model(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import Gemma3Config

    text = tiny("gemma3_text")
    save_model(tmp_path / "model", text, tokenizer, "")
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    Gemma3Config(text_config=text.config.to_dict(), vision_config=vision).save_pretrained(tmp_path / "model")
    with pytest.raises(ChatfedError, match=r"gemma3. is a model for more than text.*gemma3_text"):
        load_chat(tmp_path / "model")


def changed(folder: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    return target


@pytest.mark.parametrize(
    "name", ["model.norm.weight", "model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "lm_head.weight"]
)
def test_a_folder_that_lacks_a_tensor_is_refused_by_its_name(folder: Path, tmp_path: Path, name: str) -> None:
    broken = changed(folder, tmp_path / "model", lambda tensors: tensors.pop(name))
    with pytest.raises(ChatfedError, match=f"lacks the weights {name}, which would be random: restore"):
        load_model(broken)


def test_of_many_that_lack_the_first_and_their_count_are_said(folder: Path, tmp_path: Path) -> None:
    def without_a_layer(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if ".layers.1." in name]:
            del tensors[name]

    with pytest.raises(ChatfedError, match=r"model\.layers\.1\.\S+ and 8 more, which"):
        load_model(changed(folder, tmp_path / "model", without_a_layer))


def test_an_output_layer_that_is_the_embedding_need_not_be_there(tokenizer: Any, tmp_path: Path) -> None:
    save_model(tmp_path / "model", tiny("llama", tie_word_embeddings=True), tokenizer, "")
    assert "lm_head.weight" not in load_file(tmp_path / "model" / "model.safetensors")
    load_model(tmp_path / "model")


def test_a_tensor_of_another_size_than_the_configuration_says_is_refused_with_both(
    folder: Path, tmp_path: Path
) -> None:
    def cut(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] = torch.ones(16)

    with pytest.raises(
        ChatfedError, match=r"holds model\.norm\.weight and its config\.json do not fit: sizes 16 and 32"
    ):
        load_model(changed(folder, tmp_path / "model", cut))


def test_adapters_on_a_base_that_lacks_weights_are_refused_for_it(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    from chatfed.model.adapters import Adapters, attach, save_adapters

    base = shutil.copytree(folder, tmp_path / "base")
    save_adapters(
        tmp_path / "model", attach(load_model(base)[0], Adapters(2, 4.0, ("q_proj",))), tokenizer, "", str(base)
    )
    load_chat(tmp_path / "model")
    shutil.rmtree(base)
    changed(folder, base, lambda tensors: tensors.pop("model.norm.weight"))
    with pytest.raises(ChatfedError, match=r"lacks the weights model.norm.weight"):
        load_chat(tmp_path / "model")


@pytest.mark.parametrize("rows", [289, 290, 300])
def test_a_tokenizer_may_have_no_more_tokens_than_the_embedding_has_rows(
    tokenizer: Any, tmp_path: Path, rows: int
) -> None:
    assert len(tokenizer) == 290
    save_model(tmp_path / "model", tiny("llama", vocab_size=rows), tokenizer, "")
    if rows >= 290:
        assert load_chat(tmp_path / "model").reply(TALK, Generation(max_new_tokens=2)) is not None
        return
    with pytest.raises(ChatfedError, match="the tokenizer has 290 tokens, the embedding 289"):
        load_chat(tmp_path / "model")


@pytest.mark.parametrize("added", [1, 50])
def test_tokens_added_to_a_tokenizer_alone_are_counted(tokenizer: Any, tmp_path: Path, added: int) -> None:
    longer = copy.deepcopy(tokenizer)
    longer.add_tokens([f"<new{i}>" for i in range(added)])
    save_model(tmp_path / "model", tiny("gpt2", vocab_size=290), longer, "")
    with pytest.raises(ChatfedError, match=f"has {290 + added} tokens, the embedding 290"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_base_in_half_precision_is_computed_in_float32(tokenizer: Any, tmp_path: Path, dtype: torch.dtype) -> None:
    model = tiny("llama")
    torch.nn.Module.to(model, dtype)  # in place; transformers' own has no type
    save_model(tmp_path / "model", model, tokenizer, "")
    chat = load_chat(tmp_path / "model")
    assert {p.dtype for p in chat.model.parameters()} == {torch.float32}
    prompt = encode_prompt(tokenizer, TALK)
    chat._ends = set()
    assert tokens_after(chat, prompt, 5) == drawn_whole(model.float(), prompt, 5)


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("llama", []),
        ("gpt2", []),
        ("mixtral", []),
        ("gpt_oss", ["router.weight", "experts.gate_up_proj", "experts.down_proj"]),
    ],
)
def test_weights_that_all_linear_adapters_do_not_reach_are_named(kind: str, left: list[str]) -> None:
    found = without_adapters(tiny(kind))
    assert [name.rpartition("mlp.")[2] for name in found] == left


@pytest.mark.parametrize("kind", ["mamba", "falcon_h1"])
def test_the_layers_that_a_message_offers_for_adapters_all_take_them(kind: str) -> None:
    from chatfed.model.adapters import ALL_LINEAR, Adapters, attach

    with pytest.raises(ChatfedError, match=r"Give model.lora_targets some of") as caught:
        attach(tiny(kind), Adapters(2, 4.0, (ALL_LINEAR,)))
    offered = str(caught.value).rpartition("some of ")[2].rstrip(".").split(", ")
    assert offered and "out_proj" not in offered
    for name in offered:
        attach(tiny(kind), Adapters(2, 4.0, (name,)))


@pytest.mark.parametrize("template", [*TEMPLATES, None])
def test_templates_of_others_pass_and_say_how_an_answer_ends(template: str, tmp_path: Path) -> None:
    tokenizer = trained("byte-level", TEMPLATES[template] if template else None)
    checks = {check.name: check for check in examine(tiny("llama", vocab_size=len(tokenizer)), tokenizer)}
    assert not any(check.fault for check in checks.values())
    assert "an answer ends with" in checks["end of a turn"].note
    assert ("no chat template" in checks["token ids"].note) == (template is None)


def test_what_a_template_refuses_is_said_and_is_no_fault() -> None:
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    tokenizer = trained("byte-level", strict + TEMPLATES["chatml"])
    checks = {check.name: check for check in examine(tiny("llama", vocab_size=len(tokenizer)), tokenizer)}
    assert "refuses the roles system, user, assistant: no system role" in checks["token ids"].note
    assert not any(check.fault for check in checks.values())


def test_a_tokenizer_that_cannot_spell_the_end_of_an_answer_is_refused() -> None:
    tokenizer = trained("unigram")  # plain text ends an answer with the end of a line, which it reads as unknown
    faults = [check.fault for check in examine(tiny("llama", vocab_size=len(tokenizer)), tokenizer) if check.fault]
    assert len(faults) == 1 and "cannot spell '\\n'" in faults[0]


def test_the_command_says_what_was_looked_at_and_leaves_with_zero_or_two(folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    right = runner.invoke(app, ["base", "check", str(folder)])
    assert right.exit_code == 0 and "reads forwards alone" in right.output and "llama, " in right.output
    broken = changed(folder, tmp_path / "model", lambda tensors: tensors.pop("model.norm.weight"))
    wrong = runner.invoke(app, ["base", "check", str(broken)])
    assert wrong.exit_code == 2 and "lacks the weights model.norm.weight" in wrong.output
    nothing = runner.invoke(app, ["base", "check", str(tmp_path / "nothing")])
    assert nothing.exit_code == 2 and "There is no" in nothing.output + nothing.stderr


def test_every_check_of_a_right_base_has_a_name_and_no_fault(folder: Path) -> None:
    checks = check_base(folder)
    assert len({check.name for check in checks}) == len(checks) >= 8
    assert [check.fault for check in checks if check.fault] == []


@pytest.mark.parametrize("kind", ["bamba", "gpt_oss", "xlm", "t5", "gemma3"])
def test_the_page_s_table_says_what_an_examination_finds(kind: str, tokenizer: Any, tmp_path: Path) -> None:
    assert row(kind, saved(kind, tmp_path / kind, tokenizer)) in DOCS.read_text(encoding="utf-8").splitlines()


def test_the_page_s_table_has_every_architecture_once() -> None:
    table = DOCS.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]
    told = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1] for line in table.splitlines()[3:] if line}
    assert told == {kind: "yes" if kind in CAUSAL else "no" for kind in sorted(KINDS)}


def test_the_lists_of_architectures_hold_each_once() -> None:
    assert len({*CAUSAL, *BOTH_WAYS, *WITH_ENCODER, *MORE_THAN_TEXT}) >= 60 and len(SHORT) >= 20
