"""What a model knew before and still knows: 100 simple questions and completions, the same for all models.

Asked through the chat, greedily, 16 tokens at most; right where the answer's word is said. Nothing of a corpus is in
them, so what a private model lost against its base is what its training took.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import Row, machine, parser, print_table, write_json
from chatfed.command_line import exit_code

if TYPE_CHECKING:
    from chatfed import Chat

CAPITALS = (
    "France Paris,Germany Berlin,Italy Rome,Spain Madrid,Portugal Lisbon,Austria Vienna,Greece Athens,Poland Warsaw,"
    "Sweden Stockholm,Norway Oslo,Denmark Copenhagen,Finland Helsinki,Ireland Dublin,Hungary Budapest,Russia Moscow,"
    "Japan Tokyo,China Beijing,India Delhi,Egypt Cairo,Kenya Nairobi,Canada Ottawa,Vietnam Hanoi,Cuba Havana,Peru Lima,"
    "Chile Santiago,Colombia Bogota,Turkey Ankara,Iran Tehran,Iraq Baghdad,Thailand Bangkok"
)
OPPOSITES = (
    "hot cold,big small,up down,left right,open closed,day night,black white,fast slow,happy sad,rich poor,old young,"
    "wet dry,hard soft,high low,early late,light dark,full empty,strong weak,win lose,love hate"
)
COMPLETIONS = (
    "The sun rises in the|east;Water freezes at zero degrees|Celsius;Humans breathe|air;Bees make|honey;"
    "A week has seven|days;The opposite of north is|south;Cows give|milk;The color of grass is|green;"
    "A triangle has three|sides;The Earth goes around the|sun;Fish live in|water;Snow is|white;"
    "The largest ocean is the|Pacific;The author of Hamlet is William|Shakespeare;Ice is frozen|water;"
    "A year has twelve|months;The planet known for its rings is|Saturn;Birds have two|wings;"
    "The first president of the United States was George|Washington;The Great Wall is in|China;"
    "The Eiffel Tower is in|Paris;Spiders have eight|legs;Bread is made from|flour;The heart pumps|blood;"
    "Plants need sunlight and|water;The moon goes around the|Earth;Salt is made of sodium and|chloride;"
    "The speed of light is faster than the speed of|sound;One, two, three,|four;Monday, Tuesday,|Wednesday"
)
SUMS = tuple((a, b) for a in (1, 2, 3, 5) for b in (2, 3, 4, 5, 7))


def questions() -> list[tuple[str, str]]:
    """Each with the word that answers it: 30 capitals, 20 opposites, 30 completions, 20 sums."""
    capitals = [each.split(" ") for each in CAPITALS.split(",")]
    opposites = [each.split(" ") for each in OPPOSITES.split(",")]
    completions = [each.split("|") for each in COMPLETIONS.split(";")]
    return [
        *((f"What is the capital of {land}?", city) for land, city in capitals),
        *((f"What is the opposite of {one}?", other) for one, other in opposites),
        *((f"Complete the sentence: {begun}", word) for begun, word in completions),
        *((f"What is {a} plus {b}?", str(a + b)) for a, b in SUMS),
    ]


def right(chat: Chat, asked: list[tuple[str, str]]) -> int:
    """How many are answered."""
    from chatfed import Generation

    settings = Generation(max_new_tokens=16)
    said = ((chat.reply(question, settings), answer) for question, answer in asked)
    return sum(bool(re.search(rf"\b{re.escape(answer)}\b", reply, re.IGNORECASE)) for reply, answer in said)


def main(argv: list[str] | None = None) -> None:
    """Asks a run's model and its base."""
    options = parser("general", re.split(r"\n\s*\n", __doc__ or "")[0])
    options.add_argument("run", nargs="?", type=Path, default=Path("runs/smollm2"), help="a run's folder")
    given = options.parse_args(argv)
    from chatfed import load_chat

    asked = questions()[:4] if given.quick else questions()
    found = {name: right(load_chat(given.run / name), asked) for name in ("reference", "model")}
    print(machine("torch", "transformers"))
    rows: list[Row] = [("answered", f"{found['model']}", f"{found['reference']}", f"of {len(asked)}")]
    print_table("simple questions", "", rows, ("private model", "its base", ""))
    if given.json:
        write_json(given.json, found)


if __name__ == "__main__":
    sys.exit(exit_code(main))
