"""Marks on a record or a message that it is not to be learned, told from its names. Knows no conversation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chatfed.data import schemas
from chatfed.data.schemas import canonical
from chatfed.data.values import BadRecord, absent, is_list


def mend(names: str) -> str:
    """How to leave columns or keys out knowingly."""
    return f"leave it out knowingly with --ignore-columns {names} (data.ignore_columns)"


def refuse_marks(held: Mapping[str, object], names: Iterable[str], where: str = "") -> None:
    """Raises BadRecord at the first of `names` that marks, in words nobody reads, what is not to be learned.

    Such marks are `compute_loss: false`, `ignore: true`, `turn_weights: [0, 1]`, `feedback: thumbs_down`.
    """
    for name in names:
        value = held[name]
        if canonical(name) in schemas.FEEDBACKS and is_bad(value):
            raise BadRecord(
                f"{where}{name} is {value}, which marks the answer as a bad one (KTO); {mend(name)}", param=name
            )
        words = set(canonical(name).split("_"))
        learning = bool(words & schemas.LEARNING)
        away = bool(words & schemas.LEFT_OUT) or (learning and bool(words & {"no", "not", "without"}))
        if not away and not learning and not words & schemas.KEPT:
            continue
        if away in _flags(value, learning):
            raise BadRecord(
                f"{where}{name} is {value!r}: it may mark what is not to be learned, and is not read (weight 0 is); "
                f"{mend(name)}",
                param=name,
            )


def is_bad(value: object) -> bool:
    """Whether a judgement marks an answer as a bad one, whatever it judges."""
    if isinstance(value, str):
        return value.strip().lower().replace(" ", "_").replace("-", "_") in schemas.BAD
    return value is False or (isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0)


_WORDS = {"true": True, "yes": True, "false": False, "no": False}


def _flags(value: object, numbers: bool) -> list[bool]:
    """What a mark says, for each thing that it marks; nothing for a value that is no mark. `numbers`: 0 is one."""
    if isinstance(value, str):
        word = value.strip().lower()
        return [_WORDS[word]] if word in _WORDS else []
    if isinstance(value, bool) or (numbers and isinstance(value, (int, float))):
        return [bool(value)] if 0 <= value <= 1 else []
    if is_list(value) and value:
        return [flag for each in value if not absent(each) for flag in _flags(each, numbers)]
    return []
