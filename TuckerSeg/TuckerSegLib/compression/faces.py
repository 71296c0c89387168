"""The face of a package: names that it gives, each imported from its module on first use.

So the command line has a method's options without torch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def face(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package, which finds a name where it is at home, and keeps it.

    Args:
        package: Its ``__name__``.
        home: Name to the module of the package that has it.

    Example:
        >>> __getattr__ = face(__name__, {"Spec": "spec", "apply": "method"})
    """

    def find(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{home[name]}", package), name)
        setattr(sys.modules[package], name, value)  # the next time it is found without asking
        return value

    return find
