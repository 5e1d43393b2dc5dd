#!/bin/sh
# datasets 5.2.0 (PyPI), seen 2026-11-28: one list among the strings of a JSON Lines column changes the other strings.
#
# Input: five lines {"a": ...} with "42", ["x"], "007", "null" and "plain", all valid JSON.
# Expected: strings stay strings, as they do in a file without the list.
# Seen: load_dataset("json") gives 42, ["x"], 7, None and "plain": what looks like JSON is decoded, so that an answer
# "42" is a number, a code "007" is 7 and an answer "null" is nothing. The data are changed without a word. A second
# file without the list gives "42", "007", "null" as they are.
#
# Exits 0 while this stands, 1 when it has changed. Needs Python 3.11 or later and a package registry.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "datasets==5.2.0"
cd "$work"
HF_HOME="$work/home" HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import json
import sys

import datasets

datasets.disable_progress_bars()


def column(name, values):
    with open(name, "w") as file:
        file.writelines(json.dumps({"a": value}) + "\n" for value in values)
    return datasets.load_dataset("json", data_files=name, split="train")["a"][:]


strings = ["42", "007", "null", "plain"]
alone = column("strings.jsonl", strings)
beside = column("mixed.jsonl", ["42", ["x"], "007", "null", "plain"])
print("strings alone:", alone)
print("beside a list:", beside)
sys.exit(0 if alone == strings and beside == [42, ["x"], 7, None, "plain"] else 1)
PYTHON
