"""What the engine must know of a model, taken from nnU-Net's plans, dataset.json and checkpoint.

nnunetv2's PlansManager and LabelManager interpret the files (old plans without an ``architecture``
section included); the facts are kept as a plain record, so that a compressed model needs no nnunetv2 to run.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..errors import ModelFolderError, UnsupportedModelError

# Readers of nnunetv2.imageio that turn the image to this orientation; all others take it as stored.
READER_ORIENTATION = {"NibabelIOWithReorient": "RAS", "SimpleITKIOWithReorient": "RAS"}
RESAMPLING_FUNCTION = "resample_data_or_seg_to_shape"
CASE_LISTS = ("dataset", "training", "test")  # of dataset.json: files of patients, which no prediction needs


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


@dataclass(frozen=True)
class Architecture:
    """Arguments of nnunetv2's ``get_network_from_plans``."""

    class_name: str
    kwargs: dict[str, Any]
    requires_import: tuple[str, ...]


@dataclass(frozen=True)
class ResamplingPlan:
    """nnU-Net's ``resampling_fn_*_kwargs``: spline order in the plane, order along a separate axis, and
    whether that axis is separate (None: decided from the spacings)."""

    order: int
    order_z: int
    force_separate_z: bool | None


@dataclass(frozen=True)
class Label:
    """One structure of the output: its voxel value and its name in dataset.json."""

    value: int
    name: str


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

    @property
    def input_channels(self) -> int:
        return len(self.normalization)

    @property
    def expects_hounsfield(self) -> bool:
        return all(channel.scheme == "CTNormalization" for channel in self.normalization)


def read_plans(plans: dict[str, Any], dataset: dict[str, Any], checkpoint: dict[str, Any], where: str) -> ModelPlans:
    """Take the facts from nnU-Net's own files.

    Args:
        plans, dataset, checkpoint: Contents of ``plans.json``, ``dataset.json`` and one checkpoint.
        where: Name of the model in error messages.

    Raises:
        ModelFolderError: A key is missing.
        UnsupportedModelError: 2D, cascade, custom preprocessing, or an architecture that is not known.
    """
    configuration_name = str(checkpoint.get("init_args", {}).get("configuration") or "3d_fullres")
    try:
        with quiet_import():
            from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

            manager = PlansManager(plans)
            configuration = manager.get_configuration(configuration_name)
            label_manager = manager.get_label_manager(dataset)
        _refuse_unsupported(configuration, manager, where)
        return _facts(manager, configuration, label_manager, dataset, checkpoint, configuration_name)
    except KeyError as error:
        raise ModelFolderError(f"{where}: the key {error} is missing in plans.json or dataset.json.") from error
    except (AssertionError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise ModelFolderError(f"{where}: nnU-Net does not accept these plans: {error}") from error


def with_documents(facts: ModelPlans, plans: dict[str, Any], dataset: dict[str, Any]) -> ModelPlans:
    """The facts together with the files that they were taken from, but for the names of training cases."""
    dataset = {key: value for key, value in dataset.items() if key not in CASE_LISTS}
    return replace(facts, documents={"plans": plans, "dataset": dataset})


def resolved_configuration(plans: dict[str, Any], name: str) -> dict[str, Any]:
    """One configuration of ``plans.json`` that stands for itself: what it inherits written out, in today's form."""
    with quiet_import():
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        configuration = copy.deepcopy(PlansManager(plans).get_configuration(name).configuration)
    for key in ("inherits_from", "next_stage"):
        configuration.pop(key, None)
    return configuration


@contextlib.contextmanager
def quiet_import():
    """Keep nnunetv2's import-time remarks (training folders not set, old plans) off the user's screen."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _refuse_unsupported(configuration: Any, manager: Any, where: str) -> None:
    if len(configuration.patch_size) != 3:
        raise UnsupportedModelError(f"{where}: a {len(configuration.patch_size)}D configuration; a 3D one is needed.")
    if configuration.previous_stage_name is not None:
        raise UnsupportedModelError(
            f"{where}: a cascade's second stage, which needs the result of '{configuration.previous_stage_name}'. "
            "Use the 3d_fullres or 3d_lowres configuration."
        )
    for kind in ("resampling_fn_data", "resampling_fn_probabilities"):
        name = configuration.configuration.get(kind, RESAMPLING_FUNCTION)
        if name != RESAMPLING_FUNCTION:
            raise UnsupportedModelError(f"{where}: {kind} is '{name}'; only '{RESAMPLING_FUNCTION}' is known.")


def _facts(manager, configuration, label_manager, dataset, checkpoint, configuration_name) -> ModelPlans:
    regions = tuple(int(value) for value in label_manager.regions_class_order) if label_manager.has_regions else None
    kwargs = dict(configuration.network_arch_init_kwargs)
    channels = dataset.get("channel_names") or dataset["modality"]
    return ModelPlans(
        dataset_name=manager.dataset_name,
        configuration=configuration_name,
        patch_shape=tuple(int(size) for size in configuration.patch_size),
        spacing_mm=tuple(float(spacing) for spacing in configuration.spacing),
        transpose_forward=tuple(int(axis) for axis in manager.transpose_forward),
        channel_names=tuple(str(channels[key]) for key in sorted(channels, key=int)),
        normalization=_normalization(manager, configuration),
        labels=_labels(dataset["labels"], regions),
        region_values=regions,
        logit_channels=int(label_manager.num_segmentation_heads),
        architecture=Architecture(
            configuration.network_arch_class_name,
            kwargs,
            tuple(configuration.network_arch_init_kwargs_req_import),
        ),
        orientation=READER_ORIENTATION.get(manager.plans["image_reader_writer"]),
        image_resampling=_resampling(configuration.configuration, "resampling_fn_data_kwargs", 3),
        logits_resampling=_resampling(configuration.configuration, "resampling_fn_probabilities_kwargs", 1),
        mirror_axes=tuple(int(axis) for axis in checkpoint.get("inference_allowed_mirroring_axes") or ()),
    )


def _normalization(manager: Any, configuration: Any) -> tuple[ChannelNormalization, ...]:
    properties = manager.foreground_intensity_properties_per_channel
    return tuple(
        ChannelNormalization(scheme, bool(use_mask), **_intensities(properties, str(channel), scheme))
        for channel, (scheme, use_mask) in enumerate(
            zip(configuration.normalization_schemes, configuration.use_mask_for_norm, strict=True)
        )
    )


def _intensities(properties: dict[str, dict[str, float]], channel: str, scheme: str) -> dict[str, float]:
    fields = ("mean", "std", "percentile_00_5", "percentile_99_5")
    if scheme == "CTNormalization":  # cannot do without
        return {field: float(properties[channel][field]) for field in fields}
    return {key: float(value) for key, value in properties.get(channel, {}).items() if key in fields}


def _labels(names: dict[str, Any], regions: tuple[int, ...] | None) -> tuple[Label, ...]:
    foreground = [(name, value) for name, value in names.items() if name != "ignore" and value not in (0, [0])]
    if regions is not None:
        return tuple(Label(value, name) for (name, _), value in zip(foreground, regions, strict=True))
    return tuple(Label(int(value[0] if isinstance(value, list) else value), name) for name, value in foreground)


def _resampling(configuration: dict[str, Any], key: str, order: int) -> ResamplingPlan:
    kwargs = configuration.get(key, {})
    return ResamplingPlan(
        int(kwargs.get("order", order)), int(kwargs.get("order_z", 0)), kwargs.get("force_separate_z")
    )
