"""lm-evaluation-harness as it comes, on tasks of our own, against the API: what it reports is what the model says.

It brings forty packages, and so has a Python of its own: `make test-peers` makes it and runs this.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chatfed import Chat, Generation
from tests.serving.api.running import OPERATOR_KEY, Running

pytestmark = pytest.mark.peers
ROOT = Path(__file__).resolve().parents[3]
PYTHON = os.environ.get("CHATFED_PEERS", str(ROOT / ".venv-peers/bin/python"))
DOCS = [
    {"question": "my laptop will", "choices": [" not start", " eat cheese"], "answer": 0},
    {"question": "please open the", "choices": [" portal", " né ☃", " zebra crossing"], "answer": 0},
    {"question": "i forgot my", "choices": [" badge", " password"], "answer": 1},
]
CHOICES = """
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
target_delimiter: ""
doc_to_target: answer
metric_list:
  - metric: acc
"""
ROLLING = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}{{choices[0]}}"
metric_list:
  - metric: bits_per_byte
"""
WRITING = """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 6, temperature: 0}
metric_list:
  - metric: exact_match
"""
TASKS = {"desk_choices": CHOICES, "desk_rolling": ROLLING, "desk_writing": WRITING}


def evaluated(tmp_path: Path, server: Running, batch: int, **more: str) -> dict[str, list[dict[str, Any]]]:
    """Of each task: the samples that the program wrote down, in the documents' order."""
    data = tmp_path / "docs.jsonl"
    data.write_text("".join(json.dumps(doc) + "\n" for doc in DOCS))
    head = f"dataset_path: json\ndataset_kwargs:\n  data_files: {{test: {data}}}\ntest_split: test\n"
    (tmp_path / "tasks").mkdir()
    for name, task in TASKS.items():
        (tmp_path / f"tasks/{name}.yaml").write_text(f"task: {name}\n{head}{task}")
    model = {"model": "tiny", "base_url": f"{server.url}/v1/completions", "max_length": "256"}
    arguments = ",".join(f"{name}={value}" for name, value in {**model, **more}.items())
    command = [
        PYTHON,
        "-m",
        "lm_eval",
        "--model",
        "local-completions",
        "--model_args",
        arguments,
        "--tasks",
        ",".join(TASKS),
    ]
    command += ["--include_path", str(tmp_path / "tasks"), "--output_path", str(tmp_path / "out"), "--log_samples"]
    command += ["--batch_size", str(batch)]
    outside = {"OPENAI_API_KEY": OPERATOR_KEY, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **outside}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: _samples(tmp_path / "out", name) for name in TASKS}


def _samples(folder: Path, task: str) -> list[dict[str, Any]]:
    file = next(folder.rglob(f"samples_{task}*.jsonl"))
    return sorted(map(json.loads, file.read_text().splitlines()), key=lambda sample: sample["doc_id"])


def said_of(chat: Chat, context: str, more: str) -> tuple[float, bool]:
    """The log-probability of `more` after `context`, and whether each of its tokens is the likeliest."""
    ids, begun = chat.encode(context + more), len(chat.encode(context))
    rest = [(score.log_prob, top[0].log_prob) for score, top in chat.score_ids(ids, 1)[begun:] if score is not None]
    return sum(own for own, _ in rest), all(own == best for own, best in rest)


@pytest.mark.parametrize("remote", [True, False])
def test_what_it_reports_is_what_the_model_says(
    tmp_path: Path, api_server: Running, wide_chat: Chat, remote: bool
) -> None:
    if remote:  # the harness sends its key with prompts and not to the tokenizer
        samples = evaluated(tmp_path, api_server, 1, tokenizer_backend="remote", auth_token=OPERATOR_KEY)
    else:
        wide_chat.tokenizer.save_pretrained(tmp_path / "tokenizer")
        samples = evaluated(
            tmp_path,
            api_server,
            3,
            tokenizer_backend="huggingface",
            tokenizer=str(tmp_path / "tokenizer"),
        )
    for sample in samples["desk_choices"]:
        doc = sample["doc"]
        told = [(float(each[0][0]), each[0][1] in (True, "True")) for each in sample["resps"]]
        for (log_prob, greedy), choice in zip(told, doc["choices"], strict=True):
            wanted, best = said_of(wide_chat, doc["question"], choice)
            assert log_prob == pytest.approx(wanted, abs=1e-4) and greedy == best
    for sample in samples["desk_rolling"]:
        text = sample["doc"]["question"] + sample["doc"]["choices"][0]
        ids = [wide_chat.tokenizer.bos_token_id, *wide_chat.encode(text)]
        wanted = sum(score.log_prob for score, _ in wide_chat.score_ids(ids) if score is not None)
        assert float(sample["resps"][0][0]) == pytest.approx(wanted, abs=1e-4)
    for sample in samples["desk_writing"]:
        settings = Generation(max_new_tokens=6, stop=("\n", wide_chat.tokenizer.eos_token))
        events = wide_chat.events_after(wide_chat.encode(sample["doc"]["question"]), settings)
        assert sample["resps"][0][0] == "".join(event.text for event in events)
