"""The classes that a model's files may name: whole names in tables, looked up here.

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
COMPRESSED_TRANSFORMER = "TuckerSegLib.compressed_network.compressed_transformer"
COMPRESSED_NETWORKS = (COMPRESSED_NETWORK, COMPRESSED_TRANSFORMER)

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
# Their classes are not those of the package but this one's, which are their equals: see there.
_PRIMUS = {f"{_ARCHITECTURES}.primus.{name}": name for name in ("Primus", "PrimusV2", "PrimusV3")}
_UNETR = {"TuckerSegLib.nnunet.unetr.UNETR": "UNETR"}
TRANSFORMERS = _PRIMUS | _UNETR
OPERATIONS = {
    "conv_op": _of_torch("conv", "Conv3d"),
    "norm_op": _of_torch("instancenorm", "InstanceNorm3d") | _of_torch("batchnorm", "BatchNorm3d", "SyncBatchNorm"),
    "dropout_op": _of_torch("dropout", "Dropout3d", "Dropout"),
    "nonlin": _of_torch("activation", *_ACTIVATIONS),
    "block": {f"{_RESIDUAL}.{name}": (_RESIDUAL, name) for name in ("BasicBlockD", "BottleneckD")},
}


def network_name(name: object) -> str:
    """The own name of a network's class, as ``PlainConvUNet``, by the full name that a file gives.

    Raises:
        UnsupportedModelError: The name is neither in ``NETWORKS`` nor in ``TRANSFORMERS``.
    """
    known = NETWORKS | TRANSFORMERS
    if not isinstance(name, str) or name not in known:
        raise _unknown("the network", name, known)
    return known[name]


def network_class(name: object) -> type[nn.Module]:
    """The class of a network, by the full name that a file gives.

    Raises:
        UnsupportedModelError: The name is not in the tables, or the installed package lacks the class.
    """
    class_name = network_name(name)
    for home in _homes_of(name):
        try:
            return _class_of(home, class_name)
        except (ImportError, AttributeError):
            continue
    raise UnsupportedModelError(
        f"The network '{name}' is missing in the installed dynamic_network_architectures. Update that package."
    )


def _homes_of(name: str) -> tuple[str, ...]:
    """Modules in which the class of a network is looked for."""
    if name in TRANSFORMERS:
        return (f"{__package__}.unetr" if name in _UNETR else f"{__package__}.primus",)
    return _HOMES


def operation_name(role: str, name: object) -> str:
    """The own name of the class of a network's convolutions, norms, ..., as ``LeakyReLU``.

    Args:
        role: Key of ``OPERATIONS``, as ``nonlin``.
        name: Full name of the class, as a file gives it.

    Raises:
        UnsupportedModelError: No class of that name may stand in the role.
    """
    if not isinstance(name, str) or name not in OPERATIONS[role]:
        if isinstance(name, str) and name.endswith(("1d", "2d")):
            raise UnsupportedModelError(f"plans.json: {role} is {shown(name)}; only 3D networks are known.")
        raise _unknown(role, name, OPERATIONS[role])
    return OPERATIONS[role][name][1]


def operation_class(role: str, name: object) -> type[nn.Module]:
    """The class of a network's convolutions, norms, ..., as ``torch.nn.LeakyReLU``.

    Args:
        role: Key of ``OPERATIONS``, as ``nonlin``.
        name: Full name of the class, as a file gives it.

    Raises:
        UnsupportedModelError: No class of that name may stand in the role.
    """
    operation_name(role, name)
    return _class_of(*OPERATIONS[role][name])


def is_network_class(candidate: object) -> bool:
    """Whether an object is one of the classes that a file may name as a network of encoder and decoder."""
    home, name = _place_of(candidate)
    return isinstance(candidate, type) and home in _HOMES and name in NETWORKS.values()


def is_operation_class(role: str, candidate: object) -> bool:
    """Whether an object is one of the classes that a file may name in a role of ``OPERATIONS``."""
    return isinstance(candidate, type) and _place_of(candidate) in OPERATIONS[role].values()


def _place_of(candidate: object) -> tuple[object, object]:
    """Module and name of a class, whatever the object is."""
    return getattr(candidate, "__module__", None), getattr(candidate, "__qualname__", None)


def _class_of(home: str, name: str) -> type[nn.Module]:
    from torch import nn

    candidate = getattr(importlib.import_module(home), name)
    if not (isinstance(candidate, type) and issubclass(candidate, nn.Module)):
        raise UnsupportedModelError(f"{home}.{name} is not a class of networks in the installed packages.")
    return candidate


def _unknown(role: str, name: object, table: dict) -> UnsupportedModelError:
    class_names = {entry if isinstance(entry, str) else entry[1] for entry in table.values()}
    return UnsupportedModelError(
        f"plans.json names {shown(name)} as {role}; a file may only name {', '.join(sorted(class_names))}."
    )
