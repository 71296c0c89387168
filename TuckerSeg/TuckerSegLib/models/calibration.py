"""Calibration of a model on volumes: which patches, and where the result is kept.

Moments of channels are kept, never voxels of a volume; nothing leaves this computer. A model of CTs is calibrated on
the built-in synthetic torso too: a whole trunk keeps the compressed network good beyond the one volume at hand.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import catalog, hardware, tensor_file
from ..cache import Cache, entry_name, key_of
from ..errors import ModelFileError, SpecError
from ..forked_process import require_own_threads
from ..image import Image, read_image
from ..monitor import Monitor
from ..preprocessing.preprocess import preprocess
from .model import SegmentationModel

if TYPE_CHECKING:
    import torch

    from ..compression.calibration import Calibration

PATCHES_PER_VOLUME = 4
CROP_VOXELS = 80  # along an axis, or the nearest size that the network takes: as good as whole patches, and cheaper


@dataclass(frozen=True, eq=False)
class ModelCalibration:
    """Calibrations of all folds of a model.

    Attributes:
        folds: Fold to its calibration; all on the same patches.
        volumes: Names of the volumes, the oldest first.
        volume_ids: Of the same volumes, see :func:`volume_id`.
    """

    folds: dict[str, Calibration]
    volumes: tuple[str, ...]
    volume_ids: tuple[str, ...]

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 over all numbers of all folds, as a hexadecimal string."""
        return hashlib.sha256("".join(self.folds[fold].sha256 for fold in sorted(self.folds)).encode()).hexdigest()

    @property
    def has_ranges(self) -> bool:
        """Whether it tells how large the inputs of layers are; those made before INT8 do not."""
        return all(layer.magnitudes is not None for fold in self.folds.values() for layer in fold.layers.values())

    @property
    def built_in_alone(self) -> bool:
        """Whether the calibration was made on the built-in volume alone, and on none of the user's."""
        return is_built_in_alone(self.volumes)

    @property
    def patches(self) -> int:
        """Number of patches of all volumes together, per fold."""
        return next(iter(self.folds.values())).patches


def is_built_in_alone(volumes: tuple[str, ...]) -> bool:
    """Whether names of volumes are those of the built-in ones, and of none of the user's."""
    return volumes == (catalog.DEMO_VOLUME.name,)


def has_built_in_volumes(model: SegmentationModel) -> bool:
    """Whether a model's calibrations and trainings use the built-in synthetic torso: those of models of one CT do."""
    return model.plans.expects_hounsfield and model.plans.image_channels == 1


def calibrate_model(
    model: SegmentationModel,
    volume: Image | None,
    earlier: ModelCalibration | None = None,
    threads: int | None = None,
    monitor: Monitor | None = None,
    patches_per_volume: int = PATCHES_PER_VOLUME,
) -> ModelCalibration:
    """Run a few patches of a volume through a model and keep the moments of its convolutions. Needs no labels.

    A compression that has them loses less accuracy. For a model of CTs a built-in synthetic torso is used too.

    Args:
        model: The original, or what is to be compressed further.
        volume: Any volume that the model can segment; no labels are needed. None takes the built-in ones alone.
        earlier: A calibration of the same model whose patches count on; without one, the built-in volumes count too.
        threads: Of the processor; None leaves a core free where there are more than two.
        monitor: Hears what fraction is done, and is asked after each patch whether to stop.
        patches_per_volume: How many are run; fewer do for a rough look.

    Raises:
        SpecError: There is no volume.
        ImageError: The volume does not fit the model.
        Cancelled: The monitor said so.

    Example:
        >>> model = load_model("demo")
        >>> calibration = calibrate_model(model, read_image("CT.nii.gz"))
        >>> smaller = compress(model, TuckerSpec.at(0.5), calibration=calibration)
    """
    require_own_threads()
    from ..compression.calibration import calibrate

    volumes = [read_image(catalog.DEMO_VOLUME)] if earlier is None and has_built_in_volumes(model) else []
    volumes += [volume] if volume is not None and volume_id(volume) not in map(volume_id, volumes) else []
    if not volumes:
        raise SpecError(f"{model.name}: a calibration needs a volume; found none.")
    patches = [patch for each in volumes for patch in calibration_patches(model, each, patches_per_volume)]
    calibrations: dict[str, Calibration] = {}
    monitor, precision = monitor or Monitor(), pass_precision()
    with hardware.torch_threads(threads or hardware.default_threads()), hardware.freed_memory_kept():
        for number, fold in enumerate(model.folds):
            share = monitor.share(number, len(model.folds))
            calibration = calibrate(
                model.network(fold),
                patches,
                monitor=share,
                precision=precision,
                after_patch=hardware.trim_memory,  # else what one pass leaves in pieces adds up with the next one's
            )
            calibrations[fold] = earlier.folds[fold].merged(calibration).rounded() if earlier else calibration
    names, ids = (earlier.volumes, earlier.volume_ids) if earlier else ((), ())
    names, ids = (*names, *(Path(each.source).name for each in volumes)), (*ids, *map(volume_id, volumes))
    return ModelCalibration(calibrations, names, ids)


def pass_precision() -> str:
    """Precision of a calibration's passes: ``bf16`` where this processor is fast in it, else ``fp32``."""
    from ..training.device import training_device, training_precision

    return training_precision(training_device("cpu"))


def volume_id(volume: Image) -> str:
    """Sixteen hexadecimal digits that tell a volume from all others: a hash of its voxels and its affine."""
    return volume.sha256[:16]


def calibration_patches(model: SegmentationModel, volume: Image, count: int, seed: int = 0) -> list[torch.Tensor]:
    """Cut crops (1, C, Z, Y, X) out of a volume as the network sees it: resampled and normalized.

    Each lies where most of the image's contrast is among several random places, so that few are air. A volume
    smaller than a crop is padded as for inference.

    Args:
        model: Whose plans say how to resample and normalize, and by what sizes are divisible.
        volume: Any that the model can segment.
        count: How many crops.
        seed: The same seed gives the same crops.

    Raises:
        ImageError: The volume does not fit the model.
    """
    import torch

    from ..training.crops import padded, random_crop

    plans = model.plans
    data = preprocess(volume, plans, plans.resampling_convention).data
    sizes = crop_shape(model)
    generator = torch.Generator().manual_seed(seed)
    crops = []
    for _ in range(count):
        candidates = [random_crop(data, sizes, generator) for _ in range(3)]
        crops.append(max(candidates, key=lambda crop: float(crop.var())))
    return [padded(crop, sizes)[None].clone() for crop in crops]


def crop_shape(model: SegmentationModel, voxels: int | None = None) -> tuple[int, int, int]:
    """Shape (Z, Y, X) of a model's crops: divisible by its strides, and near a number of voxels along each axis.

    A network that takes patches of one shape alone gets those.

    Args:
        voxels: That number; None takes CROP_VOXELS.
    """
    from ..compression.trace import trace

    plans, structure = model.plans, model.structure()
    if getattr(structure, "patch_shape", None) is not None:
        return plans.patch_shape
    forward_pass = trace(structure, plans.patch_shape, plans.input_channels)
    shapes = [call.output_shape[2:] for call in forward_pass.calls if len(call.output_shape) == 5]
    sizes = []
    for axis, patch in enumerate(plans.patch_shape):
        stride = patch // min(shape[axis] for shape in shapes)
        sizes.append(min(patch, max(2 * stride, stride * int((voxels or CROP_VOXELS) / stride + 0.5))))
    return tuple(sizes)


def stored_calibration(model: SegmentationModel, cache: Cache, variant: str = "") -> ModelCalibration | None:
    """The calibration that the cache keeps for a model, else the one that comes with it; None where there is none.

    One that is damaged is discarded with a warning, and counts as none.

    Args:
        model: With its weights or without.
        cache: Where it is looked for.
        variant: Of the same model's, what tells it from the one that its compressions go by.
    """
    from ..compression.calibration import Calibration
    from .shipped_calibration import shipped_calibration

    key = calibration_key(model, variant)
    path = cache.find("calibrations", key)
    if path is None:
        return None if variant else shipped_calibration(model)
    try:
        tensors, document = tensor_file.read_tensors(path, entry_name("calibrations", key))
        folds = {
            fold: Calibration.from_tensors(
                {name.removeprefix(f"{fold}:"): value for name, value in tensors.items() if name.startswith(f"{fold}:")}
            )
            for fold in model.folds
        }
        calibration = ModelCalibration(folds, tuple(document["volumes"]), tuple(document["volume_ids"]))
        _check(calibration, tensors)
        if document.get("calibration_sha256", calibration.sha256) != calibration.sha256:
            raise ModelFileError(f"{path} should hold the numbers that its header names")
        return calibration
    except (ModelFileError, KeyError, ValueError, TypeError) as error:
        cache.discard("calibrations", key)
        warnings.warn(f"The stored calibration could not be used and is made again: {error}", stacklevel=2)
        return None if variant else shipped_calibration(model)


def _check(calibration: ModelCalibration, tensors: dict[str, torch.Tensor]) -> None:
    """Raise ModelFileError where the numbers cannot be those of a calibration."""
    if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ModelFileError(f"{bad[0]} should hold finite numbers")
    if any(each.patches < 1 or each.logit_energy <= 0 for each in calibration.folds.values()):
        raise ModelFileError("it should be of one patch at least, with outputs that differ")
    names = (*calibration.volumes, *calibration.volume_ids)
    if len(calibration.volumes) != len(calibration.volume_ids) or not all(isinstance(name, str) for name in names):
        raise ModelFileError("it should name its volumes, and an identifier of each")


def store_calibration(model: SegmentationModel, calibration: ModelCalibration, cache: Cache, variant: str = "") -> bool:
    """Keep a calibration in the cache under its model's key, in place of a former one.

    Args:
        model: That was calibrated.
        calibration: Of all its folds.
        cache: Where; one that cannot be written keeps nothing, which is no error.
        variant: As for :func:`stored_calibration`.

    Returns:
        Whether it was kept.
    """
    tensors = {
        f"{fold}:{name}": tensor
        for fold, each in calibration.folds.items()
        for name, tensor in each.to_tensors().items()
    }
    names = {"volumes": list(calibration.volumes), "volume_ids": list(calibration.volume_ids)}
    facts = {"of": model.name, "calibration_sha256": calibration.sha256}
    document, key = {**facts, **names}, calibration_key(model, variant)
    entry = entry_name("calibrations", key)
    stored = cache.store("calibrations", key, lambda path: tensor_file.write_tensors(path, tensors, document, entry))
    return stored is not None


def calibration_stamp(model: SegmentationModel, cache: Cache) -> str | None:
    """Checksum of the calibration that :func:`stored_calibration` gives, read off its file; None for none.

    Args:
        model: The network that is or was calibrated.
        cache: Where its calibration may lie.
    """
    from .shipped_calibration import shipped_stamp

    path = cache.find("calibrations", calibration_key(model))
    return tensor_file.checksum_of(path) if path else shipped_stamp(model)


def calibration_key(model: SegmentationModel, variant: str = "") -> str:
    """The cache's key of a model's calibration; arguments as for :func:`stored_calibration`."""
    return key_of(source=model.key, kind=f"calibration {variant}".strip())
