"""Patches of volumes for compression methods that try on them what may go (``Spec.needs_patches``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import catalog
from ..errors import SpecError
from ..image import Image, read_image
from ..preprocessing.body_mask import TISSUE_HU
from .calibration import calibration_patches, has_built_in_volumes, volume_id
from .model import SegmentationModel

if TYPE_CHECKING:
    import torch

PATCHES_PER_VOLUME = 2
SEED = 23  # other crops than those of calibration and refit

Patches = Callable[[], "list[torch.Tensor]"]


def with_air(model: SegmentationModel, spec: Any) -> Any:
    """A method's ``Spec`` that says which values of the network's input are air; as it is where it need not say so.

    Nothing is known of air where the model takes no CTs, or cuts values off above it.
    """
    if getattr(spec, "air", 0.0) is not None or not model.plans.expects_hounsfield:
        return spec
    channel = model.plans.normalization[0]
    if channel.percentile_00_5 >= TISSUE_HU:
        return spec
    return replace(spec, air=(TISSUE_HU - channel.mean) / max(channel.std, 1e-8))


def with_patches(model: SegmentationModel, spec: Any, volumes: Sequence[Image]) -> tuple[Any, Patches | None]:
    """A method's ``Spec`` that names the volumes it is tried on, and what gives their patches.

    Args:
        model: What is to be compressed.
        spec: The method's; one that needs no patches is given back as it is, with None.
        volumes: Any that the model can segment. For a model of CTs the built-in synthetic torso is added.

    Raises:
        SpecError: There is no volume, or the spec names others.
    """
    spec = with_air(model, spec)
    if not getattr(spec, "needs_patches", False):
        return spec, None
    built_in = [read_image(catalog.DEMO_VOLUME)] if has_built_in_volumes(model) else []
    by_id = {volume_id(volume): volume for volume in (*volumes, *built_in)}
    if not by_id:
        raise SpecError(f"{model.name}: this compression is tried on a volume; found none.")
    if spec.volumes is not None and set(spec.volumes) != set(by_id):
        raise SpecError(f"the compression names the volumes {spec.volumes}, but {tuple(by_id)} were given")

    def patches() -> list[torch.Tensor]:
        return [
            patch for volume in by_id.values() for patch in calibration_patches(model, volume, PATCHES_PER_VOLUME, SEED)
        ]

    return replace(spec, volumes=tuple(by_id)), patches
