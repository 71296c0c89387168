"""nnU-Net's post-processing of a data set, ``postprocessing.pkl`` or ``.json``: of which labels the largest blob stays.

A pickle is a program, so it is never run: its instructions are read one by one by the few rules below, which make
numbers, texts, lists, tuples and dictionaries of them and know the name of one function, that is not called either. Any
other instruction is refused by its name.
"""

from __future__ import annotations

import os
import pickletools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelFolderError
from ..printable import shown
from ..records.cleaning import LargestComponentRule
from ..text_files import parse_object

FILE_NAMES = ("postprocessing.pkl", "postprocessing.json")
MOST_BYTES, MOST_INSTRUCTIONS, MOST_VALUES = 1 << 20, 50_000, 100_000
LARGEST_VALUE = 65_535  # of a label
FUNCTION = "remove_all_but_largest_component_from_segmentation"
MODULE = "nnunetv2.postprocessing.remove_connected_components"
LABELS, BACKGROUND = "labels_or_regions", "background_label"
EXPECTED = "nnU-Net's postprocessing.pkl or postprocessing.json, or the folder of one"
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NUMBERS = ("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1")
_TEXTS = ("BINUNICODE", "SHORT_BINUNICODE", "UNICODE")
_NOTHING = ("PROTO", "FRAME")
_MARK = object()


class _Function:
    """Stands for the one function that a file may name."""


def read_postprocessing(path: str | os.PathLike) -> tuple[LargestComponentRule, ...]:
    """Read the rules of a file or of the folder that holds it, in the order in which they are applied.

    Raises:
        ModelFolderError: No such file, one that is too large, or anything in it that nnU-Net does not write there.
    """
    path = Path(path).expanduser()
    if os.path.isdir(path):
        present = [path / name for name in FILE_NAMES if os.path.isfile(path / name)]
        if not present:
            raise ModelFolderError(f"{path}: neither {' nor '.join(FILE_NAMES)} is there. Expected {EXPECTED}.")
        path = present[0]
    if not os.path.isfile(path):
        raise ModelFolderError(f"{path}: no such file. Expected {EXPECTED}.")
    try:
        with open(path, "rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be read ({error}). Expected {EXPECTED}.") from error
    if len(content) > MOST_BYTES:
        raise ModelFolderError(f"{path} should have at most {MOST_BYTES // 1024} KiB; it has more.")
    functions, arguments = _of_json(content, path) if content.lstrip()[:1] == b"{" else _of_pickle(content, path)
    if not isinstance(functions, list) or not isinstance(arguments, list) or len(functions) != len(arguments):
        raise _wrong(path, "two lists of one length, functions and their arguments", (functions, arguments))
    if unknown := [each for each in functions if each != FUNCTION and not isinstance(each, _Function)]:
        raise _wrong(path, f"a function that is {FUNCTION}", unknown[0])
    return tuple(_rule(each, path) for each in arguments)


def _of_json(content: bytes, path: Path) -> tuple[Any, Any]:
    document = parse_object(content, str(path), ModelFolderError)
    return document.get("postprocessing_fns"), document.get("postprocessing_kwargs")


def _of_pickle(content: bytes, path: Path) -> tuple[Any, Any]:
    result = _Instructions(path).result(content)
    if not isinstance(result, tuple) or len(result) != 2:
        raise _wrong(path, "a pair of functions and their arguments", result)
    return result


class _Instructions:
    """Goes through the instructions of a pickle by a stack, as a reader of them would, and calls nothing."""

    def __init__(self, path: Path):
        self._path = path
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self, content: bytes) -> Any:
        try:
            for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
                if number >= MOST_INSTRUCTIONS:
                    raise ModelFolderError(
                        f"{self._path}: a pickle of at most {MOST_INSTRUCTIONS} instructions is read."
                    )
                if operation.name == "STOP":
                    return self._stack.pop()
                self._do(operation.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ModelFolderError(
                f"{self._path} is no pickle of lists and numbers ({shown(error)}). Expected {EXPECTED}."
            ) from error
        raise ModelFolderError(f"{self._path} ends in the middle. Expected {EXPECTED}.")

    def _do(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _NUMBERS or name in _TEXTS:
            stack.append(argument)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name in _TUPLES:
            count = _TUPLES[name]
            items = [stack.pop() for _ in range(count)][::-1]
            stack.append(tuple(items))
        elif name in ("LIST", "TUPLE", "DICT"):
            items = self._since_mark()
            stack.append({"LIST": list, "TUPLE": tuple, "DICT": _pairs}[name](items))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._since_mark()
            _of_type(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self._since_mark()
            _of_type(stack[-1], dict).update(_pairs(items))
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[len(self._memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memo[int(argument)])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            function = argument.split(" ", 1) if name == "GLOBAL" else [stack.pop(), stack.pop()][::-1]
            if function != [MODULE, FUNCTION]:
                raise _wrong(self._path, f"no name but {MODULE}.{FUNCTION}", ".".join(map(str, function)))
            stack.append(_Function())
        elif name not in _NOTHING:
            raise _wrong(self._path, "a pickle of lists, numbers and texts, which calls nothing", name)

    def _since_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]


def _of_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {kind.__name__} is expected")
    return value


def _pairs(items: Sequence[Any]) -> dict[str, Any]:
    """Keys and values, one after the other, as a dictionary; keys are texts."""
    keys = [_of_type(key, str) for key in items[::2]]
    return dict(zip(keys, items[1::2], strict=True))


def _rule(arguments: Any, path: Path) -> LargestComponentRule:
    if not isinstance(arguments, dict) or not {LABELS} <= set(arguments) <= {LABELS, BACKGROUND}:
        raise _wrong(path, f"arguments {LABELS} and {BACKGROUND}", arguments)
    values: set[int] = set()
    named = arguments[LABELS]
    count = 0
    for each in named if isinstance(named, (list, tuple)) else [named]:
        for value in each if isinstance(each, (list, tuple)) else [each]:
            count += 1
            if count > MOST_VALUES:
                raise _wrong(path, f"at most {MOST_VALUES} labels in a rule", count)
            values.add(_label(value, 1, path))
    if not values:
        raise _wrong(path, f"some labels in {LABELS}", named)
    return LargestComponentRule(tuple(sorted(values)), _label(arguments.get(BACKGROUND, 0), 0, path))


def _label(value: Any, least: int, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST_VALUE:
        raise _wrong(path, f"label values from {least} to {LARGEST_VALUE}", value)
    return value


def _wrong(path: Path, expected: str, value: object) -> ModelFolderError:
    return ModelFolderError(f"{path} should hold {expected}; found {shown(value)}.")
