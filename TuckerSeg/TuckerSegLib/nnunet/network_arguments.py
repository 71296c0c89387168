"""The arguments that plans give to a network: known by name, checked for type and size before anything is built.

Bounds are far above what nnU-Net's planners write; they keep a file from asking for more than any computer has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import UnsupportedModelError
from ..printable import shown
from .fields import flag, mapping, number, sequence, text, whole_number, whole_numbers, wrong
from .network_classes import COMPRESSED_NETWORKS, OPERATIONS, TRANSFORMERS, network_name, operation_name
from .transformer_arguments import ARGUMENTS_PLACE, MOST_CHANNELS, check_transformer

MOST_STAGES = 12
MOST_LAYERS = 64  # of one stage
LARGEST_KERNEL = 31
LARGEST_STRIDE = 8
MOST_RECIPES = 16
MOST_HEADS = 64
ROLES = ("conv_op", "norm_op", "dropout_op", "nonlin", "block")
SIZES = (
    "n_stages", "features_per_stage", "n_conv_per_stage", "n_blocks_per_stage", "n_conv_per_stage_decoder",
    "kernel_sizes", "strides", "bottleneck_channels", "stem_channels",
)  # fmt: skip
COMPRESSED_ARGUMENTS = ("network_class", "recipes", "unused_heads")

Check = Callable[[object, str], object]


def _flag_or_none(value: object, place: str) -> None:
    if value is not None:
        flag(value, place)


def _fraction(value: object, place: str) -> None:
    number(value, place, 0, 1)


def _momentum(value: object, place: str) -> None:
    if value is not None:
        number(value, place, 0, 1)


def _parameter(value: object, place: str) -> None:
    number(value, place, -1000, 1000)


def _one(value: object, place: str) -> None:
    whole_number(value, place, 1, 1)


def _approximation(value: object, place: str) -> None:
    if value not in ("none", "tanh"):
        raise wrong(place, "'none' or 'tanh'", value)


_IN_PLACE = {"inplace": flag}
_NORM = {"eps": _fraction, "momentum": _momentum, "affine": flag, "track_running_stats": flag}
_DROPOUT = {"p": _fraction, "inplace": flag}
OPERATION_ARGUMENTS: dict[str, Mapping[str, Check]] = {
    "InstanceNorm3d": _NORM,
    "BatchNorm3d": _NORM,
    "SyncBatchNorm": _NORM,
    "Dropout3d": _DROPOUT,
    "Dropout": _DROPOUT,
    "CELU": {"alpha": _parameter, **_IN_PLACE},
    "ELU": {"alpha": _parameter, **_IN_PLACE},
    "GELU": {"approximate": _approximation},
    "Hardswish": _IN_PLACE,
    "LeakyReLU": {"negative_slope": _parameter, **_IN_PLACE},
    "Mish": _IN_PLACE,
    "PReLU": {"num_parameters": _one, "init": _parameter},
    "ReLU": _IN_PLACE,
    "ReLU6": _IN_PLACE,
    "SELU": _IN_PLACE,
    "SiLU": _IN_PLACE,
}
_REQUIRED = ("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage_decoder")
_OPTIONAL = (
    "conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs", "nonlin", "nonlin_kwargs",
    "deep_supervision",
)  # fmt: skip
_OWN_REQUIRED = {  # of each network
    "PlainConvUNet": ("n_conv_per_stage",),
    "ResidualEncoderUNet": ("n_blocks_per_stage",),
    "ResidualUNet": ("n_blocks_per_stage",),
}
_OWN_OPTIONAL = {
    "PlainConvUNet": ("nonlin_first",),
    "ResidualEncoderUNet": ("block", "bottleneck_channels", "stem_channels"),
    "ResidualUNet": ("block", "bottleneck_channels", "stem_channels"),
}


def check_architecture(class_name: object, kwargs: object, requires_import: object, patch_shape: Sequence[int]) -> None:
    """Check the architecture that plans describe, without importing or building anything.

    Args:
        class_name, kwargs, requires_import: As nnunetv2's ``get_network_from_plans`` takes them.
        patch_shape: (Z, Y, X) that it must be able to take.

    Raises:
        UnsupportedModelError: A class that is not known.
        ModelFolderError: An argument is missing, unknown, of a wrong type or out of its range.
    """
    arguments = dict(mapping(kwargs, ARGUMENTS_PLACE))
    for role in sequence(requires_import, "plans.json: _kw_requires_import", range(len(ROLES) + 2)):
        if not isinstance(role, str) or role not in (*ROLES, "network_class") or role not in arguments:
            raise wrong("plans.json: _kw_requires_import", f"some of {', '.join(ROLES)} that arch_kwargs has", role)
    if class_name in COMPRESSED_NETWORKS:
        class_name = _check_compressed(arguments, class_name)
    name = network_name(class_name)
    if class_name in TRANSFORMERS:
        check_transformer(name, arguments, patch_shape)
        return
    required = (*_REQUIRED, *_OWN_REQUIRED[name])
    known = (*required, *_OPTIONAL, *_OWN_OPTIONAL[name])
    if missing := [argument for argument in required if argument not in arguments]:
        raise wrong(ARGUMENTS_PLACE, f"an object with {', '.join(missing)}", sorted(arguments))
    if unknown := [argument for argument in arguments if argument not in known]:
        raise UnsupportedModelError(
            f"{ARGUMENTS_PLACE}: {shown(unknown[0])} is no argument of {name}; it takes {', '.join(known)}."
        )
    _check_operations(arguments)
    _check_sizes(arguments, patch_shape)


def _check_compressed(arguments: dict[str, Any], compressed_name: object) -> object:
    """Check a compressed network's own arguments, take them out, and give the name of the original's class."""
    missing = [name for name in COMPRESSED_ARGUMENTS if name not in arguments]
    if missing:
        raise UnsupportedModelError(
            f"plans.json names the network '{compressed_name}' without its arguments {', '.join(missing)}. "
            "Export the model again."
        )
    class_name, recipes, heads = (arguments.pop(name) for name in COMPRESSED_ARGUMENTS)
    for recipe in sequence(recipes, f"{ARGUMENTS_PLACE}.recipes", range(MOST_RECIPES + 1)):
        mapping(recipe, f"{ARGUMENTS_PLACE}.recipes")
    for path in sequence(heads, f"{ARGUMENTS_PLACE}.unused_heads", range(MOST_HEADS + 1)):
        text(path, f"{ARGUMENTS_PLACE}.unused_heads")
    return class_name


def _check_operations(arguments: Mapping[str, Any]) -> None:
    """Raises where a convolution, norm, ... or one of its arguments is not known."""
    for role in OPERATIONS:
        name, options = arguments.get(role), arguments.get(f"{role}_kwargs")
        if name is None and role != "conv_op":
            continue  # its options are not looked at by anybody
        known = OPERATION_ARGUMENTS.get(operation_name(role, name), {})
        place = f"{ARGUMENTS_PLACE}.{role}_kwargs"
        for key, value in mapping({} if options is None else options, place).items():
            if key not in known:
                raise UnsupportedModelError(
                    f"{place}: {shown(key)} is no argument of {shown(name)}; it takes {', '.join(known)}."
                )
            known[key](value, f"{place}.{key}")


def _check_sizes(arguments: Mapping[str, Any], patch_shape: Sequence[int]) -> None:
    """Raises ModelFolderError where a size is out of its range, or the patch does not fit the strides."""
    for name in SIZES:
        _refuse_fractions(arguments.get(name), f"{ARGUMENTS_PLACE}.{name}")
    stages = whole_number(arguments["n_stages"], f"{ARGUMENTS_PLACE}.n_stages", 2, MOST_STAGES)
    whole_numbers(arguments["features_per_stage"], f"{ARGUMENTS_PLACE}.features_per_stage", (stages,), 1, MOST_CHANNELS)
    for name, count in (("n_conv_per_stage", stages), ("n_blocks_per_stage", stages)):
        if name in arguments:
            _per_stage(arguments, name, count, 1, MOST_LAYERS)
    _per_stage(arguments, "n_conv_per_stage_decoder", stages - 1, 1, MOST_LAYERS)
    _per_axis(arguments, "kernel_sizes", stages, LARGEST_KERNEL)
    strides = _per_axis(arguments, "strides", stages, LARGEST_STRIDE)
    if any(stride != 1 for stride in strides[0]):
        raise wrong(f"{ARGUMENTS_PLACE}.strides", "1 in the first stage", arguments["strides"])
    for axis, size in enumerate(patch_shape):
        product = 1
        for stride in strides:
            product *= stride[axis]
        if size % product:
            raise wrong(f"plans.json: patch_size[{axis}]", f"a multiple of {product}, the product of its strides", size)
    for name in ("conv_bias", "nonlin_first", "deep_supervision"):
        _flag_or_none(arguments.get(name), f"{ARGUMENTS_PLACE}.{name}")
    if arguments.get("bottleneck_channels") is not None:
        _per_stage(arguments, "bottleneck_channels", stages, 1, MOST_CHANNELS)
    if arguments.get("stem_channels") is not None:
        whole_number(arguments["stem_channels"], f"{ARGUMENTS_PLACE}.stem_channels", 1, MOST_CHANNELS)


def _refuse_fractions(value: object, place: str) -> None:
    """Raises ModelFolderError where a size, or one of a list, is a float: networks do not take 3.0 either."""
    if isinstance(value, float):
        raise wrong(place, "made of whole numbers", value)
    for item in value if isinstance(value, (list, tuple)) else ():
        _refuse_fractions(item, place)


def _per_stage(arguments: Mapping[str, Any], name: str, stages: int, least: int, most: int) -> None:
    """Raises ModelFolderError unless an argument is a whole number, or one for every stage."""
    value, place = arguments[name], f"{ARGUMENTS_PLACE}.{name}"
    if isinstance(value, (list, tuple)):
        whole_numbers(value, place, (stages,), least, most)
    else:
        whole_number(value, place, least, most)


def _per_axis(arguments: Mapping[str, Any], name: str, stages: int, most: int) -> list[tuple[int, ...]]:
    """The sizes (Z, Y, X) of every stage, which plans may give once for all stages or axes."""
    value, place = arguments[name], f"{ARGUMENTS_PLACE}.{name}"
    of_stages = sequence(value, place, (stages,)) if isinstance(value, (list, tuple)) else [value] * stages
    return [
        whole_numbers(item, place, (3,), 1, most)
        if isinstance(item, (list, tuple))
        else (whole_number(item, place, 1, most),) * 3
        for item in of_stages
    ]
