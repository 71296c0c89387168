"""Which classes a model's files may name: whole names in tables, looked up by us.

A name from a file decides only which entry of a table is taken. Nothing is imported, and nothing is called, because a
file names it: torch, for one, reaches the operating system in two steps.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ..errors import UnsupportedModelError
from ..printable import shown

if TYPE_CHECKING:
    from torch import nn

COMPRESSED_NETWORK = "TuckerSegLib.compressed_network.CompressedUNet"

_ARCHITECTURES = "dynamic_network_architectures.architectures"
_RESIDUAL = "dynamic_network_architectures.building_blocks.residual"
_ACTIVATIONS = (
    "CELU", "ELU", "GELU", "Hardswish", "LeakyReLU", "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU",
)  # fmt: skip


def _of_torch(module: str, *names: str) -> dict[str, tuple[str, str]]:
    """Classes of ``torch.nn`` under the names that nnU-Net's planners and people write."""
    home = f"torch.nn.modules.{module}"
    places = (home, "torch.nn", "torch.nn.modules")
    return {f"{place}.{name}": (home, name) for name in names for place in places}


# What a file may write -> where it is. Networks have moved between versions of the package: every place is tried.
NETWORKS = {
    f"{_ARCHITECTURES}.unet.PlainConvUNet": "PlainConvUNet",
    f"{_ARCHITECTURES}.unet.ResidualEncoderUNet": "ResidualEncoderUNet",
    f"{_ARCHITECTURES}.residual_unet.ResidualEncoderUNet": "ResidualEncoderUNet",
    f"{_ARCHITECTURES}.unet.ResidualUNet": "ResidualUNet",
    f"{_ARCHITECTURES}.residual_unet.ResidualUNet": "ResidualUNet",
}
_HOMES = (f"{_ARCHITECTURES}.unet", f"{_ARCHITECTURES}.residual_unet")
OPERATIONS = {
    "conv_op": _of_torch("conv", "Conv3d"),
    "norm_op": _of_torch("instancenorm", "InstanceNorm3d") | _of_torch("batchnorm", "BatchNorm3d"),
    "dropout_op": _of_torch("dropout", "Dropout3d", "Dropout"),
    "nonlin": _of_torch("activation", *_ACTIVATIONS),
    "block": {f"{_RESIDUAL}.{name}": (_RESIDUAL, name) for name in ("BasicBlockD", "BottleneckD")},
}


def network_name(name: object) -> str:
    """The class's own name, as ``PlainConvUNet``.

    Raises:
        UnsupportedModelError: No network that is known.
    """
    if not isinstance(name, str) or name not in NETWORKS:
        raise _unknown("the network", name, NETWORKS)
    return NETWORKS[name]


def network_class(name: object) -> type[nn.Module]:
    """The class of a network.

    Raises:
        UnsupportedModelError: No network that is known, or the installed package lacks it.
    """
    wanted = network_name(name)
    for home in _HOMES:
        try:
            return _class_of(home, wanted)
        except (ImportError, AttributeError):
            continue
    raise UnsupportedModelError(
        f"The network '{name}' is missing in the installed dynamic_network_architectures. Update that package."
    )


def operation_name(role: str, name: object) -> str:
    """The own name of the class of a network's convolutions, norms, ..., as ``LeakyReLU``.

    Args:
        role: One of ``OPERATIONS``.

    Raises:
        UnsupportedModelError: None that is known.
    """
    if not isinstance(name, str) or name not in OPERATIONS[role]:
        if isinstance(name, str) and name.endswith(("1d", "2d")):
            raise UnsupportedModelError(f"plans.json: {role} is {shown(name)}; only 3D networks are known.")
        raise _unknown(role, name, OPERATIONS[role])
    return OPERATIONS[role][name][1]


def operation_class(role: str, name: object) -> type[nn.Module]:
    """The class of a network's convolutions, norms, ...

    Args:
        role: One of ``OPERATIONS``.

    Raises:
        UnsupportedModelError: None that is known.
    """
    operation_name(role, name)
    return _class_of(*OPERATIONS[role][name])


def is_network_class(found: object) -> bool:
    """Whether a class, however it was found, is one of those that a file may name as a network."""
    home, name = _place_of(found)
    return isinstance(found, type) and home in _HOMES and name in NETWORKS.values()


def is_operation_class(role: str, found: object) -> bool:
    """Whether a class, however it was found, is one of those that a file may name in a role of ``OPERATIONS``."""
    return isinstance(found, type) and _place_of(found) in OPERATIONS[role].values()


def _place_of(found: object) -> tuple[object, object]:
    return getattr(found, "__module__", None), getattr(found, "__qualname__", None)


def _class_of(home: str, name: str) -> type[nn.Module]:
    from torch import nn

    found = getattr(importlib.import_module(home), name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UnsupportedModelError(f"{home}.{name} is not a class of networks in the installed packages.")
    return found


def _unknown(role: str, name: object, table: dict) -> UnsupportedModelError:
    known = ", ".join(sorted({each if isinstance(each, str) else each[1] for each in table.values()}))
    return UnsupportedModelError(f"plans.json names {shown(name)} as {role}; a file may only name {known}.")
