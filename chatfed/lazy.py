"""Public names that a package loads when they are first asked for (PEP 562). Knows no package.

A room's face names everything that is public in it; whoever takes one name must not wait for what the others need.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def loading(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of `package`: a name in `homes` comes from its module, the first time.

    Keys are modules of the package, which can be had as well; values their public names, apart by spaces. Other names
    raise AttributeError. What has not been loaded yet is listed all the same, for whoever completes names.

    >>> get, names = loading("chatfed.privacy", {"guarantee": "Noise Trust"})
    >>> get("Noise")
    <enum 'Noise'>
    """
    module_of = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if name in homes:
            return import_module(f"{package}.{name}")
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, found)
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, *module_of})

    return get, names
