"""Small runs by hand for audits: models that learned the clients' dialogues by heart, and such that never saw them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from chatfed.data.helpdesk import HelpdeskCorpus, generate_for, write
from chatfed.data.partition import by_client
from chatfed.model.checkpoint import save_model
from chatfed.model.tokenizer import train_tokenizer
from chatfed.model.transformer import Architecture, build_llama, untie_output
from chatfed.types import ClientId
from training.audits.audited import Audited
from training.base.corpus import generated_help_desk, turns_of
from training.base.tokens import DialogueExamples, TokenTable, next_token_loss, write_tokens
from training.plan.plan import resolve
from training.plan.recipe import DataSection, ModelSection, Recipe, RuntimeSection
from training.run.run_folder import RunFolder

CLIENTS, CONTEXT, SEED = 5, 128, 3


@dataclass(frozen=True)
class House:
    """A corpus as a run has it on disk, and a model that knows none of its clients."""

    folder: Path
    corpus: HelpdeskCorpus
    tokenizer: PreTrainedTokenizerFast
    private: TokenTable
    held_out: TokenTable
    public: TokenTable

    def taught(self, table: TokenTable, dialogues: np.ndarray, steps: int) -> PreTrainedModel:
        """A new model after so many steps over some dialogues."""
        torch.set_num_threads(1)
        model = build_llama(Architecture(48, 2, 2, 96, CONTEXT), self.tokenizer, seed=1)
        untie_output(model)
        examples = DialogueExamples(table, dialogues, CONTEXT)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        random = np.random.default_rng(1)
        for _ in range(steps):
            rows, _ = examples.rows(random.choice(len(dialogues), min(4, len(dialogues)), replace=False))
            optimizer.zero_grad()
            next_token_loss(model, rows).mean().backward()
            optimizer.step()
        model.eval()
        return model

    def run(
        self, name: str, model: PreTrainedModel, public: PreTrainedModel, source: str = "helpdesk", **privacy: object
    ) -> Audited:
        """A run in a folder of its own that serves `model`."""
        path = self.folder / name
        for part, each in (("model", model), ("reference", public)):
            save_model(path / part, each, self.tokenizer, "A model for tests.\n")
        path.joinpath("state").symlink_to(self.folder / "state")
        recipe = Recipe(
            data=DataSection(source=source, clients=CLIENTS, seed=SEED),
            model=replace(ModelSection(), context=CONTEXT),
            runtime=replace(RuntimeSection(), cache=str(self.folder / "cache")),
        )
        claim = {"epsilon": None, "delta": None, "unit": "example", **privacy}
        return Audited(RunFolder(path), resolve(recipe, CLIENTS), claim, str(path / "reference"))


def house(folder: Path) -> House:
    """A house of CLIENTS clients, made anew."""
    corpus = generate_for(CLIENTS, SEED)
    tokenizer = train_tokenizer((turn.content for each in corpus.public for turn in each.messages), 512)
    names = [ClientId(str(each.client_id)) for each in corpus.private]
    others = [ClientId(str(each.client_id)) for each in corpus.held_out]
    state = folder / "state"
    private = write_tokens(state / "private", tokenizer, turns_of(corpus.private), by_client(names))
    held_out = write_tokens(state / "held-out", tokenizer, turns_of(corpus.held_out), by_client(others))
    public = write_tokens(folder / "public", tokenizer, turns_of(corpus.public))
    cached = generated_help_desk(folder / "cache", SEED, CLIENTS)
    write(corpus, cached)
    return House(folder, corpus, tokenizer, private, held_out, public)
