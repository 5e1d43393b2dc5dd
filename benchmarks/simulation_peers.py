"""The same clients, model and local work without our protocol: a plain loop, and pfl-research's own simulation.

python -m benchmarks.simulation_peers plain|pfl|pfl-dp --base FOLDER --tokens FOLDER --out FOLDER ...

Both read the token table and the base that a run of ours has written, train every client by plain SGD on its dialogues
from the same weights, and write a line to OUT/metrics.jsonl after each round. pfl is imported inside its function, so
that its interpreter needs neither our accountant nor Opacus, which it cannot be installed beside.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.command_line import Parser, exit_code
from chatfed.types import ChatfedError, ClientId
from training.base.tokens import LENGTHS, DialogueExamples, TokenTable, next_token_loss, open_tokens
from training.plan.recipe import LocalSection


def plain(given: argparse.Namespace, table: TokenTable, cohort: Callable[[int], list[ClientId]]) -> None:
    """For each client: load the weights, train, add the difference up."""
    from chatfed.model.parameters import flatten, load_flat
    from training.base.learner import Way, train_plainly

    model, lower = _model(given)
    settings, weights = LocalSection(given.epochs, given.batch, given.rate), flatten(model)
    for index in range(given.rounds):
        total = np.zeros_like(weights)
        for client in cohort(index):
            load_flat(model, weights)
            train_plainly(model, DialogueExamples(table, table.clients[client], given.context), settings, Way(lower))
            total += flatten(model) - weights
        weights = weights + total / given.cohort
        _write_line(given.out, index)


def pfl(given: argparse.Namespace, table: TokenTable, private: bool) -> None:
    """pfl-research's FederatedAveraging over its SimulatedBackend, which evaluates in the first round only.

    private: with its central Gaussian mechanism. Started by torchrun, its processes share a cohort.
    """
    import torch
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.pytorch import PyTorchTensorDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
    from pfl.metrics import Metrics
    from pfl.model.pytorch import PyTorchModel
    from pfl.privacy.gaussian_mechanism import GaussianMechanism
    from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism

    trained, lower = _model(given)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = trained

        def loss(self, ids: Any, targets: Any, weights: Any) -> Any:
            rows = {"ids": ids, "targets": targets, "weights": weights}
            return next_token_loss(self.model, rows, LENGTHS if lower else 1).sum() / len(ids)

        def metrics(self, *rows: Any) -> dict[str, Any]:
            return {}

    class Lines(TrainingProcessCallback):  # type: ignore[misc]  # pfl tells no types
        def after_central_iteration(
            self, aggregate_metrics: Any, model: Any, *, central_iteration: int
        ) -> tuple[bool, Any]:
            _write_line(given.out, central_iteration)
            return False, Metrics()

    def dataset(client: ClientId) -> Any:
        examples = DialogueExamples(table, table.clients[client], given.context)
        rows, _ = examples.rows(np.arange(len(examples)))
        return PyTorchTensorDataset(tensors=(rows["ids"], rows["targets"], rows["weights"]))

    central = torch.optim.SGD([p for p in trained.parameters() if p.requires_grad], 1.0)
    model = PyTorchModel(Net(), torch.optim.SGD, central, amp_dtype=torch.bfloat16 if lower else None)
    clients = FederatedDataset(dataset, get_user_sampler("minimize_reuse", sorted(table.clients)))
    noise = [CentrallyAppliedPrivacyMechanism(GaussianMechanism(given.clip, given.noise))] if private else []
    FederatedAveraging().run(
        NNAlgorithmParams(
            given.rounds, evaluation_frequency=given.rounds + 1, train_cohort_size=given.cohort, val_cohort_size=0
        ),
        SimulatedBackend(clients, clients, noise),
        model,
        NNTrainHyperParams(local_num_epochs=given.epochs, local_learning_rate=given.rate, local_batch_size=given.batch),
        NNEvalHyperParams(local_batch_size=given.batch),
        [Lines()],
    )
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _model(given: argparse.Namespace) -> tuple[Any, bool]:
    """The model, and whether it trains in bfloat16, as ours does where that takes less time."""
    import torch

    from chatfed.model.parameters import set_trainable
    from chatfed.model.transformer import load_model
    from training.base.learner import quickest_way

    torch.set_num_threads(1)
    model, _ = load_model(given.base)
    set_trainable(model, tuple(given.trainable))
    held_out = open_tokens(given.tokens.with_name("held-out"))  # which ours measures on too
    first = DialogueExamples(held_out, np.arange(min(len(held_out), given.batch)), given.context)
    return model, quickest_way(model, first, by_hand=False).lower


def _write_line(out: Path, index: int) -> None:
    if os.environ.get("RANK", "0") != "0":
        return
    with open(out / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"round": index + 1}, allow_nan=False) + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m benchmarks.simulation_peers", description=__doc__)
    parser.add_argument("kind", choices=("plain", "pfl", "pfl-dp"))
    for name in ("base", "tokens", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("cohort", "rounds", "context", "batch", "epochs"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("rate", "clip", "noise"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--trainable", nargs="+", required=True)
    given: argparse.Namespace = parser.parse_args(arguments)
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the peer that is named."""
    given = _options(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    table = open_tokens(given.tokens)
    if int(np.diff(table.starts).max()) > given.context + 1:  # a batch of rows would be another than one of dialogues
        raise ChatfedError("a dialogue is longer than a window: give a larger --context")
    names = sorted(table.clients)
    dealt = np.random.default_rng(1).permutation(len(names))
    if given.kind == "plain":
        plain(given, table, lambda index: [names[i] for i in np.roll(dealt, -index * given.cohort)[: given.cohort]])
    else:
        pfl(given, table, given.kind == "pfl-dp")


if __name__ == "__main__":
    sys.exit(exit_code(main))
