"""Public names that a package loads when they are first asked for (PEP 562). Knows no package.

A room's face names everything that is public in it; whoever takes one name must not wait for what the others need.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def loading(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of `package`: a name in `homes` comes from the module that stands there, the first time.

    Keys are modules of the package, which can be had as well; values their public names, apart by spaces. Raises
    AttributeError for other names.

    >>> loading("chatfed.privacy", {"guarantee": "Noise Trust"})("Noise")
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

    return get
