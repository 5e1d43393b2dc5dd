#!/bin/sh
# gradio 6.31.0 (PyPI), seen 2026-11-29: a page that nobody has open looks into its empty queue about a thousand times a
# second.
#
# Input: a gr.Blocks with one button, queue() and launch(), no visitor; looks are counted for two seconds, ten seconds after
# the start.
# Expected: a queue that is empty is waited for, or looked at some times a second; gradio's guide on queuing speaks of no cost
# of a page that waits.
# Seen: some 400 to 900 looks a second (asyncio.sleep of 1 ms between two; on Windows 50), 7 to 9 % of one processor for a
# server that serves nobody, and as much again for each further Blocks of the process.
#
# Exits 0 while this stands, 1 when it has changed. Needs Python 3.11 and a package registry.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "gradio==6.31.0"
cd "$work"
GRADIO_ANALYTICS_ENABLED=False "$work/venv/bin/python" - <<'PYTHON'
import sys
import time

import gradio as gr
from gradio.queueing import Queue

looks, length = [], Queue.__len__


def counted(queue):
    looks.append(time.monotonic())
    return length(queue)


with gr.Blocks() as page:
    gr.Button("ask").click(lambda: None)
page.queue()
page.launch(prevent_thread_lock=True, quiet=True)
time.sleep(10)
Queue.__len__ = counted
began = time.process_time()
time.sleep(2)
spent = (time.process_time() - began) / 2
found = len(looks) / 2
print(f"{found:.0f} looks a second, {spent:.1%} of a processor")
page.close()
sys.exit(0 if found > 100 else 1)
PYTHON
