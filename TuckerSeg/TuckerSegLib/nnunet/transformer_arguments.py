"""The arguments that plans give to one of nnU-Net's transformers, known by name and checked before anything is built.

Primus (Wald et al. 2025, arXiv:2503.01835) embeds cells of voxels as tokens, runs them through blocks of attention, and
decodes each token to its cell. Its tokens have fixed places, so it takes patches of one shape alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import UnsupportedModelError
from ..printable import shown
from .fields import flag, number, whole_number, whole_numbers, wrong

ARGUMENTS_PLACE = "plans.json: arch_kwargs"
MOST_CHANNELS = 8192
MOST_BLOCKS = 128
MOST_HEADS = 256  # of attention
MOST_REGISTERS = 256
MOST_TOKENS = 2**16  # eight times those of a patch of 160 voxels
LARGEST_CELL = 32
DEEPER_CELL = 8  # of the embedding by convolutions of PrimusV2, three of which halve the patch

Check = Callable[[object, str], object]


def _rate(value: object, place: str) -> None:
    number(value, place, 0, 1)


def _initial_scale(value: object, place: str) -> None:
    if value is not None:
        number(value, place, -1000, 1000)


def _within(least: int, most: int) -> Check:
    return lambda value, place: whole_number(value, place, least, most)


_OPTIONS: dict[str, Check] = {
    "num_register_tokens": _within(0, MOST_REGISTERS),
    "use_rot_pos_emb": flag,
    "use_abs_pos_embed": flag,
    "mlp_ratio": lambda value, place: number(value, place, 0.1, 64),
    "drop_path_rate": _rate,
    "patch_drop_rate": _rate,
    "proj_drop_rate": _rate,
    "attn_drop_rate": _rate,
    "init_values": _initial_scale,
    "scale_attn_inner": flag,
}
_SIZES: dict[str, Check] = {
    "embed_dim": _within(1, MOST_CHANNELS),
    "eva_depth": _within(1, MOST_BLOCKS),
    "eva_numheads": _within(1, MOST_HEADS),
}
_SHAPES = ("patch_embed_size", "input_shape")
_LEVELS = ("depth_per_level", "ch_per_level", "add_skips")  # of the embedding of PrimusV3


def check_transformer(name: str, arguments: Mapping[str, Any], patch_shape: Sequence[int]) -> None:
    """Check the arguments of a transformer, without importing or building anything.

    Args:
        name: The class's own, as ``Primus``.
        arguments: As plans give them.
        patch_shape: (Z, Y, X) that it must take; empty where that is not known.

    Raises:
        UnsupportedModelError: An argument that is not known.
        ModelFolderError: An argument is missing, of a wrong type or out of its range.
    """
    if name == "UNETR":
        from .unetr_arguments import check_unetr

        check_unetr(arguments, patch_shape)
        return
    check_names(name, arguments, (*_SIZES, *_SHAPES), (*_OPTIONS, *(_LEVELS if name == "PrimusV3" else ())))
    for argument, check in (_SIZES | _OPTIONS).items():
        if argument in arguments:
            value, place = arguments[argument], f"{ARGUMENTS_PLACE}.{argument}"
            if argument in _SIZES and isinstance(value, float):  # networks do not take 3.0 either
                raise wrong(place, "a whole number", value)
            check(value, place)
    _check_width(arguments)
    _check_cells(name, arguments, patch_shape)


def _check_width(arguments: Mapping[str, Any]) -> None:
    """Raises ModelFolderError unless every head gets the same channels, which rotation takes by sixes."""
    width, heads = arguments["embed_dim"], arguments["eva_numheads"]
    multiple = heads * (6 if arguments.get("use_rot_pos_emb", True) else 1)
    if width % multiple:
        raise wrong(f"{ARGUMENTS_PLACE}.embed_dim", f"a multiple of {multiple}, for {heads} heads", width)


def _check_cells(name: str, arguments: Mapping[str, Any], patch_shape: Sequence[int]) -> None:
    """Raises ModelFolderError unless the patch is made of whole cells, of a size that the network's ends have."""
    place = f"{ARGUMENTS_PLACE}.patch_embed_size"
    cell = whole_numbers(arguments["patch_embed_size"], place, (3,), 2, LARGEST_CELL)
    if any(size & (size - 1) for size in cell):
        raise wrong(place, "three powers of two", cell)
    if name != "Primus":
        size = _check_levels(arguments) if name == "PrimusV3" else DEEPER_CELL
        if set(cell) != {size}:
            raise wrong(place, f"{size} along each axis, as this network's embedding has it", cell)
    check_whole_cells(arguments["input_shape"], cell, patch_shape)


def check_names(name: str, arguments: Mapping[str, Any], required: Sequence[str], optional: Sequence[str]) -> None:
    """Raise ModelFolderError where a network's argument is missing, UnsupportedModelError where one is unknown."""
    if missing := [argument for argument in required if argument not in arguments]:
        raise wrong(ARGUMENTS_PLACE, f"an object with {', '.join(missing)}", sorted(arguments))
    known = (*required, *optional)
    if unknown := [argument for argument in arguments if argument not in known]:
        raise UnsupportedModelError(
            f"{ARGUMENTS_PLACE}: {shown(unknown[0])} is no argument of {name}; it takes {', '.join(known)}."
        )


def check_whole_cells(value: object, cell: Sequence[int], patch_shape: Sequence[int]) -> tuple[int, ...]:
    """The shape (Z, Y, X) of the patches that a transformer takes.

    Args:
        value: As plans give it.
        cell: Voxels (Z, Y, X) of a token.
        patch_shape: That it must be; empty where that is not known.

    Raises:
        ModelFolderError: It is another one, or not made of whole cells, or of too many.
    """
    place = f"{ARGUMENTS_PLACE}.input_shape"
    shape = whole_numbers(value, place, (3,), 1, 2**20)
    if patch_shape and shape != tuple(patch_shape):
        raise wrong(place, f"plans.json's patch_size, {tuple(patch_shape)}", shape)
    if any(length % size for length, size in zip(shape, cell)):
        raise wrong(place, f"multiples of {cell}, the voxels of a token", shape)
    tokens = math.prod(length // size for length, size in zip(shape, cell))
    if tokens > MOST_TOKENS:
        raise wrong(place, f"a patch of at most {MOST_TOKENS} tokens of {cell} voxels", shape)
    return shape


def _check_levels(arguments: Mapping[str, Any]) -> int:
    """The voxels of a cell by the levels of the embedding of PrimusV3; raises ModelFolderError where they are wrong."""
    levels = range(1, int(math.log2(LARGEST_CELL)) + 1)
    depths, widths = arguments.get("depth_per_level", (1, 1, 1)), arguments.get("ch_per_level", (32, 64, 256, 1024))
    depths = whole_numbers(depths, f"{ARGUMENTS_PLACE}.depth_per_level", levels, 1, MOST_BLOCKS)
    whole_numbers(widths, f"{ARGUMENTS_PLACE}.ch_per_level", (len(depths) + 1,), 1, MOST_CHANNELS)
    if "add_skips" in arguments:
        flag(arguments["add_skips"], f"{ARGUMENTS_PLACE}.add_skips")
    return 2 ** len(depths)
