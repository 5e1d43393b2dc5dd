"""The files that are published, each with where it comes from; and what of a run never is, with the reason.

Files are taken by their names, never all that lie in a folder: what nobody thought of stays at home.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chatfed.model.checkpoint import holds_adapters, weights_file
from chatfed.model.to_gguf import same_weights, write_as_gguf

from . import registry, sp800_226
from .card import card
from .facts import Facts
from .model_files import ADAPTERS, refuse_link
from .refusals import PublishError
from .space import space_files

NOT_PUBLISHED = {
    "state": "seeds, keys, ledgers and held-out dialogues",
    "audit": "parts of an audit, as it went on",
    "canaries": "what was planted to audit the run, by dialogue",
    "ceiling": "a model that was trained on the dialogues without privacy",
    "without-noise": "a model that was trained on the dialogues without noise",
    "reference": "the public base; it has a home of its own",
    "counted": "the model between the count and the first round",
    "counted.json": "figures of the count",
    "recipe.toml": "paths of this machine",
    "metrics.jsonl": "figures of every round on held-out dialogues, which the guarantee does not cover",
    "summary.json": "figures of models without privacy, beside those that the card shows",
    "report.html": "the same figures, as a page",
    "quiz.json": "answers of models without privacy",
}
UNKNOWN = "nothing says that it is fit to be published"


@dataclass(frozen=True)
class Piece:
    """One file to publish."""

    name: str  # with / for folders
    says: str  # what it is, for the list
    write: Callable[[Path], object]


def pieces(facts: Facts, gguf: str, wheel: Path | None) -> list[Piece]:
    """All files, in the order of the list. gguf: f32, f16, bf16 or none."""
    return [
        _text("README.md", "the model card", card(facts, gguf)),
        *_model(facts),
        *_claim(facts),
        *_audit(facts),
        _text("nist-sp-800-226.md", "the guarantee by the points of NIST SP 800-226", sp800_226.page(facts)),
        *_registry(facts),
        *_gguf(facts, gguf),
        *(_text(f"space/{name}", says, text) for name, says, text in space_files(facts, wheel)),
        *_wheel(wheel),
    ]


def left_at_home(facts: Facts) -> Iterator[tuple[str, str]]:
    """What lies in the run's folder and is not published, with the reason."""
    taken = {"model", "privacy.json", "audit.json", "audit.html", "audit.sig"}
    if facts.folder == facts.run.model.resolve():
        return  # a model folder alone, or one that was published
    for path in sorted(facts.folder.iterdir()):
        if path.name not in taken and not path.name.startswith("."):
            yield path.name + ("/" if path.is_dir() else ""), NOT_PUBLISHED.get(path.name, UNKNOWN)


def _text(name: str, says: str, text: str) -> Piece:
    return Piece(name, says, lambda path: path.write_text(text, encoding="utf-8"))


def _copy(name: str, says: str, source: Path) -> Piece:
    refuse_link(source)
    return Piece(name, says, lambda path: shutil.copyfile(refuse_link(source), path))


def _bytes(name: str, says: str, content: bytes) -> Piece:
    return Piece(name, says, lambda path: path.write_bytes(content))


def _model(facts: Facts) -> Iterator[Piece]:
    model = facts.run.model
    weights = weights_file(model)
    if not weights.is_file():
        raise PublishError(f"There is no {weights}; save the model as one safetensors file.", param=str(weights))
    yield _copy(weights.name, "the weights", weights)
    for name, content in facts.files.items():
        yield _bytes(name, "what the adapters belong to" if name == ADAPTERS else "of the model", content)


def _claim(facts: Facts) -> Iterator[Piece]:
    if facts.run.privacy is not None:
        says = "the guarantee" if facts.claim else "what was trained, and that nothing is claimed"
        yield _copy("privacy.json", says, facts.folder / "privacy.json")


def _audit(facts: Facts) -> Iterator[Piece]:
    for name, content in (facts.audit.files if facts.audit else {}).items():
        yield _bytes(name, "what attackers got", content)


def _registry(facts: Facts) -> Iterator[Piece]:
    if facts.claim is not None:
        name = f"{facts.slug.replace('-', '_')}.yaml"
        yield _text(f"registry/{name}", "an entry for the registry of deployments", registry.entry(facts))


def _gguf(facts: Facts, kind: str) -> Iterator[Piece]:
    if kind == "none" or holds_adapters(facts.run.model):
        return
    model, name = facts.run.model, f"{facts.slug}-{kind.upper()}.gguf"

    def write(path: Path) -> None:
        write_as_gguf(model, path, kind, gguf_fields(facts))
        if kind == "f32" and not same_weights(model, path):
            raise PublishError(f"{name} does not hold the model's weights; leave it out with --gguf none.", param=name)

    yield Piece(name, "the same model for llama.cpp", write)


def gguf_fields(facts: Facts) -> dict[str, str]:
    """What the GGUF file says of itself: that the guarantee goes where the weights go."""
    fields = {"general.name": facts.name, "general.description": sp800_226.sentence(facts)}
    return fields | ({"general.license": facts.asked.license} if facts.asked.license else {})


def _wheel(wheel: Path | None) -> Iterator[Piece]:
    if wheel is not None:
        yield _copy(f"space/{wheel.name}", "chatfed itself", wheel)
