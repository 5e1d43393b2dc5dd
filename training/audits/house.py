"""The generated house that a run learned from, as the generator recorded it: who its clients are and what is private.

A run on other data has none: nobody recorded which of its words are private, and nobody can draw more of its clients.
Nor has one with data.redact: what it learned from has placeholders where the generator recorded facts, and more of its
clients, drawn as they speak, would be told from those by their words alone.
"""

from __future__ import annotations

from pathlib import Path

from chatfed.audit.leakage import AuditError
from chatfed.data.helpdesk import HelpdeskCorpus, read
from chatfed.model.tokenizer import close_answer, encode_dialogue
from chatfed.model.transformer import load_tokenizer

from ..base.corpus import HELP_DESK, generated_help_desk
from ..run.canaries import planted_dialogues
from .audited import Audited


def why_none(run: Audited) -> str:
    """Why there is no house to compare a run with, for a sentence; "" where there is one."""
    if run.plan.recipe.data.source != HELP_DESK:
        return "nobody recorded which words of these dialogues are private"
    if run.plan.recipe.data.redact:
        return "data.redact put placeholders in the place of recorded facts before anything was learned"
    return ""


def house_of(run: Audited) -> HelpdeskCorpus | None:
    """The corpus, made now or found in the recipe's cache; None where the run has none, which `why_none` says.

    Raises AuditError where another version of chatfed generated what the run learned from.
    """
    recipe = run.plan.recipe
    if why_none(run):
        return None
    corpus = read(generated_help_desk(Path(recipe.runtime.cache), recipe.data.seed, recipe.data.clients))
    table, count = run.members, len(corpus.private)
    tokenizer = load_tokenizer(str(run.folder.path / "model"))
    ids = close_answer(tokenizer, encode_dialogue(tokenizer, corpus.private[-1].messages)).ids
    same = len(table) - planted_dialogues(run.folder, recipe) == count
    if not same or ids.tolist() != table.ids[table.starts[count - 1] : table.starts[count]].tolist():
        raise AuditError(
            f"{run.folder.path} learned from a house that another version of chatfed generated: audit it with that "
            "version, or train anew",
            param=str(run.folder.path),
        )
    return corpus
