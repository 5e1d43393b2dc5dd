"""What is known of a run that is to be published, and what forbids it. Knows the files of a run folder, no format."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatfed.audit.figures import finite
from chatfed.audit.tiers import NONE
from chatfed.model.adapters import base_of
from chatfed.model.bases import is_named, named_base
from chatfed.model.checkpoint import holds_adapters, weights_file

from ..audit_beside import AuditBeside, read_audit
from ..run_folder import RunFolder, facts_folder, read_run_folder
from ..theme import strength_of
from .model_files import read_model_files, refuse_link
from .refusals import PublishError

FACTS_FILES = ("privacy.json", "audit.json", "audit.html", "audit.sig")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Asked:
    """What a person says of the model that no file knows."""

    name: str = ""  # a title; empty: the run folder's name
    license: str = ""  # as hubs abbreviate it; empty: none was chosen
    languages: tuple[str, ...] = ()  # ISO 639
    base_model: str = ""  # owner/name on a hub
    repo: str = ""  # owner/name, where the folder will be uploaded
    curators: tuple[str, ...] = ()  # who publishes
    without_guarantee: bool = False
    without_evaluation: bool = False


@dataclass(frozen=True)
class Facts:
    """A run and what is said of it."""

    run: RunFolder
    asked: Asked
    name: str
    base_model: str
    claim: Mapping[str, Any] | None  # privacy.json, where it holds a guarantee
    why_none: str  # why there is none; empty where there is one
    audit: AuditBeside | None
    files: Mapping[str, bytes]  # what is published of the model beside its weights
    federation: bool | None  # whether members on machines of their own took part; None: nothing says
    languages: tuple[str, ...]  # of the dialogues, ISO 639; empty: nobody said
    generated: bool  # whether the dialogues are made up, by the help desk's generator
    date: str  # of today, ISO 8601

    @property
    def folder(self) -> Path:
        """Where privacy.json and the audit lie: the run's folder."""
        return facts_folder(self.run.model)

    @property
    def slug(self) -> str:
        """The name in small letters, digits and lines."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "model"


def gather(run_folder: Path, asked: Asked) -> Facts:
    """Reads a run. Raises PublishError for what must not be published, and RunFolderError for what cannot be read."""
    run = read_run_folder(run_folder)
    folder = facts_folder(run.model)
    for path in (weights_file(run.model), *(folder / name for name in FACTS_FILES)):
        refuse_link(path)
    why_none = _why_no_guarantee(run)
    if why_none and not asked.without_guarantee:
        raise PublishError(
            f"{run_folder} has no guarantee to publish: {why_none}. Restore the files that belong together, or publish "
            "it as a model without one: --without-guarantee",
            param=str(run_folder),
        )
    _refuse_names(asked)
    recipe = _recipe(folder)
    generated = recipe.get("data", {}).get("source") == "helpdesk"
    claim = None if why_none else run.privacy
    _refuse_smaller(claim, run)
    audit = read_audit(folder, run.privacy)
    if audit is not None and audit.fault:
        raise PublishError(
            f"The audit in {folder} is not of this model: {audit.fault}. Audit again, or move audit.json, audit.html "
            "and audit.sig away.",
            param=str(folder / "audit.json"),
        )
    base = _base_model(run.model, recipe, asked)
    return Facts(
        run=run,
        asked=asked,
        name=" ".join((asked.name or folder.name).split()),
        base_model=base,
        claim=claim,
        why_none=why_none,
        audit=audit,
        files=read_model_files(run.model, base),
        federation=_federation(folder),
        languages=asked.languages or (("en",) if generated else ()),
        generated=generated,
        date=datetime.now(UTC).date().isoformat(),
    )


def refuse_others(published: Path, facts: Facts) -> None:
    """Raises PublishError where what was written is not of the weights, or not the claim, that `facts` are of.

    The last thing before a folder is put in its place: files may have been changed while it was written.
    """
    again = read_run_folder(published)
    if again.privacy != facts.run.privacy or again.no_claim:
        raise PublishError(
            f"{facts.folder} changed while it was published: {again.no_claim or 'privacy.json says something else'}. "
            "Publish again when nothing works on it.",
            param=str(facts.folder),
        )


def _why_no_guarantee(run: RunFolder) -> str:
    if run.no_claim:
        return run.no_claim
    if run.privacy is None:
        return "there is no privacy.json beside its model"
    if run.privacy.get("noise") == "none" or run.privacy.get("epsilon") is None:
        return "it was trained without noise"
    return "its epsilon and delta bound nothing" if strength_of(run.privacy) == NONE else ""


def _refuse_smaller(claim: Mapping[str, Any] | None, run: RunFolder) -> None:
    """Raises PublishError where the claim is smaller than what else the run left says was spent."""
    if claim is None:
        return
    for where, name, recorded in _recorded(claim, run):
        said, most = finite(claim.get(name)), finite(recorded)
        if said is None or most is None or said < most:
            raise PublishError(
                f"privacy.json says {name} {said}, but {where} says {most}: a guarantee is not published below what "
                "was recorded. Restore privacy.json.",
                param="privacy.json",
            )


def _recorded(claim: Mapping[str, Any], run: RunFolder) -> Iterator[tuple[str, str, object]]:
    """(where, epsilon or delta, value), from each place that has one."""
    for name in ("epsilon", "delta"):
        if run.summary is not None and name in run.summary:
            yield "summary.json", name, run.summary[name]
    if run.metrics and "epsilon_max" in run.metrics[-1]:
        yield "the last round in metrics.jsonl", "epsilon", run.metrics[-1]["epsilon_max"]
    rounds = claim.get("per_round")
    if isinstance(rounds, list) and rounds:
        yield "its own last round (per_round)", "epsilon", rounds[-1]


def _refuse_names(asked: Asked) -> None:
    for option, name in (("--repo", asked.repo), ("--base-model", asked.base_model)):
        if name and not HUB_NAME.fullmatch(name):
            raise PublishError(f"{option} is {name!r}; give owner/name, as on a hub.", param=option)
    for language in asked.languages:
        if not re.fullmatch(r"[a-z]{2,3}", language):
            raise PublishError(f"--language is {language!r}; give a code of ISO 639, such as en.", param="--language")
    if asked.license and not re.fullmatch(r"[a-z0-9.+-]+", asked.license):
        raise PublishError(f"--license is {asked.license!r}; give a short name, such as apache-2.0.", param="--license")


def _base_model(model: Path, recipe: Mapping[str, Any], asked: Asked) -> str:
    """The base's name on a hub, empty for a model that was made from nothing. Raises PublishError where it is unknown.

    A folder's path is no name for others, and says what this machine looks like; a relative one looks like a hub's.
    """
    if holds_adapters(model) and recipe.get("ngrams", {}).get("longest"):
        raise PublishError(
            f"{model} holds adapters for a base that learned from counts first, which nobody else has: on the public "
            "base they are another model. Publish adapters of a recipe that counts nothing (ngrams.longest = 0).",
            param=str(model),
        )
    named = base_of(model) if holds_adapters(model) else str(recipe.get("model", {}).get("base", ""))
    if asked.base_model or not named:
        return asked.base_model
    if is_named(named):
        return _on_the_hub(named)
    raise PublishError(
        f"The run began with the base {named}, which has no name on a hub that is known here: say it with --base-model "
        "owner/name",
        param="--base-model",
    )


def _on_the_hub(name: str) -> str:
    """A hub's name for one of our bases."""
    return {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}.get(name, named_base(name).package)


def _recipe(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a model folder alone has none
        return {}


def _federation(folder: Path) -> bool | None:
    try:
        return bool(json.loads((folder / "state" / "run.json").read_text(encoding="utf-8"))["apart"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
