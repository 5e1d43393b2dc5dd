"""Dialogues as token arrays on disk, shared read-only by all worker processes, and as batches of training windows.

Knows ids, kinds and whose dialogue is whose; knows no text, no model and no privacy.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatfed.model.checkpoint import replace_folder
from chatfed.model.tokenizer import MARKER, Encoded, close_answer, encode_dialogues
from chatfed.types import ChatfedError, ClientId, IntVector, Turn

from ..durable import disk_error

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from chatfed.privacy.clipping import LogitForm

LENGTHS = 16  # windows are padded to a multiple in bfloat16, whose kernels are built anew for each shape
SOFT = ("near", "shares")  # a table's files, where its places have several possible tokens
ASSISTANT = 8  # bit beside a token's kind: the message is the assistant's


@dataclass(frozen=True, eq=False)
class Owned(Mapping[ClientId, IntVector]):
    """Whose dialogues are whose, memory-mapped and searched on disk: no process holds a list of all clients."""

    names: NDArray[np.uint8]  # of all clients, UTF-8, end to end, in order of their bytes
    name_starts: IntVector  # int64[clients + 1]
    dialogues: IntVector  # int64[dialogues], client by client
    starts: IntVector  # int64[clients + 1]

    @classmethod
    def open(cls, folder: Path) -> Owned:
        """What `write` wrote, not yet read: arrays stay on disk."""
        return cls(*(np.load(folder / f"{each.name}.npy", "r") for each in fields(cls)))

    @staticmethod
    def write(folder: Path, owned: Mapping[ClientId, IntVector]) -> None:
        """Writes whose dialogues are which as arrays: no client's name is a file's."""
        ordered = sorted((client.encode(), mine) for client, mine in owned.items())
        names, mine = [name for name, _ in ordered], [np.asarray(each, np.int64) for _, each in ordered]
        np.save(folder / "names.npy", np.frombuffer(b"".join(names), np.uint8))
        np.save(folder / "name_starts.npy", _starts(names))
        np.save(folder / "dialogues.npy", np.concatenate([np.empty(0, np.int64), *mine]))
        np.save(folder / "starts.npy", _starts(mine))

    def __getitem__(self, client: ClientId) -> IntVector:
        wanted = client.encode()
        place = bisect_left(range(len(self)), wanted, key=self._name)
        if place == len(self) or self._name(place) != wanted:
            raise KeyError(client)
        return np.array(self.dialogues[self.starts[place] : self.starts[place + 1]])

    def __iter__(self) -> Iterator[ClientId]:
        return (ClientId(self._name(place).decode()) for place in range(len(self)))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def _name(self, place: int) -> bytes:
        return self.names[self.name_starts[place] : self.name_starts[place + 1]].tobytes()


def _starts(parts: Sequence[Sized]) -> IntVector:
    """Where each part starts when all lie end to end, and where the last ends: int64[parts + 1]."""
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)


@dataclass(frozen=True)
class TokenTable:
    """Encoded dialogues, end to end, memory-mapped."""

    ids: NDArray[np.int32]  # int32[tokens]
    kinds: NDArray[np.uint8]  # uint8[tokens]: chatfed.model.tokenizer's kinds, | ASSISTANT
    starts: IntVector  # int64[dialogues + 1]
    bytes: IntVector  # int64[dialogues]: of the words of each that are measured, in UTF-8, white space not counted
    clients: Mapping[ClientId, IntVector]  # which dialogues are whose; empty where nobody is named
    near: NDArray[np.int32] | None = None  # int32[tokens, k]: what might have stood in each place, where that is known
    shares: NDArray[np.float16] | None = None  # float16[tokens, k]: the probability of each

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def tokens(self) -> int:
        """Of all dialogues together."""
        return len(self.ids)

    def owners(self, dialogues: IntVector) -> IntVector | None:
        """int64[dialogues]: whose each is, by number; None where nobody is named."""
        if not len(self.clients):
            return None
        whose = np.full(len(self), -1, np.int64)
        for number, mine in enumerate(self.clients.values()):
            whose[mine] = number
        return whose[dialogues]


def write_tokens(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    dialogues: Iterable[Sequence[Turn]],
    clients: Mapping[ClientId, IntVector] | None = None,
) -> TokenTable:
    """Encodes `dialogues` into `folder` (written whole or not at all) and opens the table. Raises DiskError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        starts, octets = [0], list[int]()
        with open(scratch / "ids.i32", "wb") as ids, open(scratch / "kinds.u8", "wb") as kinds:
            for turns, encoded in _encode(tokenizer, dialogues):
                ids.write(encoded.ids.tobytes())  # ndarray.tofile hides why a write failed
                kinds.write(_kinds_with_role(turns, encoded).tobytes())
                starts.append(starts[-1] + len(encoded.ids))
                octets.append(sum(len(word.encode()) for turn in turns if turn.learn for word in turn.content.split()))
        np.save(scratch / "starts.npy", np.array(starts, np.int64))
        np.save(scratch / "bytes.npy", np.array(octets, np.int64))
        (scratch / "clients").mkdir()
        Owned.write(scratch / "clients", clients or {})
        replace_folder(scratch, folder)
    except OSError as error:  # of a failed write, which names no file
        raise disk_error(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return open_tokens(folder)


def open_tokens(folder: Path) -> TokenTable:
    """The table in `folder`. Raises ChatfedError when it holds none."""
    try:
        starts = np.load(folder / "starts.npy", "r")
        return TokenTable(
            np.memmap(folder / "ids.i32", np.int32, "r") if starts[-1] else np.empty(0, np.int32),
            np.memmap(folder / "kinds.u8", np.uint8, "r") if starts[-1] else np.empty(0, np.uint8),
            starts,
            np.load(folder / "bytes.npy", "r"),
            Owned.open(folder / "clients"),
            *(np.load(folder / f"{name}.npy", "r") if (folder / f"{name}.npy").exists() else None for name in SOFT),
        )
    except (OSError, ValueError) as error:
        raise ChatfedError(
            f"{folder} holds no readable token table ({error}); delete it and start the run again.",
            param=str(folder),
        ) from None


def _encode(
    tokenizer: PreTrainedTokenizerFast, dialogues: Iterable[Sequence[Turn]]
) -> Iterable[tuple[Sequence[Turn], Encoded]]:
    kept: list[Sequence[Turn]] = []

    def passing() -> Iterable[Sequence[Turn]]:
        for turns in dialogues:
            kept.append(turns)
            yield turns

    for encoded in encode_dialogues(tokenizer, passing()):
        yield kept.pop(0), close_answer(tokenizer, encoded)


def _kinds_with_role(turns: Sequence[Turn], encoded: Encoded) -> NDArray[np.uint8]:
    """A turn that is not to be learned has markers only: context that is no target and is not measured."""
    spoken = np.array([turn.role == "assistant" for turn in turns] + [False])
    learned = np.array([turn.learn for turn in turns] + [True])
    places = np.clip(encoded.turns, 0, len(turns))
    kinds = np.where(learned[places], encoded.kinds, MARKER)
    return np.where(spoken[places], kinds | ASSISTANT, kinds).astype(np.uint8)


@dataclass(frozen=True)
class Windows:
    """Rows of one batch, padded on the right: a causal model needs no attention mask for that."""

    ids: NDArray[np.int64]  # int64[rows, T] inputs
    targets: NDArray[np.int64]  # int64[rows, T] the token after each input
    kinds: NDArray[np.uint8]  # uint8[rows, T] of the targets; padding is MARKER
    owner: IntVector  # int64[rows] position in the list of dialogues asked for
    places: NDArray[np.int64]  # int64[rows, T] of the targets in the table; of padding 0


def windows(table: TokenTable, dialogues: IntVector, context: int) -> Windows:
    """The dialogues cut into windows of at most `context` inputs; each token but the first is a target exactly once."""
    pieces: list[tuple[int, int, int]] = []
    for place, dialogue in enumerate(dialogues):
        start, stop = int(table.starts[dialogue]), int(table.starts[dialogue + 1])
        pieces += [(place, at, min(at + context + 1, stop)) for at in range(start, max(stop - 1, start + 1), context)]
    longest = max((stop - start for _, start, stop in pieces), default=1)
    ids = np.zeros((len(pieces), longest), np.int64)
    kinds = np.zeros((len(pieces), longest), np.uint8)
    for row, (_, start, stop) in enumerate(pieces):
        ids[row, : stop - start] = table.ids[start:stop]
        kinds[row, : stop - start] = table.kinds[start:stop]
    owner = np.array([place for place, _, _ in pieces], np.int64)
    at = np.array([start for _, start, _ in pieces], np.int64)[:, None] + np.arange(longest)
    stops = np.array([stop for _, _, stop in pieces], np.int64)[:, None]
    return Windows(ids[:, :-1], ids[:, 1:], kinds[:, 1:], owner, np.where(at < stops, at, 0)[:, 1:])


@dataclass(frozen=True)
class DialogueExamples:
    """Some dialogues of a table as examples for private training: one dialogue, one example, however many windows."""

    table: TokenTable
    dialogues: IntVector
    context: int
    train_on: str = "all"  # or "assistant"
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.dialogues)

    def rows(self, indices: IntVector) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The windows of the examples `indices`, as rows.

        Ids and targets int64[rows, T], weights float32[rows, T]; owner int64[rows]. Of a table with several possible
        tokens a place also those and their shares, [rows, T, k].

        A dialogue's weights sum to 1, over all its rows: its loss is its mean cross-entropy.
        """
        import torch

        batch = windows(self.table, self.dialogues[indices], self.context)
        counted = (batch.kinds & ~np.uint8(ASSISTANT)) != MARKER
        if self.train_on == "assistant":
            counted &= (batch.kinds & ASSISTANT) != 0
        totals = np.bincount(batch.owner, counted.sum(1), minlength=len(indices)).clip(min=1)
        weights = (counted / totals[batch.owner][:, None]).astype(np.float32)
        rows = {
            "ids": torch.from_numpy(batch.ids).to(self.device),
            "targets": torch.from_numpy(batch.targets).to(self.device),
            "weights": torch.from_numpy(weights).to(self.device),
        }
        if self.table.near is not None and self.table.shares is not None:
            rows["near"] = torch.from_numpy(self.table.near[batch.places].astype(np.int64)).to(self.device)
            rows["shares"] = torch.from_numpy(self.table.shares[batch.places].astype(np.float32)).to(self.device)
        return rows, torch.from_numpy(batch.owner)


def private_token_loss(model: torch.nn.Module, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """`next_token_loss` for private training, the output layer and the cross-entropy in one: float32[rows].

    Models whose logits are not made of their output layer's values alone go through `next_token_loss` itself.
    """
    from chatfed.privacy.clipping import output_layer_loss

    form = logit_form(model)
    if form is None:
        return next_token_loss(model, rows)
    untyped: Any = model
    used = rows["weights"].any(0).nonzero()
    length = int(used[-1]) + 1 if len(used) else 1
    ids, targets, weights = (rows[name][:, :length] for name in ("ids", "targets", "weights"))
    hidden = untyped.base_model(input_ids=ids, use_cache=False)[0]
    return output_layer_loss(hidden, untyped.get_output_embeddings(), targets, weights, form)


_FORMS: weakref.WeakKeyDictionary[torch.nn.Module, LogitForm | None] = weakref.WeakKeyDictionary()


def logit_form(model: torch.nn.Module) -> LogitForm | None:
    """How the model makes logits of its output layer's values; None where that is not all that it does.

    Tried once, on a few tokens.
    """
    if model not in _FORMS:
        _FORMS[model] = _tried_form(model)
    return _FORMS[model]


def _tried_form(model: Any) -> LogitForm | None:
    import torch
    from torch import nn

    from chatfed.privacy.clipping import LogitForm

    head, config = model.get_output_embeddings(), model.config
    if type(head) is not nn.Linear or head.bias is not None:
        return None
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    form = LogitForm(scale, float(getattr(config, "final_logit_softcapping", None) or 0.0))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            ids = torch.arange(5, device=head.weight.device)[None] % head.weight.shape[0]
            logits = model(input_ids=ids).logits.float()
            made = form.applied(head(model.base_model(input_ids=ids, use_cache=False)[0]).float())
    except (TypeError, ValueError, RuntimeError, AttributeError):  # a body that is asked in another way
        return None
    finally:
        model.train(training)
    return form if made.shape == logits.shape and torch.allclose(made, logits, rtol=1e-4, atol=1e-5) else None


def next_token_loss(model: torch.nn.Module, rows: Mapping[str, torch.Tensor], multiple: int = 1) -> torch.Tensor:
    """Weighted cross-entropy in nats of each row: float32[rows]. Rows are padded or cut to a multiple of `multiple`.

    Of the targets, or where a place has several possible tokens of their shares (Hinton et al. 2015, section 2), and of
    what is left as the share of all other tokens together: without it they would be taught to be impossible.
    """
    import torch.nn.functional as F

    used = rows["weights"].any(0).nonzero()
    length = int(used[-1]) + 1 if len(used) else 1  # what lies behind is padding: a causal model need not see it
    longer = -(-length // multiple) * multiple - rows["ids"].shape[1]  # below 0: F.pad cuts
    ids, targets, weights = (F.pad(rows[name], (0, longer)) for name in ("ids", "targets", "weights"))
    logits = model(input_ids=ids).logits
    if "near" in rows:
        near, shares = (F.pad(rows[name], (0, 0, 0, longer)) for name in ("near", "shares"))
        likely = F.log_softmax(logits.float(), -1)
        loss = -(likely.gather(2, near) * shares).sum(2)
        if near.shape[2] < likely.shape[2]:
            others = likely.scatter(2, near, float("-inf")).logsumexp(2)
            loss = loss - (1 - shares.sum(2)).clamp_min(0) * others
    else:
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view_as(weights)
    return (loss * weights).sum(1)
