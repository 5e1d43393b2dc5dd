"""Training under encryption: seconds and bytes of a step against parties and width, and how near it stays to the clear.

Seconds are processor time of all parties together, who take turns in one process; each on a machine of its own would
take that over their number. The last row is a whole training, whose weights are opened.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks import Row, machine, parser, print_table, write_json
from chatfed.command_line import exit_code
from chatfed.encrypted.collective.parameters import Parameters
from training.encrypted_training import DESKS, FEATURES, HELD_OUT, RATE, Outcome, messages, right, trained

PARTIES, WIDTHS, STEPS, QUICK_STEPS, TIMED = (3, 4, 5), (4, 8, 16), 50, 2, 3
WANTED = 1e-3  # the largest difference of a weight after STEPS
SEED = 1


def parameters_of(parties: int, hidden: int, degree: int) -> Parameters:
    """Of a training among so many."""
    names = tuple(f"party {number}" for number in range(1, parties + 1))
    return Parameters(names, FEATURES, hidden, len(DESKS), RATE, os.urandom(32), degree)


def outcome(parameters: Parameters, steps: int) -> Outcome:
    """Of a training on generated messages."""
    data = [messages(f"{SEED}/{name}", 40 * parameters.examples) for name in parameters.parties]

    def said(doing: str, done: int, of: int) -> None:
        if done % 5 == 0:
            stamp = f"{time.process_time():.0f} s of a processor"
            print(f"{len(data)} parties, {parameters.hidden} units, {doing} {done} of {of}, {stamp}", flush=True)

    return trained(parameters, data, steps, SEED, os.urandom, said)


def figures_of(found: Outcome, parameters: Parameters) -> dict[str, Any]:
    """As JSON holds them."""
    return {
        "parties": len(parameters.parties),
        "hidden": parameters.hidden,
        "examples_of_a_party": parameters.examples,
        "degree": parameters.degree,
        "steps": len(found.step_seconds),
        "step_seconds": median(found.step_seconds),
        "keys_seconds": found.keys_seconds,
        "step_bytes_of_a_party": found.sent,
        "keys_bytes_of_a_party": found.keys_sent,
        "largest_difference": found.difference,
        "largest_number": found.largest,
    }


def row_of(found: dict[str, Any]) -> Row:
    """Of a training."""
    what = f"{found['parties']} parties, {found['hidden']} hidden units, {found['steps']} steps"
    sent = f"{found['step_bytes_of_a_party'] / 1e6:.2f} MB"
    return what, f"{found['step_seconds']:.2f} s", sent, f"{found['largest_difference']:.1e}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the table."""
    options = parser("encrypted_training", (__doc__ or "").splitlines()[0])
    options.add_argument("--whole", action="store_true", help="the whole training alone, without the table")
    asked = options.parse_args(arguments)
    degree, steps, timed = (1024, QUICK_STEPS, 1) if asked.quick else (8192, STEPS, TIMED)
    widths = (4,) if asked.quick else WIDTHS
    cells = [] if asked.whole else [(parties, hidden) for parties in PARTIES for hidden in widths]
    table = []
    for parties, hidden in cells:
        parameters = parameters_of(parties, hidden, degree)
        table.append(figures_of(outcome(parameters, timed), parameters))
    parameters = parameters_of(PARTIES[0], 4 if asked.quick else 8, degree)
    found = outcome(parameters, steps)
    held = messages(f"{SEED}/held out", HELD_OUT)
    whole = figures_of(found, parameters) | {
        "right": right(found.opened, held),
        "right_clear": right(found.clear, held),
    }
    rows = [row_of(each) for each in (*table, whole)]
    about = f"{machine('numpy')}\nright desk of {HELD_OUT} held-out messages after the last: {whole['right']:.1%}, "
    about += f"in clear {whole['right_clear']:.1%}; wanted: a difference below {WANTED:.0e}"
    print_table(
        "a step of training, degree " + str(degree), about, rows, ("all parties", "a party sends", "difference")
    )
    if asked.json:
        write_json(asked.json, {"table": table, "whole": whole})


if __name__ == "__main__":
    sys.exit(exit_code(main))
