"""`chatfed doctor`: what a machine has and lacks for training and serving, line by line, with the mend.

Looks and changes nothing, but for the settings that keep this process off the network.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

import chatfed
from chatfed.command_line import STOPPED, application, examples

from .workers import processors

EPILOG = examples(
    ("chatfed doctor", ""),
    ("chatfed doctor --out runs/mine --cache cache", "are there room and rights where a run would write?"),
)
OLDEST = (3, 11)  # of Python
SHOWN = ("torch", "transformers", "gradio", "cryptography")  # the others are named where they do not fit
LEAST_MEMORY = 2 << 30  # bytes: the processes of the quick run take that much together
LEAST_DISK = 1 << 30  # bytes: corpus, base model and run folder of the default run take a quarter of it

app = application()


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `mend` says what to do where it will not work, and is empty where it will."""

    about: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{'NO' if self.mend else 'OK'}  {self.about}: {self.found}" + (f"; {self.mend}" if self.mend else "")


@app.command(epilog=EPILOG)
def doctor(
    out: Annotated[Path, typer.Option(help="Where runs would be written.")] = Path("runs"),
    cache: Annotated[Path, typer.Option(help="Where generated corpora and base models would be kept.")] = Path("cache"),
) -> None:
    """Says what this machine has and lacks for all this.

    Versions, threads, memory, disk, network use. Leaves with 0 when all will work, with 1 otherwise: the line says
    what to do.
    """
    wrong = 0
    for finding in examine(out, cache):
        print(finding, flush=True)
        wrong += bool(finding.mend)
    raise typer.Exit(STOPPED if wrong else 0)


def examine(out: Path, cache: Path) -> Iterator[Finding]:
    """Everything that training and serving rest on. out, cache: where they would write."""
    yield python()
    yield Finding("chatfed", f"{chatfed.__version__}, in {Path(chatfed.__file__).parent}")
    fitting = True
    for package in packages():
        fitting &= not package.mend
        yield package
    yield cores()
    yield memory()
    yield room("runs", out)
    yield room("cache", cache)
    if fitting:  # what follows imports them
        yield arithmetic()
        yield accelerator()
        yield ciphers()
        yield network()


def python() -> Finding:
    """The interpreter, and that it is new enough."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    oldest = ".".join(map(str, OLDEST))
    return Finding("Python", found, "" if sys.version_info >= OLDEST else f"install Python {oldest} or newer")


def packages() -> Iterator[Finding]:
    """The packages that chatfed asks for, in versions that it takes; of those that fit, the large ones only."""
    from packaging.requirements import Requirement

    for line in _asked_for():
        asked = Requirement(line)
        if asked.marker and not asked.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(asked.name)
        except metadata.PackageNotFoundError:
            yield Finding(asked.name, "not installed", f"pip install '{line}'")
            continue
        if not asked.specifier.contains(found, prereleases=True):
            yield Finding(asked.name, found, f"{asked.specifier} is needed: pip install '{line}'")
        elif asked.name in SHOWN:
            yield Finding(asked.name, found)


def _asked_for() -> list[str]:
    """Of a checkout the pyproject.toml beside it, which may be newer than what was installed from it."""
    try:
        beside = (Path(chatfed.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return metadata.requires("chatfed") or []
    asked: list[str] = tomllib.loads(beside)["project"]["dependencies"]
    return asked


def cores() -> Finding:
    """Processors that this process may use, and whether a setting of the environment takes threads away."""
    usable = processors()
    threads = os.environ.get("OMP_NUM_THREADS")
    said = f"; OMP_NUM_THREADS={threads} is set, and the page follows it" if threads else ""
    few = "" if usable > 1 else ", so that everything takes about twice as long"
    return Finding("processors", f"{usable}{few}; a run's workers take one thread each{said}")


def memory() -> Finding:
    """Bytes that can be had without swapping, as Linux tells."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return Finding("memory", "this system does not tell")
    mend = (
        ""
        if free >= LEAST_MEMORY
        else f"end other programs, or take --set runtime.workers=1: {_gib(LEAST_MEMORY)} is needed"
    )
    return Finding("memory", f"{_gib(free)} free", mend)


def room(name: str, folder: Path) -> Finding:
    """Room and rights in a folder that is there, or would be made."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{_gib(free)} free in {there}"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(name, found, "nothing can be written there: name another folder with --out or --cache")
    return Finding(name, found, "" if free >= LEAST_DISK else f"free some space: {_gib(LEAST_DISK)} is needed")


def arithmetic() -> Finding:
    """What `pretrain.precision = "auto"` takes here."""
    from .base.pretrain import precision_here

    return Finding("pre-training", f"in {precision_here('auto')}")


def accelerator() -> Finding:
    """Whether torch finds a CUDA device; nothing needs one."""
    import torch

    if not torch.cuda.is_available():
        return Finding("CUDA", "no device; clients learn on the processor (runtime.device)")
    return Finding(
        "CUDA", f"{torch.cuda.get_device_name()}; clients learn on the processor unless runtime.device says so"
    )


def ciphers() -> Finding:
    """How fast masks are made: AES-256 key stream, by the path that a round would take."""
    from chatfed.secagg import primitives

    zeros, out = bytes(1 << 20), bytearray((1 << 20) + 15)
    stream, best = primitives.key_stream(bytes(primitives.KEY_BYTES)), float("inf")
    for _ in range(8):
        started = time.perf_counter()
        stream(zeros, out)
        best = min(best, time.perf_counter() - started)
    return Finding("masks", f"AES-256 at {len(zeros) / best / 1e9:.1f} GB/s, {primitives.library()}")


def network() -> Finding:
    """That hub, data sets and telemetry stay off, as they are set for a run that names nothing on a hub."""
    from chatfed.model.transformer import OFFLINE, stay_offline

    stay_offline()
    on = [
        f"{name}={os.environ[name]}" for name in OFFLINE if os.environ[name].lower() not in ("1", "on", "yes", "true")
    ]
    if on:
        return Finding("network", f"{', '.join(on)} is set, so that the hub may be asked in any run", "unset that")
    return Finding(
        "network", "hub and telemetry are off unless you name something on the hub; the page's analytics too"
    )


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
