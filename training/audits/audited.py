"""A finished run as auditors see it: its plan, claim, models and dialogues. Trains nothing and writes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatfed.model.checkpoint import weights_file
from chatfed.model.transformer import load_model
from chatfed.types import ClientId, IntVector

from ..base.learner import Learner
from ..base.tokens import TokenTable, open_tokens
from ..plan.plan import Learning, Plan, resolve
from ..run.canaries import planted_dialogues
from ..run.run_folder import RunError, RunFolder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Say = Callable[[str], None]
"""How far a part is, in a few words."""


@dataclass(frozen=True)
class Audited:
    """A finished run of a simulation: whoever audits it has all dialogues, as the machine that ran it had."""

    folder: RunFolder
    plan: Plan
    privacy: dict[str, Any]  # privacy.json
    base: str  # folder of the public model
    elsewhere: Path | None = None  # a synthetic copy's folder, where it is not the run's own

    @property
    def copy(self) -> Path:
        """The folder of the synthetic copy that is audited, whether or not there is one."""
        return self.elsewhere or self.folder.path / "synthetic"

    @classmethod
    def open(cls, path: Path, copy: Path | None = None) -> Audited:
        """With the synthetic copy in folder `copy`; None: the run's own.

        Raises RunError where there is no finished run, or its model is not the one that its claim is about.
        """
        folder = RunFolder(path)
        begun = folder.begun()
        if begun.apart:
            raise RunError(f"{path} is the run of a federation: its members' dialogues are not here to audit with.")
        base = folder.prepared()
        if base is None or not (path / "privacy.json").exists():
            raise RunError(f"{path} holds no finished run: chatfed resume {path} first.", param=str(path))
        clients = len(open_tokens(folder.state / "private").clients)
        made = cls(folder, resolve(begun.recipe, clients), folder.read_json("privacy.json"), base, copy)
        if made.weights_sha256 != made.privacy["model_sha256"]:
            raise RunError(
                f"{path / 'model'} holds other weights than privacy.json speaks of: bring those back, or resume the "
                "run.",
                param=str(path / "model"),
            )
        return made

    @cached_property
    def weights_sha256(self) -> str:
        """Of the served model's weights file."""
        return hashlib.sha256(weights_file(self.folder.path / "model").read_bytes()).hexdigest()

    @cached_property
    def members(self) -> TokenTable:
        """The dialogues that were learned from, by client."""
        return open_tokens(self.folder.state / "private")

    @cached_property
    def own(self) -> dict[ClientId, IntVector]:
        """Which of the `members` are each client's own: all but canaries, which stand behind them."""
        planted = planted_dialogues(self.folder, self.plan.recipe)
        mine = {name: places[places < len(self.members) - planted] for name, places in self.members.clients.items()}
        return {name: places for name, places in mine.items() if len(places)}

    @cached_property
    def others(self) -> TokenTable:
        """Held-out dialogues, of clients that never trained."""
        return open_tokens(self.folder.state / "held-out")

    def model(self, name: str = "model") -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        """The served model, or "reference": the public one."""
        model, tokenizer = load_model(str(self.folder.path / name))
        return model.eval(), tokenizer

    def learner(self, how: Learning | None = None, counting: bool = False) -> Learner:
        """What a client learns with, from where rounds began; counting: what it counts with, from the public base.

        how: in another way than the plan's.
        """
        state = self.folder.state
        counted = state / "counted"
        start = str(counted) if not counting and (counted / "config.json").exists() else self.base
        return Learner.open(how or self.plan.learning, start, state / "private", state / "held-out")

    @cached_property
    def bare(self) -> Audited | None:
        """The same run without noise, where one was made beside it (--reference)."""
        beside = self.folder.path / "without-noise"
        return Audited.open(beside) if (beside / "privacy.json").exists() else None
