"""The facts of a model that the engine needs, as a plain record: a compressed model needs no nnunetv2 to run.

Records check themselves, wherever they come from: nnU-Net's files (``reading.py``) or the header of a model file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import catalog
from ..errors import UnsupportedModelError
from ..printable import shown
from ..records.serialization import unsaid
from .fields import flag, number, numbers, part_of_path, sequence, text, whole_number, whole_numbers, wrong
from .network_arguments import check_architecture

NORMALIZATIONS = (
    "CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization",
)  # fmt: skip
STATISTICS = ("mean", "std", "percentile_00_5", "percentile_99_5")
ORIENTATIONS = (None, "RAS")
LARGEST_PATCH_SIDE = 1024
LARGEST_PATCH_VOXELS = 512**3  # sixty times what fits a GPU that trains networks
SPACINGS_MM = (1e-4, 1e3)
MOST_CHANNELS = 64  # of an image
LARGEST_LABEL = 4095
HIGHEST_SPLINE_ORDER = 5

_CT_WORD, _PET_WORD = (re.compile(rf"(?<![a-z])({words})(?![a-z])") for words in ("ct", "pet|pt"))


def modality_of_channel(name: str) -> str:
    """The modality of a channel as DICOM names it, by what nnU-Net calls it: CT, PT, else MR."""
    name = name.lower()
    return "CT" if _CT_WORD.search(name) else "PT" if _PET_WORD.search(name) else "MR"


@dataclass(frozen=True)
class ChannelNormalization:
    """How one input channel is normalized.

    Attributes:
        scheme: Name of nnunetv2's class, as ``CTNormalization``.
        use_mask: Statistics from, and change of, the nonzero region only (ZScoreNormalization).
        mean, std, percentile_00_5, percentile_99_5: Of the training set's foreground; None where unknown.
    """

    scheme: str
    use_mask: bool
    mean: float | None = None
    std: float | None = None
    percentile_00_5: float | None = None
    percentile_99_5: float | None = None

    def __post_init__(self) -> None:
        if self.scheme not in NORMALIZATIONS:
            raise UnsupportedModelError(
                f"plans.json: the normalization {shown(self.scheme)} is not one of nnU-Net's own: "
                f"{', '.join(NORMALIZATIONS)}."
            )
        flag(self.use_mask, "plans.json: use_mask_for_norm")
        for name in STATISTICS:
            value = getattr(self, name)
            if value is not None or self.scheme == "CTNormalization":  # which cannot do without
                least = 0 if name == "std" else -1e12
                number(value, f"plans.json: foreground_intensity_properties_per_channel: {name}", least)


@dataclass(frozen=True)
class Architecture:
    """A network's class and arguments, as nnunetv2's ``get_network_from_plans`` takes them.

    Attributes:
        class_name: Full name of the class.
        kwargs: Its arguments, in JSON types.
        requires_import: Arguments whose values are names of classes.
    """

    class_name: str
    kwargs: dict[str, Any]
    requires_import: tuple[str, ...]


@dataclass(frozen=True)
class ResamplingPlan:
    """nnU-Net's ``resampling_fn_*_kwargs``: spline order in the plane, order along a separate axis, and
    whether that axis is separate (None: decided from the spacings). ``by_torch``: as nnU-Net's ``resample_torch_*``."""

    order: int
    order_z: int
    force_separate_z: bool | None
    by_torch: bool = unsaid(False)

    def __post_init__(self) -> None:
        flag(self.by_torch, "plans.json: resampling by_torch")
        if self.by_torch and {self.order, self.order_z} - {0, 1}:
            raise wrong("plans.json: resampling orders by torch", "0 or 1", (self.order, self.order_z))
        for name in ("order", "order_z"):
            whole_number(getattr(self, name), f"plans.json: resampling {name}", 0, HIGHEST_SPLINE_ORDER)
        if self.force_separate_z is not None:
            flag(self.force_separate_z, "plans.json: resampling force_separate_z")


@dataclass(frozen=True)
class Label:
    """One structure of the output: its voxel value and its name in dataset.json."""

    value: int
    name: str

    def __post_init__(self) -> None:
        text(self.name, "dataset.json: the name of a label")
        whole_number(self.value, f"dataset.json: the value of the label {shown(self.name)}", 1, LARGEST_LABEL)


@dataclass(frozen=True)
class ModelPlans:
    """The facts of one nnU-Net model.

    Attributes:
        patch_shape, spacing_mm: (Z, Y, X), after ``transpose_forward``.
        transpose_forward: Permutation of (Z, Y, X) that the network wants.
        labels: Foreground structures; with regions, the name of the region that writes the value.
        region_values: With regions, the value that each logit channel writes, later channels last;
            None for labels, where the channel's number is the value.
        logit_channels: Output channels of the network.
        orientation: Anatomical orientation the image is turned to (``RAS``), None: taken as stored.
        mirror_axes: Axes of (Z, Y, X) that mirroring may flip.
        slice_wise: Whether it is a 2D network, which is run slice by slice: its patches are one slice thick, and the
            first of ``spacing_mm`` stands for the image's own.
        previous_stage: Name of the configuration whose labels are further input channels, one per structure; None: it
            is not a cascade's second stage.
        previous_labels: The values of these structures, in the channels' order.
        previous_resampling: How that label map is resampled.
        documents: nnU-Net's own ``plans`` and ``dataset`` (JSON), for whoever writes a model folder; None where a file
            of an earlier version does not hold them.
    """

    VERSION: ClassVar[int] = 1

    dataset_name: str
    configuration: str
    patch_shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    transpose_forward: tuple[int, int, int]
    channel_names: tuple[str, ...]
    normalization: tuple[ChannelNormalization, ...]
    labels: tuple[Label, ...]
    region_values: tuple[int, ...] | None
    logit_channels: int
    architecture: Architecture
    orientation: str | None
    image_resampling: ResamplingPlan
    logits_resampling: ResamplingPlan
    mirror_axes: tuple[int, ...]
    documents: dict[str, dict[str, Any]] | None = None
    slice_wise: bool = unsaid(False)
    previous_stage: str | None = unsaid(None)
    previous_labels: tuple[int, ...] = unsaid(())
    previous_resampling: ResamplingPlan | None = unsaid(None)

    def __post_init__(self) -> None:
        text(self.dataset_name, "plans.json: dataset_name", empty=True)
        part_of_path(self.configuration, "the name of the configuration")
        whole_numbers(self.patch_shape, "plans.json: patch_size", (3,), 1, LARGEST_PATCH_SIDE)
        if math.prod(self.patch_shape) > LARGEST_PATCH_VOXELS:
            raise wrong("plans.json: patch_size", f"a patch of at most {LARGEST_PATCH_VOXELS} voxels", self.patch_shape)
        numbers(self.spacing_mm, "plans.json: spacing", 3, *SPACINGS_MM)
        if sorted(whole_numbers(self.transpose_forward, "plans.json: transpose_forward", (3,), 0, 2)) != [0, 1, 2]:
            raise wrong("plans.json: transpose_forward", "an order of 0, 1 and 2", self.transpose_forward)
        sequence(self.normalization, "plans.json: normalization_schemes", range(1, MOST_CHANNELS + 1))
        for name in sequence(self.channel_names, "dataset.json: channel_names", (len(self.normalization),)):
            text(name, "dataset.json: channel_names", empty=True)
        if self.orientation not in ORIENTATIONS:
            raise wrong("orientation", "RAS or none", self.orientation)
        axes = whole_numbers(self.mirror_axes, "inference_allowed_mirroring_axes", range(4), 0, 2)
        if len(set(axes)) < len(axes):
            raise wrong("inference_allowed_mirroring_axes", "different axes", axes)
        if flag(self.slice_wise, "slice_wise") and (self.patch_shape[0] != 1 or 0 in axes):
            raise wrong("slice_wise", "that of patches of one slice, which are mirrored within it", self.patch_shape)
        self._check_labels()
        self._check_cascade()
        architecture = self.architecture
        check_architecture(architecture.class_name, architecture.kwargs, architecture.requires_import, self.patch_shape)

    def _check_labels(self) -> None:
        whole_number(self.logit_channels, "the number of the network's outputs", 1, LARGEST_LABEL + 1)
        values = [label.value for label in self.labels]
        place = "dataset.json: labels"
        if self.region_values is None:
            if sorted(values) != list(range(1, self.logit_channels)) or not values:
                raise wrong(place, "background 0 and each of 1, 2, 3, ... once, as nnU-Net trains them", values)
        elif list(self.region_values) != values or len(set(values)) != self.logit_channels:
            raise wrong(place, "one value of regions_class_order for every region, each once", values)

    def _check_cascade(self) -> None:
        if self.previous_stage is not None:
            part_of_path(self.previous_stage, "plans.json: previous_stage")
        values = whole_numbers(self.previous_labels, "previous_labels", range(LARGEST_LABEL + 1), 1, LARGEST_LABEL)
        parts = (self.previous_stage is not None, bool(values), self.previous_resampling is not None)
        resampling = self.previous_resampling
        if resampling is not None and (resampling.order, resampling.order_z) != (1, 0):
            raise UnsupportedModelError(
                "plans.json: resampling_fn_seg_kwargs of a cascade should have the orders 1 and 0."
            )
        if len(set(parts)) > 1 or list(values) != sorted(set(values)):
            raise wrong("previous_labels", "the values of a cascade's structures in ascending order", values)

    def grid_spacing_mm(self, image_spacing_mm: Sequence[float]) -> tuple[float, float, float]:
        """Spacing of the model's grid for an image; both in mm, along the model's axes (Z, Y, X)."""
        return (float(image_spacing_mm[0]), *self.spacing_mm[1:]) if self.slice_wise else self.spacing_mm

    @property
    def own_mirror_axes(self) -> tuple[int, ...]:
        """``mirror_axes`` as nnU-Net counts them, which begins with Y in a 2D network."""
        return tuple(axis - 1 for axis in self.mirror_axes) if self.slice_wise else self.mirror_axes

    @property
    def input_channels(self) -> int:
        """Number of channels that the network takes: those of the image, and of a cascade's first stage."""
        return self.image_channels + len(self.previous_labels)

    @property
    def image_channels(self) -> int:
        """Number of channels of the images that the model takes."""
        return len(self.normalization)

    @property
    def resampling_convention(self) -> str:
        """How images were resampled for the model's training, as ``nnunet``; see ``catalog.resampling_convention``."""
        return catalog.resampling_convention(self.dataset_name)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modality of each channel as DICOM names it, by nnU-Net's name of it: CT, MR or PT."""
        return tuple(map(modality_of_channel, self.channel_names))

    @property
    def expects_hounsfield(self) -> bool:
        """Whether the model takes CTs: all its channels are normalized as Hounsfield units."""
        return all(channel.scheme == "CTNormalization" for channel in self.normalization)
