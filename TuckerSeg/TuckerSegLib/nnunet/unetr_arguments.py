"""The arguments that plans give to UNETR with tokens of 8 voxels, checked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .fields import number, whole_number, whole_numbers, wrong
from .transformer_arguments import (
    ARGUMENTS_PLACE,
    MOST_BLOCKS,
    MOST_CHANNELS,
    MOST_HEADS,
    check_names,
    check_whole_cells,
)

CELL = 8  # voxels of a token along each axis; the decoder goes from it to single ones
LEVELS = 4  # of the decoder below a patch, each of half the resolution
CHANNEL_SHARES = 6  # sine and cosine of three axes
_SIZES = {"embed_dim": MOST_CHANNELS, "depth": MOST_BLOCKS, "num_heads": MOST_HEADS, "feature_size": MOST_CHANNELS}
_DEFAULTS = {"embed_dim": 768, "depth": 12, "num_heads": 12}
_OPTIONAL = (*_SIZES, "patch_embed_size", "keep_ratio", "token_blocks", "drop_path_rate")


def check_unetr(arguments: Mapping[str, Any], patch_shape: Sequence[int]) -> None:
    """Check the arguments of UNETR, without importing or building anything.

    Args:
        arguments: As plans give them.
        patch_shape: (Z, Y, X) that it must take; empty where that is not known.

    Raises:
        UnsupportedModelError: An argument that is not known.
        ModelFolderError: An argument is missing, of a wrong type or out of its range.
    """
    check_names("UNETR", arguments, ("input_shape",), _OPTIONAL)
    for name, most in _SIZES.items():
        if name in arguments:
            place = f"{ARGUMENTS_PLACE}.{name}"
            if isinstance(arguments[name], float):  # networks do not take 3.0 either
                raise wrong(place, "a whole number", arguments[name])
            whole_number(arguments[name], place, 1, most)
    if "drop_path_rate" in arguments:
        number(arguments["drop_path_rate"], f"{ARGUMENTS_PLACE}.drop_path_rate", 0, 1)
    width, depth, heads = (arguments.get(name, default) for name, default in _DEFAULTS.items())
    if width % heads:
        raise wrong(f"{ARGUMENTS_PLACE}.embed_dim", f"a multiple of {heads}, its heads", width)
    cell = whole_numbers(
        arguments.get("patch_embed_size", [CELL] * 3), f"{ARGUMENTS_PLACE}.patch_embed_size", (3,), CELL, CELL
    )
    shape = check_whole_cells(arguments["input_shape"], cell, patch_shape)
    if any(side % 2**LEVELS for side in shape):
        raise wrong(f"{ARGUMENTS_PLACE}.input_shape", f"multiples of {2**LEVELS}", shape)
    _check_sparsification(arguments, width, depth)


def _check_sparsification(arguments: Mapping[str, Any], width: int, depth: int) -> None:
    """Raises ModelFolderError where tokens cannot be left out as it is asked for."""
    blocks, place = arguments.get("token_blocks"), f"{ARGUMENTS_PLACE}.token_blocks"
    if arguments.get("keep_ratio") is None:
        if blocks is not None:
            raise wrong(place, "a keep_ratio beside it", blocks)
        return
    number(arguments["keep_ratio"], f"{ARGUMENTS_PLACE}.keep_ratio", 0.01, 1)
    if width % CHANNEL_SHARES:
        raise wrong(f"{ARGUMENTS_PLACE}.embed_dim", f"a multiple of {CHANNEL_SHARES}, for the places' waves", width)
    if depth < 4 and blocks is None:
        raise wrong(f"{ARGUMENTS_PLACE}.depth", "at least 4 blocks, or token_blocks", depth)
    if blocks is not None:
        named = whole_numbers(blocks, place, range(1, depth), 0, depth - 2)
        if sorted(set(named)) != list(named):
            raise wrong(place, "numbers that rise", named)
