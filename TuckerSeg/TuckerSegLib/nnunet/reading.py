"""nnU-Net's own files, plans, dataset.json and checkpoint, to the facts that the engine needs.

Every field is checked where it is read: the files come from anywhere. What nnU-Net would look up by name (readers,
preprocessors, resampling functions) must be one of those whose work is done here, and is refused by name otherwise.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from dataclasses import replace
from typing import Any

from ..errors import ModelFolderError, UnsupportedModelError
from ..printable import shown
from .fields import (
    mapping,
    number,
    numbers,
    part_of_path,
    required,
    sequence,
    text,
    whole_numbers,
    wrong,
)
from .labels import foreground_values, read_labels
from .old_plans import with_architecture
from .plans import STATISTICS, Architecture, ChannelNormalization, ModelPlans
from .resampling_plan import RESAMPLING_FUNCTIONS, SPLINES, TORCH, read_resampling
from .transformers import trainers_transformer
from .two_dimensional import PATCH_PLACE, is_of_slices, one_slice_thick

# Readers of nnunetv2.imageio for 3D images, and the orientation to which they turn them; None: taken as stored.
READERS = {
    "SimpleITKIO": None,
    "SimpleITKIOWithReorient": "RAS",
    "NibabelIO": None,
    "NibabelIOWithReorient": "RAS",
    "Tiff3DIO": None,
}
PREPROCESSORS = ("DefaultPreprocessor",)
LABEL_MANAGERS = ("LabelManager",)
CASE_LISTS = ("dataset", "training", "test")  # of dataset.json: files of patients, which no prediction needs
MOST_PARENTS = 20
USUAL_CONFIGURATION = "3d_fullres"
USUAL_TRAINER = "nnUNetTrainer"
# The one trainer of nnU-Net's own that builds another U-Net than plans.json says, and what it changes there
TRAINERS_NETWORKS = {
    "nnUNetTrainerBN": {
        "norm_op": "torch.nn.modules.batchnorm.BatchNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    }
}


def read_plans(plans: dict[str, Any], dataset: dict[str, Any], checkpoint: dict[str, Any], where: str) -> ModelPlans:
    """Read the facts of a model from nnU-Net's own files.

    Args:
        plans, dataset, checkpoint: Contents of ``plans.json``, ``dataset.json`` and one checkpoint.
        where: Name of the model in error messages.

    Raises:
        ModelFolderError: A field is missing, of a wrong type or out of its range.
        UnsupportedModelError: Custom preprocessing, or an architecture that is not known.
    """
    try:
        return _facts(plans, dataset, checkpoint)
    except (ModelFolderError, UnsupportedModelError) as error:
        raise type(error)(f"{where}: {error}{trained_by(checkpoint)}") from error


def trained_by(checkpoint: dict[str, Any]) -> str:
    """A sentence for errors that names the trainer of a checkpoint, as ``" It was trained by 'MyTrainer', ..."``.

    Empty where that is nnU-Net's usual one, which builds the network that ``plans.json`` says, or is not known.
    """
    trainer = checkpoint.get("trainer_name")
    if trainer in (None, USUAL_TRAINER):
        return ""
    return f" It was trained by {shown(trainer)}, which may build and feed another network than plans.json says."


def with_documents(facts: ModelPlans, plans: dict[str, Any], dataset: dict[str, Any]) -> ModelPlans:
    """Facts that carry nnU-Net's plans and dataset.json along, but for the names of training cases."""
    dataset = {key: value for key, value in dataset.items() if key not in CASE_LISTS}
    return replace(facts, documents={"plans": plans, "dataset": dataset})


def check_documents(facts: ModelPlans, where: str) -> None:
    """Check the nnU-Net files that facts carry along as if they were read from a folder; none are no error.

    Args:
        facts: Of a model; its ``documents`` are checked.
        where: Name of the model in error messages.

    Raises:
        ModelFolderError, UnsupportedModelError: As :func:`read_plans`.
    """
    if facts.documents is not None:
        plans, dataset = (mapping(facts.documents.get(name), name) for name in ("plans", "dataset"))
        read_plans(plans, dataset, {"init_args": {"configuration": facts.configuration}}, where)


def resolved_configuration(plans: dict[str, Any], name: str) -> dict[str, Any]:
    """One configuration of ``plans.json`` with all that it inherits written out, in the form of today's nnU-Net.

    Args:
        plans: Contents of ``plans.json``.
        name: Of the configuration, as ``3d_fullres``.

    Raises:
        ModelFolderError: There is no such configuration, or it inherits from none that is there.
    """
    configurations = mapping(required(plans, "configurations", "plans.json"), "plans.json: configurations")
    resolved: dict[str, Any] = {}
    child, chain = name, []
    while child is not None:
        if child not in configurations or child in chain or len(chain) == MOST_PARENTS:
            names = shown(sorted(configurations))
            raise wrong("plans.json: the configuration", f"one of {names}, not its own parent", child)
        own = mapping(configurations[child], f"plans.json: configurations.{child}")
        resolved = {**own, **resolved}
        chain.append(child)
        child = own.get("inherits_from")
        if child is not None:
            text(child, "plans.json: inherits_from")
    dropped = ("inherits_from", "next_stage")
    resolved = copy.deepcopy({key: value for key, value in resolved.items() if key not in dropped})
    return resolved if "architecture" in resolved else with_architecture(resolved)


@contextlib.contextmanager
def quiet_import():
    """Keep nnunetv2's remarks while it is imported (training folders not set, old plans) off the user's screen."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _facts(plans: dict[str, Any], dataset: dict[str, Any], checkpoint: dict[str, Any]) -> ModelPlans:
    """See :func:`read_plans`; the model is not named in errors."""
    name = _configuration_name(checkpoint)
    mirror_axes = checkpoint.get("inference_allowed_mirroring_axes")
    configuration = resolved_configuration(plans, name)
    slice_wise = is_of_slices(configuration)
    configuration = one_slice_thick(configuration) if slice_wise else configuration
    patch_shape = whole_numbers(required(configuration, "patch_size", "plans.json"), PATCH_PLACE, (3,), 1, 2**20)
    _refuse_unknown_code(plans, dataset, configuration)
    labels, regions, outputs = read_labels(dataset)
    part_of_path(plans.get("plans_name", "nnUNetPlans"), "plans.json: plans_name")
    return ModelPlans(
        dataset_name=text(required(plans, "dataset_name", "plans.json"), "plans.json: dataset_name", empty=True),
        configuration=name,
        patch_shape=patch_shape,
        spacing_mm=numbers(required(configuration, "spacing", "plans.json"), "plans.json: spacing", 3, 0, 1e6),
        transpose_forward=whole_numbers(
            required(plans, "transpose_forward", "plans.json"), "plans.json: transpose_forward", (3,), 0, 2
        ),
        channel_names=_channel_names(dataset),
        normalization=_normalization(plans, configuration),
        labels=labels,
        region_values=regions,
        logit_channels=outputs,
        architecture=_architecture(configuration, checkpoint.get("trainer_name")),
        orientation=READERS[_name(plans.get("image_reader_writer"), "SimpleITKIO")],
        image_resampling=read_resampling(configuration, "resampling_fn_data", 3),
        logits_resampling=read_resampling(configuration, "resampling_fn_probabilities", 1),
        mirror_axes=_mirror_axes(mirror_axes, slice_wise),
        slice_wise=slice_wise,
        **_cascade(configuration, dataset),
    )


def _cascade(configuration: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """The facts of a cascade's second stage; none of any other configuration."""
    previous = configuration.get("previous_stage")
    if previous in (None, ""):
        return {}
    if configuration.get("resampling_fn_seg") in TORCH:
        raise UnsupportedModelError(
            f"resampling_fn_seg of a cascade is {shown(configuration['resampling_fn_seg'])}; known: {SPLINES}."
        )
    return {
        "previous_stage": part_of_path(previous, "plans.json: previous_stage"),
        "previous_labels": foreground_values(dataset),
        "previous_resampling": read_resampling(configuration, "resampling_fn_seg", 1, of_labels=True),
    }


def _mirror_axes(axes: object, slice_wise: bool) -> tuple[int, ...]:
    """Axes of (Z, Y, X) that may be mirrored; a 2D network counts them from Y."""
    first = 1 if slice_wise else 0
    axes = whole_numbers(() if axes is None else axes, "inference_allowed_mirroring_axes", range(4), 0, 2 - first)
    return tuple(axis + first for axis in axes)


def _configuration_name(checkpoint: dict[str, Any]) -> str:
    arguments = checkpoint.get("init_args")
    name = arguments.get("configuration") if isinstance(arguments, dict) else None
    return part_of_path(USUAL_CONFIGURATION if name is None else name, "checkpoint: init_args.configuration")


def _refuse_unknown_code(plans: dict[str, Any], dataset: dict[str, Any], configuration: dict[str, Any]) -> None:
    """Raises UnsupportedModelError where plans name readers, preprocessors or functions that are not known here."""
    for document, key, known in (
        (plans, "image_reader_writer", tuple(READERS)),
        (dataset, "overwrite_image_reader_writer", tuple(READERS)),
        (plans, "label_manager", LABEL_MANAGERS),
        (configuration, "preprocessor_name", PREPROCESSORS),
        *((configuration, f"resampling_fn_{kind}", RESAMPLING_FUNCTIONS) for kind in ("data", "seg", "probabilities")),
    ):
        name = document.get(key)
        if _name(name, known[0]) not in known:
            raise UnsupportedModelError(f"{key} is {shown(name)}; known: {', '.join(known)}.")


def _name(name: object, usual: str) -> object:
    """A name from a file; the usual one where there is none, for which nnU-Net writes "None", too."""
    return usual if name in (None, "None") else name if isinstance(name, str) else ""


def _architecture(configuration: dict[str, Any], trainer: object) -> Architecture:
    section = mapping(configuration["architecture"], "plans.json: architecture")
    class_name, kwargs, imports = (
        required(section, key, "plans.json: architecture")
        for key in ("network_class_name", "arch_kwargs", "_kw_requires_import")
    )
    if transformer := trainers_transformer(trainer, configuration["patch_size"]):
        return Architecture(*transformer, ())
    changes = TRAINERS_NETWORKS.get(trainer, {}) if isinstance(trainer, str) else {}
    return Architecture(
        class_name,
        {**mapping(kwargs, "plans.json: arch_kwargs"), **changes},
        tuple(sequence(imports, "plans.json: _kw_requires_import", range(20))),
    )


def _channel_names(dataset: dict[str, Any]) -> tuple[str, ...]:
    place = "dataset.json: channel_names"
    names = dataset.get("channel_names") or required(dataset, "modality", "dataset.json: channel_names, or")
    names = mapping(names, place)
    if sorted(names) != sorted(map(str, range(len(names)))):
        raise wrong(place, 'an object with the keys "0", "1", ...', names)
    return tuple(text(names[str(channel)], place, empty=True) for channel in range(len(names)))


def _normalization(plans: dict[str, Any], configuration: dict[str, Any]) -> tuple[ChannelNormalization, ...]:
    place = "plans.json: normalization_schemes"
    schemes = sequence(required(configuration, "normalization_schemes", "plans.json"), place, range(1, 65))
    masks = sequence(
        required(configuration, "use_mask_for_norm", "plans.json"), "plans.json: use_mask_for_norm", (len(schemes),)
    )
    return tuple(
        ChannelNormalization(scheme, mask, **_intensities(plans, str(channel), scheme))
        for channel, (scheme, mask) in enumerate(zip(schemes, masks, strict=True))
    )


def _intensities(plans: dict[str, Any], channel: str, scheme: str) -> dict[str, float]:
    """Intensity statistics of the training set for one channel, by the names in STATISTICS."""
    key = "foreground_intensity_properties_per_channel"
    if key not in plans and "foreground_intensity_properties_by_modality" in plans:  # of old plans
        key = "foreground_intensity_properties_by_modality"
    place = f"plans.json: {key}"
    properties = mapping(mapping(required(plans, key, "plans.json"), place).get(channel, {}), f"{place}.{channel}")
    if scheme == "CTNormalization":  # cannot do without
        return {
            name: number(required(properties, name, f"{place}.{channel}"), f"{place}.{channel}.{name}")
            for name in STATISTICS
        }
    known = {name: properties[name] for name in STATISTICS if isinstance(properties.get(name), (int, float))}
    return {name: float(value) for name, value in known.items() if abs(value) < 1e12}  # NaN is not
